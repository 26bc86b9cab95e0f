// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with the firmware's boot manager.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use sealroot_format::ErrorClass;

use super::load_option::Malformed;

/// Why what the firmware starts could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootManagerError {
    /// There are no variables.
    #[error(
        "the variables of the firmware are not to be had in {}: that takes a machine started by UEFI, \
         and efivarfs mounted there",
        path.display()
    )]
    NoVariables {
        /// Where they should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not known by what firmware would find the boot partition.
    #[error("by what the firmware would find the boot partition {} is not known", path.display())]
    NoPartition {
        /// The partition.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Firmware or kernel refused an operation.
    #[error("cannot {operation} the firmware's variable {name}")]
    Variable {
        /// The operation, as a verb.
        operation: &'static str,
        /// The variable.
        name: String,
        /// The refusal.
        source: io::Error,
    },
    /// A variable cannot be read as what it is.
    #[error("the firmware's variable {name} is damaged; nothing was changed")]
    Malformed {
        /// The variable.
        name: String,
        /// What is wrong.
        source: Malformed,
    },
    /// A variable is not what was written.
    #[error(
        "the firmware's variable {name} has {found:?} after it was written, expected {expected:?}: the \
         firmware does not keep what it is given"
    )]
    NotKept {
        /// The variable.
        name: String,
        /// What was written, escaped.
        expected: String,
        /// What is there, escaped.
        found: String,
    },
    /// All numbers are taken.
    #[error("the firmware has {found} boot options, expected fewer than {max}")]
    TooMany {
        /// How many.
        found: usize,
        /// How many are looked at.
        max: usize,
    },
}

impl BootManagerError {
    /// Whether it says that a variable is longer than is read.
    pub(super) fn is_too_large(&self) -> bool {
        let too_large = Some(Errno::FBIG);
        matches!(self, Self::Variable { source, .. } if Errno::from_io_error(source) == too_large)
    }

    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoVariables { .. } => ErrorClass::NotFound,
            Self::NoPartition { .. } => ErrorClass::Unsupported,
            Self::Variable { .. } => ErrorClass::Io,
            Self::Malformed { .. } | Self::NotKept { .. } | Self::TooMany { .. } => {
                ErrorClass::Corrupt
            }
        }
    }
}
