// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which pack to boot, and what is known of it before it is opened.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::BorrowedFd;

use sealroot_format::digest::{CommitId, TreeDigest, VerityDigest};
use sealroot_format::limits::MAX_SIGN_FILE_BYTES;
use sealroot_format::policy::{DeploymentName, Error as PolicyError, Policy};
use sealroot_format::sign::{Keyset, ReleaseNumbers, Statement, Unverified, Verified};

use crate::plan::Choice;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::sysroot::open_file_beneath;

/// A release that may be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// The pack.
    pub pack: VerityDigest,
    /// Which release: as its verified statement says, or the policy that names the pack.
    pub numbers: ReleaseNumbers,
    /// The deployment, where one was named.
    pub deployment: Option<DeploymentName>,
    /// What its verified statement says, where one was asked for.
    pub stated: Option<Stated>,
}

/// What of a verified statement matters at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    pub commit: CommitId,
    pub tree_digest: TreeDigest,
    pub pack_size_bytes: u64,
    /// The text itself, for the record of this boot.
    pub text: String,
}

/// Finds the release of a plan: the pinned pack, or what the signed statement of the named
/// deployment says.
pub(crate) fn choose(
    choice: Choice,
    policy: &Policy,
    keyset: &Verified<Keyset>,
    store: BorrowedFd<'_>,
    kernel: &str,
) -> Result<Release, Refusal> {
    let name = match choice {
        Choice::Pinned(pack) => {
            return Ok(Release {
                pack: pack.digest,
                numbers: pack.release,
                deployment: None,
                stated: None,
            });
        }
        Choice::Deployment(name) => name,
    };
    let path = format!("pack/{}.{}.sign", name.commit, policy.stream);
    let file = read_statement(store, &path)?;
    judge(&file, name, policy, keyset, kernel)
}

/// The bytes of a statement, not more than there may be.
fn read_statement(store: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Refusal> {
    let (file, _) = open_file_beneath(store, path, Code::Statement)?;
    let mut bytes = Vec::new();
    // One more than allowed, so that the parser sees that it is too long.
    let limit_bytes = (MAX_SIGN_FILE_BYTES as u64).saturating_add(1);
    File::from(file)
        .take(limit_bytes)
        .read_to_end(&mut bytes)
        .or_refuse(Code::Statement, path, "a readable file")?;
    Ok(bytes)
}

/// Verifies a statement file and checks that the policy wants what it says.
fn judge(
    file: &[u8],
    name: DeploymentName,
    policy: &Policy,
    keyset: &Verified<Keyset>,
    kernel: &str,
) -> Result<Release, Refusal> {
    let statement = Unverified::<Statement>::parse(file)
        .and_then(|unverified| unverified.verify(keyset))
        .map_err(|error| Refusal::of(Code::Statement, &error))?;
    policy
        .check_release(&statement, Some(&name), kernel)
        .map_err(|error| {
            let code = match error {
                PolicyError::OtherRelease { field: "epoch", .. } => Code::Epoch,
                _ => Code::Release,
            };
            Refusal::of(code, &error)
        })?;
    Ok(Release {
        pack: statement.pack_digest,
        numbers: statement.numbers(),
        deployment: Some(name),
        stated: Some(Stated {
            commit: statement.commit,
            tree_digest: statement.tree_digest,
            pack_size_bytes: statement.pack_size_bytes,
            text: statement.to_string(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use sealroot_format::sign::RoleKeys;
    use sealroot_format::sign::secret::SecretKey;

    use super::*;

    type Change = fn(&mut Statement, sealroot_format::text::Name);

    const KERNEL: &str = "6.12.0";

    fn keys() -> [SecretKey; 2] {
        [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).expect("a key"))
    }

    /// Two keys, both of which must sign.
    fn keyset() -> Verified<Keyset> {
        let keys = keys().map(|key| *key.public());
        let role = || RoleKeys::new(2, keys.map(|key| key.id()));
        let keyset = Keyset::new(1, [role(), role(), role()], keys).expect("a keyset");
        Keyset::parse_trusted(keyset.to_string().as_bytes()).expect("a keyset")
    }

    fn statement() -> Statement {
        Statement {
            os: "test".parse().expect("a name"),
            variant: None,
            stream: "stable".parse().expect("a name"),
            arch: "x86_64".parse().expect("a name"),
            version: None,
            index: 9,
            epoch: 5,
            commit: CommitId::from_bytes([1; 32]),
            tree_digest: TreeDigest::from_bytes([2; 32]),
            pack_format: 1,
            pack_digest: VerityDigest::from_bytes([3; 32]),
            pack_size_bytes: 4096,
            entries: 1,
            objects: 0,
            object_bytes: 0,
            threshold_bytes: 4096,
            kernel: Some(KERNEL.parse().expect("a word")),
            created: 0,
        }
    }

    fn signed(statement: &Statement, keys: &[SecretKey]) -> Vec<u8> {
        let mut document = Unverified::unsigned(statement).expect("it is short");
        for key in keys {
            let signature = key.sign(document.message());
            document.add(key.public(), signature).expect("it fits");
        }
        document.to_string().into_bytes()
    }

    fn policy(pack: Option<VerityDigest>, epoch_floor: u64) -> Policy {
        let pinned = pack.map_or("-\nrelease-index -\nrelease-epoch -".to_owned(), |pack| {
            format!("sha256:4096:{pack}\nrelease-index 9\nrelease-epoch 5")
        });
        pinning(&pinned, epoch_floor)
    }

    fn pinning(pinned: &str, epoch_floor: u64) -> Policy {
        let text = format!(
            "sealroot policy 1\nmode verity\nlayer erofs\ntmpfs-percent -\nroot LABEL=root\n\
             etc transient\nvar volatile\npack {pinned}\nos test\nvariant -\nstream stable\n\
             arch x86_64\nepoch-floor {epoch_floor}\n\
             floor-on epoch\nfloor-store -\ntpm-base -\nallow-insecure-boot yes\ncmdline -\n"
        );
        Policy::parse(text.as_bytes()).expect("a policy")
    }

    fn name() -> DeploymentName {
        DeploymentName {
            commit: CommitId::from_bytes([1; 32]),
            serial: 0,
        }
    }

    fn code(file: &[u8], policy: &Policy) -> Code {
        let refused = judge(file, name(), policy, &keyset(), KERNEL);
        refused.expect_err("it is to be refused").code
    }

    #[test]
    fn a_signed_statement_names_the_pack() {
        let statement = statement();
        let file = signed(&statement, &keys());
        let pinned = Some(statement.pack_digest);
        for policy in [policy(None, 5), policy(pinned, 0)] {
            let release = judge(&file, name(), &policy, &keyset(), KERNEL).expect("it is signed");
            assert_eq!(release.pack, statement.pack_digest);
            let stated = release.stated.expect("there is a statement");
            assert_eq!(stated.tree_digest, statement.tree_digest);
            assert_eq!(stated.pack_size_bytes, 4096);
            assert_eq!((release.numbers.index, release.numbers.epoch), (9, 5));
        }
    }

    #[test]
    fn no_byte_of_a_statement_can_be_changed() {
        let file = signed(&statement(), &keys());
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1 << (at % 8);
            assert_eq!(
                code(&changed, &policy(None, 0)),
                Code::Statement,
                "byte {at}"
            );
        }
    }

    #[test]
    fn too_few_keys_and_foreign_texts_are_refused() {
        let policy = policy(None, 0);
        let one = signed(&statement(), &keys()[..1]);
        let long = vec![b'x'; MAX_SIGN_FILE_BYTES + 1];
        for file in [&one[..], b"", &long, &one[..one.len() / 2]] {
            assert_eq!(code(file, &policy), Code::Statement);
        }
    }

    #[test]
    fn a_release_for_elsewhere_or_too_old_is_refused() {
        let name = |text: &str| text.parse().expect("a name");
        let cases: [(Change, Code); 5] = [
            (|statement, other| statement.os = other, Code::Release),
            (|statement, other| statement.stream = other, Code::Release),
            (|statement, other| statement.arch = other, Code::Release),
            (
                |statement, other| statement.variant = Some(other),
                Code::Release,
            ),
            (|statement, _| statement.epoch = 4, Code::Epoch),
        ];
        for (change, expected) in cases {
            let mut statement = statement();
            change(&mut statement, name("other"));
            assert_eq!(
                code(&signed(&statement, &keys()), &policy(None, 5)),
                expected
            );
        }
        let mut elsewhere = statement();
        elsewhere.commit = CommitId::from_bytes([9; 32]);
        assert_eq!(
            code(&signed(&elsewhere, &keys()), &policy(None, 0)),
            Code::Release
        );
        let pinned = policy(Some(VerityDigest::from_bytes([9; 32])), 0);
        assert_eq!(code(&signed(&statement(), &keys()), &pinned), Code::Release);
    }

    /// THREATS A53: with stolen keys any epoch can be stated, so that no floor would hold.
    #[test]
    fn numbers_other_than_the_policy_names_are_refused() {
        let numbered = pinning("-\nrelease-index 9\nrelease-epoch 5", 0);
        let judged = |change: fn(&mut Statement)| {
            let mut statement = statement();
            change(&mut statement);
            let file = signed(&statement, &keys());
            judge(&file, name(), &numbered, &keyset(), KERNEL).map_err(|refusal| refusal.code)
        };
        judged(|_| ()).expect("these are the numbers");
        let expect = |change, code| assert_eq!(judged(change).map(|_| ()), Err(code));
        expect(|statement| statement.epoch = 6, Code::Epoch);
        expect(|statement| statement.epoch = 4, Code::Epoch);
        expect(|statement| statement.index = 10, Code::Release);
    }
}
