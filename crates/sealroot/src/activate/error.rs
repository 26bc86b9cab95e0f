// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a deployment did not become what boots next.

use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::policy::DeploymentName;

use crate::adopt::AdoptError;
use crate::deploy::DeployError;
use crate::entry::{EntryError, InitrdError};
use crate::etc::EtcError;
use crate::keyring::Unopened;
use crate::machine::MachineError;
use crate::release::ReleaseError;
use crate::store::StoreError;
use crate::uki::UkiError;

/// Why a deployment did not become what boots next. What booted before still does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The deployment cannot be read or changed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The release cannot be read.
    #[error(transparent)]
    Release(Box<ReleaseError>),
    /// The boot entries could not be read or changed.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// There is no initramfs.
    #[error(transparent)]
    Initrd(Box<InitrdError>),
    /// There is no `/etc` for it.
    #[error(transparent)]
    Etc(Box<EtcError>),
    /// The machine's state is not clear.
    #[error(transparent)]
    Machine(Box<MachineError>),
    /// OSTree's side cannot be read.
    #[error(transparent)]
    Adopt(Box<AdoptError>),
    /// Nothing names the filesystem for the boot program.
    #[error(
        "it is not known by which UUID the boot program would find the filesystem of {}",
        sysroot.display()
    )]
    NoRootDevice {
        /// The physical root.
        sysroot: PathBuf,
    },
    /// The image to boot cannot be used for the release.
    #[error(transparent)]
    Image(Box<UkiError>),
    /// The image names another deployment than it would boot in.
    #[error("the image boots the deployment {named} only, and this one is {found}")]
    OtherDeployment {
        /// What it names.
        named: DeploymentName,
        /// What was made.
        found: DeploymentName,
    },
    /// Objects were signed for the kernel's keyring, and what it boots with has no certificate of theirs.
    #[error("what it boots with does not open its files: {unopened}")]
    Unopened {
        /// The first of them.
        unopened: Unopened,
    },
    /// A kernel argument was wished for, and an image has its own inside.
    #[error("kernel argument {argument}: a unified kernel image takes none but its own")]
    ArgumentOfImage {
        /// The argument.
        argument: String,
    },
    /// What is to be done for a staged deployment cannot be understood.
    #[error("the flag `staged` of {name} does not say what is to be done: {reason}")]
    Flag {
        /// The deployment.
        name: DeploymentName,
        /// What is wrong.
        reason: String,
    },
    /// The kernel does not name this boot.
    #[error("cannot read which boot this is")]
    BootId {
        /// Why not.
        source: io::Error,
    },
}

macro_rules! boxed {
    ($($variant:ident($error:ident)),+ $(,)?) => {
        $(impl From<$error> for ActivateError {
            fn from(error: $error) -> Self {
                Self::$variant(error.into())
            }
        })+
    };
}

boxed! {
    Adopt(AdoptError),
    Etc(EtcError),
    Image(UkiError),
    Initrd(InitrdError),
    Machine(MachineError),
    Release(ReleaseError),
}

impl ActivateError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Deploy(error) => error.class(),
            Self::Release(error) => error.class(),
            Self::Entry(error) => error.class(),
            Self::Initrd(error) => error.class(),
            Self::Etc(error) => error.class(),
            Self::Machine(error) => error.class(),
            Self::Image(error) => error.class(),
            Self::Unopened { .. } | Self::OtherDeployment { .. } | Self::ArgumentOfImage { .. } => {
                ErrorClass::Usage
            }
            Self::Adopt(error) => error.class(),
            Self::NoRootDevice { .. } => ErrorClass::NotFound,
            Self::Flag { .. } => ErrorClass::Corrupt,
            Self::BootId { .. } => ErrorClass::Io,
        }
    }
}
