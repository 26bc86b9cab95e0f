// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floors that this machine keeps where the disk cannot reach: made, looked at, raised
//! (docs/design/rollback.md).
//!
//! The boot program alone holds releases against them. Here root does what root may do: raise.

mod error;
mod plan;
mod raise;
mod sign;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sealroot_format::floor::{Floor, epoch_of_counter, update::Update, variable};
use sealroot_format::limits::MAX_FLOOR_BYTES;
use sealroot_sys::efivar;
use sealroot_sys::tpm::Tpm;

pub use error::FloorError;
pub use plan::{MAX_EPOCH_STEP, goal};
pub use raise::{Change, Raised, raise};
pub use sign::sign;

/// Where a release brings an update of the variable.
pub const UPDATE_PATH: &str = "/usr/lib/sealroot/floor.auth";

/// Highest number that a counter is counted up to when it is made: each step writes to the TPM's
/// memory.
pub const MAX_ENROLLED_COUNTER: u64 = 100_000;

/// The variable of the firmware.
#[derive(Clone, Debug)]
pub struct Firmware {
    efivarfs: PathBuf,
}

impl Firmware {
    /// The variables in a mounted efivarfs, usually [`efivar::EFIVARFS`].
    pub fn new(efivarfs: impl Into<PathBuf>) -> Self {
        Self {
            efivarfs: efivarfs.into(),
        }
    }

    /// The floor; `None` if there is no such variable.
    pub fn floor(&self) -> Result<Option<Floor>, FloorError> {
        /// With the attributes before the text.
        const LIMIT_BYTES: usize = MAX_FLOOR_BYTES + 4;
        let found = efivar::read(self.open("read")?, variable::FILE_NAME, LIMIT_BYTES);
        let bytes = found.map_err(|errno| self.failed("read", errno))?;
        Ok(bytes.as_deref().map(variable::parse).transpose()?)
    }

    /// Writes an update. The first makes the variable and its key the only one; the firmware refuses
    /// one of another key, and one that is not later.
    pub fn write(&self, update: &Update) -> Result<(), FloorError> {
        let (name, attributes) = (variable::FILE_NAME, variable::ATTRIBUTES);
        match efivar::write(self.open("write")?, name, attributes, update.as_bytes()) {
            Err(Errno::ACCESS) => Err(FloorError::RefusedUpdate {
                floor: update.floor,
                found: self.floor().ok().flatten(),
            }),
            written => written.map_err(|errno| self.failed("write", errno)),
        }
    }

    fn open(&self, operation: &'static str) -> Result<File, FloorError> {
        File::open(&self.efivarfs).map_err(|source| FloorError::Firmware {
            operation,
            path: self.efivarfs.clone(),
            source,
        })
    }

    fn failed(&self, operation: &'static str, errno: Errno) -> FloorError {
        FloorError::Firmware {
            operation,
            path: self.efivarfs.join(variable::FILE_NAME),
            source: errno.into(),
        }
    }
}

/// Reads the file of an update.
pub fn read_update(path: &Path) -> Result<Update, FloorError> {
    let limit_bytes = sealroot_format::limits::MAX_FLOOR_UPDATE_BYTES;
    let bytes = crate::input::read(path, limit_bytes).map_err(|source| FloorError::Update {
        path: path.to_owned(),
        source,
    })?;
    Ok(Update::parse(&bytes)?)
}

/// The counter in the TPM, for a policy with this base.
#[derive(Debug)]
pub struct Counter {
    tpm: Tpm,
    base: u64,
}

impl Counter {
    /// The counter of this machine's TPM, whether it was made or not.
    pub fn open(base: u64) -> Result<Self, FloorError> {
        match Tpm::open() {
            Ok(Some(tpm)) => Ok(Self { tpm, base }),
            Ok(None) => Err(FloorError::NoTpm),
            Err(source) => Err(FloorError::OpenTpm { source }),
        }
    }

    /// The epoch that it stands for.
    pub fn epoch(&mut self) -> Result<u64, FloorError> {
        let (counter, base) = (self.tpm.floor_counter()?, self.base);
        epoch_of_counter(counter, base).ok_or(FloorError::BelowBase { counter, base })
    }

    /// Makes the counter if there is none, and counts it up to an epoch: what it stands for then, which
    /// is more where an earlier counter of this TPM had been higher.
    pub fn enrol(&mut self, epoch: u64) -> Result<u64, FloorError> {
        let goal = self.base.saturating_add(epoch);
        if goal > MAX_ENROLLED_COUNTER {
            return Err(FloorError::TooHigh { counter: goal });
        }
        match self.tpm.floor_counter() {
            Ok(_) => {}
            Err(error) if error.is_missing_counter() => self.tpm.define_floor_counter()?,
            // One that was made and never counted up: an enrolment that was interrupted.
            Err(error) if error.is_uninitialised_counter() => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            match self.tpm.floor_counter() {
                Ok(counter) if counter >= goal => return self.epoch(),
                Err(error) if !error.is_uninitialised_counter() => return Err(error.into()),
                _ => self.tpm.increment_floor_counter()?,
            }
        }
    }

    /// Counts it up to an epoch, which it may have reached: what it stands for then.
    pub fn raise(&mut self, epoch: u64) -> Result<u64, FloorError> {
        let mut stands_for = self.epoch()?;
        while stands_for < epoch {
            self.tpm.increment_floor_counter()?;
            stands_for = self.epoch()?;
        }
        Ok(stands_for)
    }
}
