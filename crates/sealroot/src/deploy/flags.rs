// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of a deployment after it was made: small files in it that come and go
//! (docs/format/store.md 8).
//!
//! Each change is one: whoever looks, and whatever the power does, finds the flag as it was before
//! or as it is after.

use sealroot_format::limits::MAX_DEPLOYMENT_FLAG_BYTES;
use sealroot_format::policy::DeploymentName;

use super::{DeployError, in_directory};
use crate::store::{
    Store, StoreDir, StoreError, StoreIo, StorePath, Transaction, deployment_path, full_path,
    parse_deployment_name,
};

/// A small file that a deployment may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Never collected. Empty.
    Pinned,
    /// Not set up to boot yet; its content says what is still to be done.
    Staged,
    /// Its initramfs was made on this machine; its content names the kernel modules in it.
    MadeInitramfs,
    /// It was booted sealed, and found good; its content names these boots.
    SealedBoots,
}

impl Flag {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Pinned,
        Self::Staged,
        Self::MadeInitramfs,
        Self::SealedBoots,
    ];

    /// The name of the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Staged => "staged",
            Self::MadeInitramfs => "made-initramfs",
            Self::SealedBoots => "sealed-boots",
        }
    }

    fn path(self, name: &DeploymentName) -> StorePath {
        in_directory(&deployment_path(name), self.name())
    }
}

/// Raises a flag, replacing the content of one that is raised. Whether anything changed. Durable
/// once the transaction is finished.
pub fn raise_flag<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    name: &DeploymentName,
    flag: Flag,
    content: &[u8],
) -> Result<bool, DeployError> {
    transaction.attempt(|| {
        let store = transaction.store();
        require(store, name)?;
        let path = flag.path(name);
        if content.len() as u64 > MAX_DEPLOYMENT_FLAG_BYTES {
            return Err(DeployError::Store(StoreError::TooLarge {
                path: full_path(store.io(), &path),
                found_bytes: content.len() as u64,
                max_bytes: MAX_DEPLOYMENT_FLAG_BYTES,
            }));
        }
        if read_flag(store, name, flag)?.as_deref() == Some(content) {
            return Ok(false);
        }
        transaction.mark()?;
        transaction.replace_small(&path, content)?;
        Ok(true)
    })
}

/// Lowers a flag; whether it was raised. Durable once the transaction is finished.
pub fn lower_flag<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    name: &DeploymentName,
    flag: Flag,
) -> Result<bool, DeployError> {
    transaction.attempt(|| {
        require(transaction.store(), name)?;
        transaction.mark()?;
        Ok(transaction.remove_small(&flag.path(name))?)
    })
}

/// Whether a flag is raised. Anything that has its name counts: what cannot be read is better kept.
pub fn has_flag<I: StoreIo>(
    store: &Store<I>,
    name: &DeploymentName,
    flag: Flag,
) -> Result<bool, DeployError> {
    match read_flag(store, name, flag) {
        Ok(content) => Ok(content.is_some()),
        Err(DeployError::Store(StoreError::NotRegular { .. } | StoreError::TooLarge { .. })) => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// What a flag says; `None` if it is not raised.
pub fn read_flag<I: StoreIo>(
    store: &Store<I>,
    name: &DeploymentName,
    flag: Flag,
) -> Result<Option<Vec<u8>>, DeployError> {
    Ok(store.read_small(&flag.path(name), MAX_DEPLOYMENT_FLAG_BYTES)?)
}

/// That there is such a deployment.
fn require<I: StoreIo>(store: &Store<I>, name: &DeploymentName) -> Result<(), DeployError> {
    let names = store.list_names(StoreDir::Deploy, parse_deployment_name)?;
    if names.contains(name) {
        return Ok(());
    }
    Err(DeployError::NoDeployment {
        name: *name,
        location: store.location().into(),
    })
}
