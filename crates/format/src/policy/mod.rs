// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot program is told to do (`docs/format/policy.md`).
//!
//! The policy is a file of the initramfs and the only source of any decision: nothing on a disk
//! and nothing on the kernel command line can weaken it. A [`Policy`] cannot hold a combination
//! that makes no sense; there is no default for any of its fields.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod certificates;
mod check;
mod cmdline;
mod floor;
mod parse;

use std::{fmt, str::FromStr};

use crate::{
    ErrorClass,
    digest::{CommitId, VerityDigest},
    sign::{ReleaseNumbers, Statement},
    text::{self, Name},
};

pub use certificates::{CertificatesError, VERITY_CERTIFICATES_PATH, split_certificates};
pub use cmdline::{CommandLine, deployment_on};
pub use floor::{FloorOn, FloorStore};

/// Where the policy is inside the initramfs.
pub const POLICY_PATH: &str = "etc/sealroot/policy";

/// Where the keyset is inside the initramfs.
pub const KEYSET_PATH: &str = "etc/sealroot/keyset";

/// Where an initramfs for repairs has the `sealroot` command. Where it is there, the boot program repairs
/// the store with it and boots nothing.
pub const REPAIR_TOOL_PATH: &str = "usr/lib/sealroot/repair";

/// What the boot program says where it is run as a command; and it is known by it.
pub const BOOT_PROGRAM_NOTICE: &str =
    "sealroot-boot: this runs only in an initramfs: as process 1, or with --sysroot";

/// What is enforced, and against whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The whole chain from the firmware on: fs-verity enforced by the kernel, state mounts
    /// without programs.
    Sealed,
    /// fs-verity enforced by the kernel, but what started the boot program is not vouched for:
    /// against accidents and bit rot.
    Verity,
    /// No fs-verity: every object is hashed at boot, and nothing guards it afterwards.
    Integrity,
}

/// How the pack becomes a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The verified pack is mounted.
    Erofs,
    /// The pack is unpacked into a tmpfs of at most this share of the memory.
    Tmpfs(MemoryPercent),
}

/// A share of the machine's memory: 1 to 25 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryPercent(u8);

impl MemoryPercent {
    /// The most that a pack may pin: a quarter.
    pub const MAX: Self = Self(25);

    /// `percent`, if it is from 1 to 25.
    pub const fn new(percent: u8) -> Option<Self> {
        match percent {
            1..=25 => Some(Self(percent)),
            _ => None,
        }
    }

    /// The percentage.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What names the filesystem that holds `/ostree/verity`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RootDevice {
    /// The UUID of its partition: lowercase, of the GPT or (`<disk>-<number>`) MBR form.
    PartUuid(PartUuid),
    /// The UUID of the filesystem.
    Uuid(Uuid),
    /// The label of the filesystem.
    Label(Name),
}

macro_rules! identifier_type {
    ($(#[$doc:meta])* $name:ident, $allowed:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = text::Error;

            fn from_str(text: &str) -> Result<Self, text::Error> {
                if !$allowed(text) {
                    return Err(text::Error::Value {
                        expected: $expected,
                        found: text::excerpt(text.as_bytes()),
                    });
                }
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier_type! {
    /// A UUID in lowercase.
    Uuid, is_uuid, "a uuid of lowercase hex digits in groups of 8-4-4-4-12"
}

identifier_type! {
    /// The UUID of a GPT partition, or 8 hex digits, `-` and 2 hex digits of an MBR partition.
    PartUuid, is_part_uuid, "a uuid in lowercase, or 8-2 lowercase hex digits of an mbr partition"
}

fn is_grouped_hex(text: &str, groups: &[usize]) -> bool {
    let is_hex = |group: &str| (group.bytes()).all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    text.split('-').map(str::len).eq(groups.iter().copied()) && text.split('-').all(is_hex)
}

fn is_uuid(text: &str) -> bool {
    is_grouped_hex(text, &[8, 4, 4, 4, 12])
}

fn is_part_uuid(text: &str) -> bool {
    is_uuid(text) || is_grouped_hex(text, &[8, 2])
}

/// The `KEY=value` form that boot loaders and mount use.
impl fmt::Display for RootDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartUuid(uuid) => write!(f, "PARTUUID={uuid}"),
            Self::Uuid(uuid) => write!(f, "UUID={uuid}"),
            Self::Label(label) => write!(f, "LABEL={label}"),
        }
    }
}

impl FromStr for RootDevice {
    type Err = text::Error;

    fn from_str(text: &str) -> Result<Self, text::Error> {
        match text.split_once('=') {
            Some(("PARTUUID", value)) => value.parse().map(Self::PartUuid),
            Some(("UUID", value)) => value.parse().map(Self::Uuid),
            Some(("LABEL", value)) => value.parse().map(Self::Label),
            _ => Err(text::Error::Value {
                expected: "PARTUUID=, UUID= or LABEL= and a value",
                found: text::excerpt(text.as_bytes()),
            }),
        }
    }
}

/// How `/etc` is made, and what of it outlives a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EtcMode {
    /// The release's files under a tmpfs: changes are gone after a reboot.
    Transient,
    /// A writable directory in the deployment, merged from one release to the next.
    Merge,
    /// As [`EtcMode::Transient`], with some files of known types kept under `/var`.
    Allowlist,
}

impl EtcMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Transient, Self::Merge, Self::Allowlist];

    const EXPECTED: &str = "transient, merge or allowlist";

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Merge => "merge",
            Self::Allowlist => "allowlist",
        }
    }

    fn accept(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl FromStr for EtcMode {
    type Err = text::Error;

    fn from_str(text: &str) -> Result<Self, text::Error> {
        Self::accept(text).ok_or_else(|| text::Error::Value {
            expected: Self::EXPECTED,
            found: text::excerpt(text.as_bytes()),
        })
    }
}

impl fmt::Display for EtcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How `/var` is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Var {
    /// A tmpfs: gone after a reboot.
    Volatile,
    /// `ostree/deploy/<stateroot>/var` of the physical root, shared by all its deployments.
    Stateroot(Name),
}

/// Whether the firmware must have verified what was started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecureBoot {
    /// Secure Boot must be on, and the kernel command line must be this one.
    Required(CommandLine),
    /// Boots without Secure Boot as well; never reported as sealed.
    NotRequired(Option<CommandLine>),
}

impl SecureBoot {
    /// The command line the kernel must have been started with, if it matters.
    pub const fn command_line(&self) -> Option<&CommandLine> {
        match self {
            Self::Required(line) => Some(line),
            Self::NotRequired(line) => line.as_ref(),
        }
    }
}

/// Everything the boot program may decide by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// What is enforced.
    pub mode: Mode,
    /// How the pack becomes a filesystem.
    pub layer: Layer,
    /// The filesystem with `/ostree/verity`.
    pub root: RootDevice,
    /// How `/etc` is made.
    pub etc: EtcMode,
    /// How `/var` is made.
    pub var: Var,
    /// What it says of the release itself.
    pub pinned: Pinned,
    /// The OS a statement must be for.
    pub os: Name,
    /// The variant a statement must be for; `None` is the statement without one, not any.
    pub variant: Option<Name>,
    /// The stream a statement must be for.
    pub stream: Name,
    /// The architecture a statement must be for.
    pub arch: Name,
    /// The lowest epoch a release may have.
    pub epoch_floor: u64,
    /// Which floor the machine keeps besides.
    pub floor_on: FloorOn,
    /// Where it keeps it.
    pub floor_store: FloorStore,
    /// Whether the firmware must have verified what was started.
    pub secure_boot: SecureBoot,
}

/// What a policy says of the release, whoever has signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pinned {
    /// Nothing. The deployment is named on the command line, and its release statement must verify
    /// against the keyset of the initramfs.
    Nothing,
    /// The same, and the statement must have these numbers.
    Numbers(ReleaseNumbers),
    /// The one pack that may be booted.
    Pack(PinnedPack),
}

impl Pinned {
    /// The pack that it names.
    pub const fn pack(self) -> Option<PinnedPack> {
        match self {
            Self::Pack(pack) => Some(pack),
            Self::Nothing | Self::Numbers(_) => None,
        }
    }

    /// The numbers that it names.
    pub const fn numbers(self) -> Option<ReleaseNumbers> {
        match self {
            Self::Nothing => None,
            Self::Numbers(numbers) => Some(numbers),
            Self::Pack(pack) => Some(pack.release),
        }
    }
}

/// A pack that a policy names, and which release it is of: no statement is asked for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinnedPack {
    /// The pack.
    pub digest: VerityDigest,
    /// The numbers of its release.
    pub release: ReleaseNumbers,
}

impl PinnedPack {
    /// The pack of a release.
    pub const fn of(statement: &Statement) -> Self {
        Self {
            digest: statement.pack_digest,
            release: statement.numbers(),
        }
    }
}

/// Names one deployment of a store: `<commit>.<serial>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentName {
    /// The tree.
    pub commit: CommitId,
    /// Tells deployments of one commit apart.
    pub serial: u32,
}

impl fmt::Display for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.commit, self.serial)
    }
}

impl FromStr for DeploymentName {
    type Err = text::Error;

    fn from_str(text: &str) -> Result<Self, text::Error> {
        let parse = || {
            let (commit, serial) = text.split_once('.')?;
            Some(Self {
                commit: CommitId::from_hex(commit)?,
                serial: text::number(serial)?,
            })
        };
        parse().ok_or_else(|| text::Error::Value {
            expected: "a commit of 64 lowercase hex digits, a dot and a serial number",
            found: text::excerpt(text.as_bytes()),
        })
    }
}

/// Why a policy was refused, or what it refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text breaks its grammar.
    #[error(transparent)]
    Text(#[from] text::Error),
    /// Two fields contradict each other.
    #[error("policy: {fields}: {reason}")]
    Contradiction {
        /// The fields.
        fields: &'static str,
        /// Why they do not go together.
        reason: &'static str,
    },
    /// The kernel command line cannot be taken apart without doubt.
    #[error("kernel command line: {reason}")]
    CommandLine {
        /// What is wrong.
        reason: String,
    },
    /// The kernel was not started with the command line that the policy wants.
    #[error("kernel command line, byte {offset_bytes}: expected {expected}, found {found}")]
    OtherCommandLine {
        /// Where the first token begins that differs.
        offset_bytes: usize,
        /// What the policy wants from there on.
        expected: String,
        /// What the kernel was started with from there on.
        found: String,
    },
    /// The command line names no deployment and the policy names no pack.
    #[error("kernel command line: no deployment to boot: expected sealroot=<commit>.<serial>")]
    NoDeployment,
    /// A verified release is not one that this initramfs may boot.
    #[error("release statement: {field}: expected {expected}, found {found}")]
    OtherRelease {
        /// The field of the statement.
        field: &'static str,
        /// What the policy wants.
        expected: String,
        /// What the statement says.
        found: String,
    },
}

impl Error {
    /// What kind of failure this is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Text(error) => error.class(),
            Self::Contradiction { .. } | Self::CommandLine { .. } => ErrorClass::Corrupt,
            Self::OtherCommandLine { .. } | Self::OtherRelease { .. } => ErrorClass::Untrusted,
            Self::NoDeployment => ErrorClass::NotFound,
        }
    }
}
