// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of `/etc` that a machine may keep where the rest is the release's
//! (`docs/format/kept.md`).
//!
//! Whoever becomes root once writes what he likes where they are kept, and they are put into `/etc`
//! before the system starts. So the list is fixed, each file has a type, and no type can name a
//! program or a file: what is kept is data.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod line;
mod settings;
mod shadow;
mod ssh;

use std::fmt;

use crate::{
    limits,
    text::{self, Lines},
};

pub use shadow::{Merged, SHADOW, Shadow, select_shadow};

/// Where the files are kept, below `/var`.
pub const KEPT_DIRECTORY: &str = "lib/sealroot/etc";

/// Where a release has its time zones.
pub const ZONES: &str = "usr/share/zoneinfo";

/// Begins every text of [`FILES`].
const ETC: &str = "/etc/";

/// What a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The number that tells machines apart.
    MachineId,
    /// A host name.
    Hostname,
    /// The name of a time zone.
    Zone,
    /// The same; in `/etc` it is a symlink to the zone's file.
    ZoneLink,
    /// Assignments to these variables.
    Settings(&'static [&'static str]),
    /// The state of the hardware clock.
    Clock,
    /// The passwords of users that the release has.
    Shadow,
    /// A public key of an SSH server, of one of these types.
    PublicKey(&'static [&'static str]),
    /// A private key of an SSH server.
    PrivateKey,
}

/// A file that may be kept.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptFile {
    path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// The permissions it has in `/etc`. Those of `shadow` are the release's.
    pub permissions: u32,
}

const fn file(path: &'static str, kind: Kind) -> KeptFile {
    let permissions = match kind {
        Kind::MachineId => 0o444,
        Kind::Shadow | Kind::PrivateKey => 0o600,
        _ => 0o644,
    };
    KeptFile {
        path,
        kind,
        permissions,
    }
}

/// All files that may be kept, in the order of `docs/format/kept.md`.
pub static FILES: [KeptFile; 14] = [
    file("/etc/machine-id", Kind::MachineId),
    file("/etc/hostname", Kind::Hostname),
    file("/etc/localtime", Kind::ZoneLink),
    file("/etc/timezone", Kind::Zone),
    file("/etc/locale.conf", Kind::Settings(settings::LOCALE)),
    file("/etc/vconsole.conf", Kind::Settings(settings::CONSOLE)),
    file("/etc/adjtime", Kind::Clock),
    file(SHADOW, Kind::Shadow),
    file("/etc/ssh/ssh_host_rsa_key", Kind::PrivateKey),
    file("/etc/ssh/ssh_host_rsa_key.pub", Kind::PublicKey(ssh::RSA)),
    file("/etc/ssh/ssh_host_ecdsa_key", Kind::PrivateKey),
    file(
        "/etc/ssh/ssh_host_ecdsa_key.pub",
        Kind::PublicKey(ssh::ECDSA),
    ),
    file("/etc/ssh/ssh_host_ed25519_key", Kind::PrivateKey),
    file(
        "/etc/ssh/ssh_host_ed25519_key.pub",
        Kind::PublicKey(ssh::ED25519),
    ),
];

impl KeptFile {
    /// The file of that path in `/etc`, if it may be kept.
    pub fn find(path: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.path == path)
    }

    /// Where it is, from the root on.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Where it is, below `/etc`.
    pub fn path_in_etc(&self) -> &'static str {
        self.path.strip_prefix(ETC).unwrap_or(self.path)
    }

    /// What it is called where it is kept.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// Whether nothing of it may be shown.
    pub const fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Shadow | Kind::PrivateKey)
    }

    /// Reads what is kept. Nothing is accepted but what the type allows, in its one form.
    pub fn parse<'a>(&self, bytes: &'a [u8]) -> Result<Kept<'a>, text::Error> {
        let mut lines = Lines::new(self.path, bytes, limits::MAX_KEPT_FILE_BYTES)?;
        if self.is_secret() {
            refuse_secret_bytes(self.path, bytes)?;
        }
        let text = Kept::Text(bytes);
        let kept = match self.kind {
            Kind::MachineId => Kept::MachineId(line::machine_id(&mut lines)?),
            Kind::Hostname => Kept::Hostname(line::hostname(&mut lines)?),
            Kind::Zone | Kind::ZoneLink => Kept::Zone(line::zone(&mut lines)?),
            Kind::Shadow => Kept::Shadow(Shadow::read(&mut lines, bytes)?),
            Kind::Settings(keys) => settings::check(&mut lines, keys).map(|()| text)?,
            Kind::Clock => line::check_clock(&mut lines).map(|()| text)?,
            Kind::PublicKey(types) => ssh::check_public(&mut lines, types).map(|()| text)?,
            Kind::PrivateKey => ssh::check_private(&mut lines).map(|()| text)?,
        };
        lines.end().map(|()| kept)
    }
}

/// The grammar's own messages show what they found.
fn refuse_secret_bytes(what: &'static str, bytes: &[u8]) -> Result<(), text::Error> {
    let is_bad = |line: &[u8]| !line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    match bytes.split(|byte| *byte == b'\n').position(is_bad) {
        None => Ok(()),
        Some(before) => Err(text::Error::Line {
            what,
            line: before.saturating_add(1),
            expected: "printable ASCII characters".to_owned(),
            found: NOT_SHOWN.to_owned(),
        }),
    }
}

const NOT_SHOWN: &str = "something else, not shown";

/// A kept file that is what its type allows. Displayed, it is the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept<'a> {
    /// Of [`Kind::MachineId`].
    MachineId(u128),
    /// Of [`Kind::Hostname`].
    Hostname(&'a str),
    /// Of [`Kind::Zone`] or [`Kind::ZoneLink`].
    Zone(&'a str),
    /// Of [`Kind::Shadow`], to be merged with the release's.
    Shadow(Shadow<'a>),
    /// Of another type; it holds as it is.
    Text(&'a [u8]),
}

impl fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MachineId(id) => writeln!(f, "{id:032x}"),
            Self::Hostname(line) | Self::Zone(line) => writeln!(f, "{line}"),
            Self::Shadow(shadow) => shadow.fmt(f),
            Self::Text(bytes) => {
                (bytes.utf8_chunks()).try_for_each(|chunk| f.write_str(chunk.valid()))
            }
        }
    }
}
