// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with deployments.

use std::path::PathBuf;

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::policy::DeploymentName;
use sealroot_format::{ErrorClass, sign};

use crate::store::{StoreError, VerityAbsence};

/// Why a release could not be deployed, or a deployment not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mode needs fs-verity and the store has none.
    #[error(
        "the store in {} was made without fs-verity, which the modes sealed and verity need: \
         {absence}",
        location.display()
    )]
    NeedsVerity {
        /// The store.
        location: PathBuf,
        /// Why there is none.
        absence: VerityAbsence,
    },
    /// There is no such deployment.
    #[error("there is no deployment {name} in {}", location.display())]
    NoDeployment {
        /// Which.
        name: DeploymentName,
        /// The store.
        location: PathBuf,
    },
    /// The statement in the store is not well-formed.
    #[error("{} is not a release statement", path.display())]
    StatementFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: sign::Error,
    },
    /// The statement in the store is not the one to deploy.
    #[error("{} holds another statement than the one that was verified", path.display())]
    OtherStatement {
        /// The file.
        path: PathBuf,
    },
    /// The pack has another size than the statement says.
    #[error("the pack {digest} has {found_bytes} bytes, expected {expected_bytes}")]
    PackSize {
        /// The pack.
        digest: VerityDigest,
        /// What the statement says.
        expected_bytes: u64,
        /// What it has.
        found_bytes: u64,
    },
    /// The objects are not those of the release.
    #[error(
        "the pack names {found_objects} objects of {found_bytes} bytes, \
         expected {expected_objects} of {expected_bytes} as the statement says"
    )]
    OtherObjects {
        /// What the statement says.
        expected_objects: u64,
        /// What the statement says.
        expected_bytes: u64,
        /// What was given.
        found_objects: u64,
        /// What was given.
        found_bytes: u64,
    },
    /// One object was given with two sizes.
    #[error("the pack names the object {digest} with {first_bytes} and with {second_bytes} bytes")]
    TwoSizes {
        /// The object.
        digest: VerityDigest,
        /// One size.
        first_bytes: u64,
        /// Another.
        second_bytes: u64,
    },
    /// A record is not what it should be.
    #[error("{} is not a valid deployment record: {reason}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// All serials of a commit were used.
    #[error("the commit {commit} has a deployment with the highest serial there is")]
    NoSerialLeft {
        /// The commit.
        commit: CommitId,
    },
}

impl DeployError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::StatementFile { source, .. } => source.class(),
            Self::NoDeployment { .. } => ErrorClass::NotFound,
            Self::NeedsVerity { .. } | Self::NoSerialLeft { .. } => ErrorClass::Unsupported,
            Self::OtherStatement { .. } | Self::PackSize { .. } | Self::OtherObjects { .. } => {
                ErrorClass::Untrusted
            }
            Self::TwoSizes { .. } | Self::Record { .. } => ErrorClass::Corrupt,
        }
    }

    /// Whether it says that a record is damaged or missing, rather than out of reach.
    pub(crate) fn is_unreadable_record(&self) -> bool {
        matches!(
            self,
            Self::Record { .. }
                | Self::Store(
                    StoreError::NotFound { .. }
                        | StoreError::NotRegular { .. }
                        | StoreError::TooLarge { .. }
                )
        )
    }
}
