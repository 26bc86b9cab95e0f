// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with the deployments of a machine.

use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::PackError;
use sealroot_format::policy::DeploymentName;

use super::State;
use crate::deploy::DeployError;
use crate::entry::EntryError;
use crate::etc::EtcError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

/// Why the deployments of a machine could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A deployment could not be read or changed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The boot entries could not be read or changed.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The first content of a `/var` could not be found.
    #[error(transparent)]
    Etc(#[from] EtcError),
    /// The first content of a `/var` could not be written.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// What the boot program wrote cannot be read.
    #[error("{} does not say which deployment runs: {reason}", path.display())]
    Booted {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A boot entry cannot be read, so what it boots is not known.
    #[error("which deployments the boot entry {} names is not known: {reason}", path.display())]
    UnreadableEntry {
        /// The entry.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
    /// A file or directory beside the store could not be read or made.
    #[error("cannot {operation} {}", path.display())]
    Runtime {
        /// The operation, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// What runs is none of ours, or no entry names it.
    #[error("no deployment runs here that a boot entry of sealroot's names")]
    NothingRuns,
    /// There is no entry to go back to.
    #[error("there is no older boot entry of sealroot's to go back to")]
    NoRollback,
    /// What boots is none of ours.
    #[error("the default boot entry is none of sealroot's as it wrote it: {found}")]
    NoDefault {
        /// Its file, if there is one.
        found: String,
    },
    /// What boots is an image, which has its arguments inside.
    #[error(
        "the boot entry {entry} starts a unified kernel image: its kernel arguments are signed with it"
    )]
    ArgumentsOfImage {
        /// Its file.
        entry: String,
    },
    /// A deployment that is in use was to be removed.
    #[error("the deployment {name} {}: it is not removed", predicate(*state))]
    InUse {
        /// Which.
        name: DeploymentName,
        /// How.
        state: State,
    },
    /// Boot entries that are not ours boot a deployment that was to be removed.
    #[error(
        "boot entries that are not sealroot's to remove boot the deployment {name}: {}",
        entries.join(", ")
    )]
    EntriesOfOthers {
        /// Which.
        name: DeploymentName,
        /// Their files.
        entries: Vec<String>,
    },
    /// A pack that must stay is not there, so what it needs is not known.
    #[error("the pack {pack} of {user} is not in the store: which objects it needs is not known")]
    MissingPack {
        /// The pack.
        pack: VerityDigest,
        /// What needs it.
        user: String,
    },
    /// A pack that must stay cannot be read, so what it needs is not known.
    #[error("the pack {pack} cannot be read: which objects it needs is not known")]
    BadPack {
        /// The pack.
        pack: VerityDigest,
        /// Why not.
        source: PackError,
    },
    /// Something is mounted over the store's objects, and what it needs is not known.
    #[error(
        "a pack that is not in the store is mounted on {}: which objects it needs is not known",
        place.display()
    )]
    ForeignMount {
        /// Where.
        place: PathBuf,
    },
}

impl MachineError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Deploy(error) => error.class(),
            Self::Entry(error) => error.class(),
            Self::Etc(error) => error.class(),
            Self::Unpack(error) => error.class(),
            Self::Booted { .. } | Self::UnreadableEntry { .. } => ErrorClass::Corrupt,
            Self::Runtime { .. } => ErrorClass::Io,
            Self::InUse { .. } | Self::EntriesOfOthers { .. } | Self::ArgumentsOfImage { .. } => {
                ErrorClass::Usage
            }
            Self::NothingRuns
            | Self::NoRollback
            | Self::NoDefault { .. }
            | Self::MissingPack { .. } => ErrorClass::NotFound,
            Self::BadPack { source, .. } => source.class(),
            Self::ForeignMount { .. } => ErrorClass::Busy,
        }
    }
}

/// What is so of a deployment in this state.
const fn predicate(state: State) -> &'static str {
    match state {
        State::Booted => "is what runs",
        State::Default => "is what boots next",
        State::Rollback => "is what boots if the default is given up",
        State::Entry => "is in the boot menu",
        State::Pinned => "is pinned",
        State::Staged => "is staged",
        State::Mounted => "is mounted",
    }
}

/// An error of the system, of an operation on a path.
pub(super) fn failed(
    operation: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> MachineError {
    let path = path.into();
    move |source| MachineError::Runtime {
        operation,
        path,
        source,
    }
}
