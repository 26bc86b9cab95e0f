// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong when a machine is judged or sealed.

use std::io;
use std::path::PathBuf;

use sealroot_format::{ErrorClass, sign};

use crate::deploy::DeployError;
use crate::entry::EntryError;
use crate::machine::MachineError;
use crate::store::StoreError;

/// Why a machine could not be judged or sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The boot menus could not be read or changed.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// What runs could not be found out.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A deployment could not be read or changed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is no proof that root keys are held.
    #[error("{}", path.display())]
    Proof {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: sign::Error,
    },
    /// Something speaks against sealing.
    #[error("the machine cannot be sealed yet, {missing} missing: {first}")]
    NotYet {
        /// How much.
        missing: usize,
        /// The first of it.
        first: String,
    },
    /// No entry that seals would be left.
    #[error("no boot entry starts an image that seals: nothing would be left to boot")]
    NothingLeft,
    /// Nothing of the store runs.
    #[error("no deployment of {} runs", location.display())]
    NothingRuns {
        /// The store.
        location: PathBuf,
    },
    /// A file that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file has no certificates.
    #[error("{}: expected certificates in PEM: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl SealError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Entry(error) => error.class(),
            Self::Machine(error) => error.class(),
            Self::Deploy(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Proof { source, .. } => source.class(),
            Self::NotYet { .. } | Self::NothingLeft => ErrorClass::Usage,
            Self::NothingRuns { .. } => ErrorClass::NotFound,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Read { .. } => ErrorClass::Io,
            Self::Certificates { .. } => ErrorClass::Corrupt,
        }
    }
}
