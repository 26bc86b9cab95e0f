// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few commands of a TPM 2.0 that a boot needs: a counter in its memory, and extending a PCR.
//!
//! Numbers and names are those of the TCG's "Trusted Platform Module Library", parts 2 and 3.
//! Authorisation is by an empty password: what is guarded here is guarded by what the TPM itself
//! never does, not by a secret. A TPM's answers are bytes from outside: they never panic, and are
//! of at most [`MAX_RESPONSE_BYTES`].

mod counter;
mod wire;

use std::fs::File;
use std::io::{self, Read as _, Write as _};

pub use counter::FLOOR_INDEX;
use wire::{Command, Response};

/// Where the kernel has the TPM: first with its resource manager.
const DEVICES: [&str; 2] = ["/dev/tpmrm0", "/dev/tpm0"];

/// Longest answer, bytes: that of the kernel's own buffer.
pub const MAX_RESPONSE_BYTES: usize = 4096;

/// Bytes of a digest in the SHA-256 bank.
pub const DIGEST_BYTES: usize = 32;

/// A TPM that is open.
#[derive(Debug)]
pub struct Tpm {
    device: File,
}

/// Why a TPM did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The device failed.
    #[error("cannot {operation} the TPM")]
    Device {
        /// The operation, as a verb.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It answered with an error.
    #[error("the TPM answered {code:#x}{}", meaning(*code))]
    Refused {
        /// `TPM_RC`.
        code: u32,
    },
    /// Its answer is not one to what it was asked.
    #[error("{command}: expected an answer of the TPM, found other bytes")]
    Malformed {
        /// The command.
        command: &'static str,
    },
    /// The counter was made and never counted up.
    #[error("NV index {index:#010x}: expected a counter with a value, found one without")]
    Uninitialised {
        /// The index.
        index: u32,
    },
    /// There is something else in place of the counter.
    #[error("NV index {index:#010x}: expected {expected}, found {found}")]
    NotTheCounter {
        /// The index.
        index: u32,
        /// What a counter of ours is.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

/// `TPM_RC_FAILURE`
const FAILURE: u32 = 0x101;
/// `TPM_RC_NV_UNINITIALIZED`
const NV_UNINITIALIZED: u32 = 0x14a;
/// `TPM_RC_NV_DEFINED`
const NV_DEFINED: u32 = 0x14c;
/// `TPM_RC_HANDLE`, without the number of the handle.
const HANDLE: u32 = 0x08b;

/// What some answers mean here.
const fn meaning(code: u32) -> &'static str {
    match code {
        FAILURE => ": it is in failure mode",
        NV_UNINITIALIZED => ": the counter was never counted up",
        NV_DEFINED => ": the counter is there already",
        _ if is_missing(code) => ": there is no such counter",
        _ => "",
    }
}

const fn is_missing(code: u32) -> bool {
    /// Of an error about a handle, the bits that are not its number.
    const WITHOUT_NUMBER: u32 = 0xff;
    code & WITHOUT_NUMBER == HANDLE
}

impl TpmError {
    /// Whether there is no counter at all: before it was made, or after it was destroyed.
    pub const fn is_missing_counter(&self) -> bool {
        matches!(self, Self::Refused { code } if is_missing(*code))
    }

    /// Whether the counter was made and never counted up.
    pub const fn is_uninitialised_counter(&self) -> bool {
        matches!(self, Self::Uninitialised { .. })
    }
}

impl Tpm {
    /// Opens the TPM of this machine; `None` if the kernel has none.
    pub fn open() -> io::Result<Option<Self>> {
        for path in DEVICES {
            match File::options().read(true).write(true).open(path) {
                Ok(device) => return Ok(Some(Self { device })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Extends a PCR of the SHA-256 bank: `TPM2_PCR_Extend`. Its new value is the SHA-256 of the old
    /// one and `digest`.
    pub fn pcr_extend(&mut self, pcr: u32, digest: &[u8; DIGEST_BYTES]) -> Result<(), TpmError> {
        self.run(wire::pcr_extend(pcr, digest)).map(drop)
    }

    fn run(&mut self, command: Command) -> Result<Response, TpmError> {
        let failed = |operation| move |source| TpmError::Device { operation, source };
        let name = command.name();
        let bytes = command.into_bytes();
        let written = self.device.write(&bytes).map_err(failed("ask"))?;
        if written != bytes.len() {
            return Err(failed("ask")(io::ErrorKind::WriteZero.into()));
        }
        let mut answer = vec![0; MAX_RESPONSE_BYTES];
        let len_bytes = self.device.read(&mut answer).map_err(failed("read"))?;
        answer.truncate(len_bytes);
        Response::parse(name, answer)
    }
}
