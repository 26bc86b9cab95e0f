// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with the floors of a machine.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use sealroot_format::ErrorClass;
use sealroot_format::floor::{self, Floor};
use sealroot_sys::tpm::TpmError;

use super::MAX_ENROLLED_COUNTER;

/// Why a floor could not be looked at, made or raised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FloorError {
    /// A variable or an update is not what it should be.
    #[error(transparent)]
    Format(#[from] floor::Error),
    /// The TPM refused.
    #[error("the counter of the TPM")]
    Tpm(#[from] TpmError),
    /// There is no TPM 2.0, or its driver is not loaded.
    #[error("this machine has no TPM: expected /dev/tpmrm0 or /dev/tpm0")]
    NoTpm,
    /// The TPM cannot be opened.
    #[error("cannot open the TPM")]
    OpenTpm {
        /// Why not.
        source: io::Error,
    },
    /// The counter is below the base that the policy says.
    #[error("the counter of the TPM is at {counter}, below its base {base}: it was not enrolled")]
    BelowBase {
        /// Where it is.
        counter: u64,
        /// The base.
        base: u64,
    },
    /// A counter would have to be counted up further than makes sense.
    #[error(
        "a counter at {counter} is asked for: expected a base and an epoch that together are at \
         most {MAX_ENROLLED_COUNTER}"
    )]
    TooHigh {
        /// Where it would have to be.
        counter: u64,
    },
    /// The firmware has no floor.
    #[error("the firmware has no floor: it was not enrolled, or its memory was cleared")]
    NoVariable,
    /// The firmware's variables cannot be read or written.
    #[error("cannot {operation} {}", path.display())]
    Firmware {
        /// The operation, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The firmware did not take an update.
    #[error(
        "the firmware refuses the update to epoch {}, index {}: it is signed with another key than \
         the first was, or not later than what is there ({})",
        floor.epoch,
        floor.index,
        shown(*found)
    )]
    RefusedUpdate {
        /// What the update sets.
        floor: Floor,
        /// What is there.
        found: Option<Floor>,
    },
    /// The file of an update cannot be read.
    #[error("cannot read {}", path.display())]
    Update {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program that signs does not start.
    #[error("cannot run openssl")]
    OpenSsl {
        /// Why not.
        source: io::Error,
    },
    /// The program that signs failed, and has said why.
    #[error("openssl signed nothing: it ended with {status}")]
    NotSigned {
        /// How it ended.
        status: ExitStatus,
    },
}

/// A floor, or that there is none, in words.
fn shown(floor: Option<Floor>) -> String {
    floor.map_or_else(
        || "no readable floor".to_owned(),
        |floor| format!("epoch {}, index {}", floor.epoch, floor.index),
    )
}

impl FloorError {
    /// What kind of failure this is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Format(error) => error.class(),
            Self::Tpm(TpmError::NotTheCounter { .. } | TpmError::Uninitialised { .. })
            | Self::BelowBase { .. }
            | Self::RefusedUpdate { .. } => ErrorClass::Untrusted,
            Self::NoTpm | Self::NoVariable => ErrorClass::NotFound,
            Self::TooHigh { .. } | Self::NotSigned { .. } => ErrorClass::Usage,
            Self::Tpm(_)
            | Self::OpenTpm { .. }
            | Self::Firmware { .. }
            | Self::Update { .. }
            | Self::OpenSsl { .. } => ErrorClass::Io,
        }
    }
}
