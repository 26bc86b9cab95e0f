// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a repair ended early.

use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;

use crate::deploy::DeployError;
use crate::store::StoreError;

/// See [`super::repair`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A deployment that was named.
    #[error(transparent)]
    Deploy(DeployError),
    /// A commit that was named is nowhere.
    #[error("no statement and no deployment of the commit {commit} is in the store")]
    NoRelease {
        /// Which.
        commit: CommitId,
    },
}

impl RepairError {
    /// The class, for exit codes.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Deploy(error) => error.class(),
            Self::NoRelease { .. } => ErrorClass::NotFound,
        }
    }
}
