// SPDX-License-Identifier: MIT OR Apache-2.0
//! Texts that are signed, or trusted for where they lie.

use std::fmt::Display;
use std::sync::OnceLock;

use sealroot_format::floor::update::Update;
use sealroot_format::floor::{Floor, variable};
use sealroot_format::kept::{FILES, Kept, Kind, select_shadow};
use sealroot_format::policy::{Policy, deployment_on, split_certificates};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{
    Channel, Document, Keyset, Role, RoleKeys, Statement, Unverified, Verified, parse_public_keys,
    write_public_keys,
};

/// The key that has signed the seeds.
pub(crate) fn secret_key() -> SecretKey {
    SecretKey::from_seed(&[7; 32]).expect("a seed that gives a key")
}

/// The keyset that trusts it alone.
pub(crate) fn signed_keyset() -> Unverified<Keyset> {
    let secret = secret_key();
    let key = *secret.public();
    let role = || RoleKeys::new(1, [key.id()]);
    let keyset = Keyset::new(1, [role(), role(), role()], vec![key]);
    let keyset = keyset.expect("a keyset of one key");
    let mut signed = Unverified::unsigned(&keyset).expect("a short text");
    let signature = secret.sign(signed.message());
    signed.add(&key, signature).expect("it has just signed");
    signed
}

pub(crate) fn keyset_of_seeds() -> &'static Verified<Keyset> {
    static KEYSET: OnceLock<Verified<Keyset>> = OnceLock::new();
    KEYSET.get_or_init(|| signed_keyset().verify_first().expect("its own signature"))
}

/// That a text has one form only: the one it was read from.
fn same(value: &impl Display, text: &[u8]) {
    assert_eq!(value.to_string().as_bytes(), text, "another form");
}

/// A document and its signatures; gives its body.
fn document<T: Document>(file: &[u8]) -> Option<Unverified<T>> {
    let document = Unverified::<T>::parse(file).ok()?;
    same(&document, file);
    let is_signed = (document.inspect(keyset_of_seeds(), Role::Release))
        .filter(|(_, state)| *state == sealroot_format::sign::SignatureState::Good)
        .count();
    assert!(is_signed <= 1, "one key counts twice");
    Some(document)
}

/// A `.sign` file, or the bare text of a statement.
pub fn statement(data: &[u8]) {
    if let Ok(statement) = Statement::parse(data) {
        same(&statement, data);
    }
    let Some(document) = document::<Statement>(data) else {
        return;
    };
    if let Ok(verified) = document.verify(keyset_of_seeds()) {
        same(&*verified, document.body());
        assert_eq!(verified.signers().len(), 1);
    }
}

/// A keyset, with or without signatures.
pub fn keyset(data: &[u8]) {
    let bare = Keyset::parse(data);
    if let Ok(keyset) = &bare {
        same(keyset, data);
        for role in [Role::Root, Role::Release, Role::Channel] {
            let keys = keyset.role(role);
            assert!((1..=keys.ids().len()).contains(&keys.threshold()));
        }
    }
    let trusted = Keyset::parse_trusted(data);
    let Some(document) = document::<Keyset>(data) else {
        assert_eq!(trusted.is_ok(), bare.is_ok());
        return;
    };
    assert!(bare.is_err(), "both signed and bare");
    let of_body = Keyset::parse(document.body());
    assert_eq!(trusted.is_ok(), of_body.is_ok());
    if let Ok(first) = document.verify_first() {
        assert_eq!(Some(&*first), of_body.as_ref().ok());
    }
    if let Ok(next) = document.verify_successor(keyset_of_seeds()) {
        assert_eq!(next.version(), keyset_of_seeds().version() + 1);
    }
}

/// A channel, with or without signatures.
pub fn channel(data: &[u8]) {
    if let Ok(channel) = Channel::parse(data) {
        same(&channel, data);
        assert_eq!(channel.check(), Ok(()));
        assert!(channel.newest().is_some());
    }
    if let Some(document) = document::<Channel>(data)
        && let Ok(verified) = document.verify(keyset_of_seeds())
    {
        same(&*verified, document.body());
    }
}

/// A policy, which is asked whether it takes its own command line.
pub fn policy(data: &[u8]) {
    let Ok(policy) = Policy::parse(data) else {
        return;
    };
    same(&policy, data);
    if let Some(line) = policy.secure_boot.command_line() {
        let found = policy.check_cmdline(line.as_str().as_bytes());
        if let Ok(found) = found {
            assert_eq!(found, line.deployment());
        }
        let longer = format!("{line} init=/bin/sh\n");
        policy
            .check_cmdline(longer.as_bytes())
            .expect_err("another command line");
    }
}

/// `/proc/cmdline`, as a policy that has the next boot name its deployment meets it.
pub fn command_line(data: &[u8]) {
    static POLICIES: OnceLock<[Policy; 2]> = OnceLock::new();
    let policies = POLICIES.get_or_init(|| {
        let policy = |text: &str| Policy::parse(text.as_bytes()).expect("a policy");
        [
            policy(NAMED_LATER),
            policy(&NAMED_LATER.replace(FIXED, OPEN)),
        ]
    });
    let named = deployment_on(data);
    for policy in policies {
        if let Ok(found) = policy.check_cmdline(data) {
            assert!(found.is_some(), "no pack and no deployment");
            assert_eq!(named.as_ref().ok(), Some(&found));
        }
    }
    if let Ok(found) = policies[0].check_cmdline(data) {
        let name = found.map(|name| name.to_string()).unwrap_or_default();
        let line = format!("quiet lockdown=integrity sealroot={name}");
        assert_eq!(data.trim_ascii_end(), line.as_bytes());
    }
}

const FIXED: &str = "allow-insecure-boot no\ncmdline quiet lockdown=integrity\n";
const OPEN: &str = "allow-insecure-boot yes\ncmdline -\n";
const NAMED_LATER: &str = "sealroot policy 1\nmode sealed\nlayer erofs\ntmpfs-percent -\n\
    root LABEL=root\netc transient\nvar volatile\npack -\nrelease-index -\nrelease-epoch -\n\
    os debian\nvariant -\nstream stable\narch x86_64\nepoch-floor 0\nfloor-on epoch\n\
    floor-store -\ntpm-base -\n\
    allow-insecure-boot no\ncmdline quiet lockdown=integrity\n";

/// A file of `/etc` that may be kept; the first byte says which.
pub fn kept_file(data: &[u8]) {
    const PASSWD: &[u8] = b"root:x:0:0::/root:/bin/sh\nbin:x:2:2::/:/usr/sbin/nologin\n\
        user:x:1000:1000::/home/user:/bin/sh\n";
    const SHADOW: &[u8] = b"root:*:1::::::\nbin:*:1::::::\nuser:!:1::::::\n";
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    let file = &FILES[usize::from(*which) % FILES.len()];
    if let Ok(kept) = file.parse(bytes) {
        same(&kept, bytes);
        if let Kept::Shadow(shadow) = kept {
            let merged = shadow.merge(SHADOW, PASSWD).bytes;
            let names = |file: &[u8]| -> Vec<Vec<u8>> {
                let lines = file.split(|byte| *byte == b'\n');
                let name = |line: &[u8]| line.split(|byte| *byte == b':').next().map(Into::into);
                lines.filter_map(name).collect()
            };
            assert_eq!(names(&merged), names(SHADOW), "users came or went");
        }
    }
    if file.kind == Kind::Shadow
        && let Ok(selected) = select_shadow(bytes, PASSWD)
    {
        file.parse(&selected).expect("what is kept is taken again");
    }
}

/// A floor: its text, the variable that holds it, or an update of that.
pub fn floor(data: &[u8]) {
    if let Ok(floor) = Floor::parse(data) {
        same(&floor, data);
        assert_eq!(Floor::new(floor.epoch, floor.index), Some(floor));
    }
    if let Ok(floor) = variable::parse(data) {
        let attributes = variable::ATTRIBUTES.to_le_bytes();
        assert_eq!(
            [&attributes[..], floor.to_string().as_bytes()].concat(),
            data
        );
    }
    if let Ok(update) = Update::parse(data) {
        assert_eq!(update.as_bytes(), data);
        assert!(data.ends_with(update.floor.to_string().as_bytes()));
    }
    if let Ok(update) = Update::new(Floor::default(), data) {
        assert_eq!(update.floor, Floor::default());
    }
}

/// Files of public keys, and of a secret one.
pub fn keys(data: &[u8]) {
    if let Ok(keys) = parse_public_keys(data) {
        let written = write_public_keys(&keys);
        assert_eq!(parse_public_keys(written.as_bytes()), Ok(keys));
    }
    if let Ok(secret) = SecretKey::parse(data) {
        assert_eq!(
            secret.to_file().trim_end().as_bytes(),
            data.trim_ascii_end()
        );
    }
}

/// Certificates for the kernel's keyring.
pub fn verity_certificates(data: &[u8]) {
    if let Ok(certificates) = split_certificates(data) {
        assert!(certificates.iter().all(|one| !one.is_empty()));
        assert_eq!(certificates.concat(), data, "something lies between them");
    }
}
