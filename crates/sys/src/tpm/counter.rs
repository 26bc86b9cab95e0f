// SPDX-License-Identifier: MIT OR Apache-2.0
//! A counter in the TPM's memory: it only ever rises, and one that is destroyed and made again
//! begins above the highest value that any counter of this TPM ever had.

use super::wire::{self, NvPublic};
use super::{Tpm, TpmError};

/// The NV index of the floor's counter, in the owner's range.
pub const FLOOR_INDEX: u32 = 0x0180_5ea1;

/// `TPMA_NV`: a counter (`TPM_NT_COUNTER`) that anybody who reaches the TPM may read and count up
/// (`AUTHREAD` and `AUTHWRITE` with an empty password), outside of the protection against guessing
/// (`NO_DA`), since there is nothing to guess.
const ATTRIBUTES: u32 = 0x0204_0014;

/// `TPMA_NV_WRITTEN`
const WRITTEN: u32 = 0x2000_0000;

/// Bytes of a counter.
const COUNTER_BYTES: u16 = 8;

impl Tpm {
    /// The value of the floor's counter.
    ///
    /// An index of another kind in its place, one that was never counted up, and none at all are
    /// errors, and not zero: nothing but destroying the counter brings them about.
    pub fn floor_counter(&mut self) -> Result<u64, TpmError> {
        let public = self.run(wire::nv_read_public(FLOOR_INDEX))?.nv_public()?;
        check(&public)?;
        let read = wire::nv_read(FLOOR_INDEX, COUNTER_BYTES);
        self.run(read)?.nv_counter()
    }

    /// Counts the floor's counter up by one.
    pub fn increment_floor_counter(&mut self) -> Result<(), TpmError> {
        self.run(wire::nv_increment(FLOOR_INDEX)).map(drop)
    }

    /// Makes the floor's counter, which has no value until it is counted up. The TPM's owner must
    /// have no password.
    pub fn define_floor_counter(&mut self) -> Result<(), TpmError> {
        let define = wire::nv_define_space(FLOOR_INDEX, ATTRIBUTES, COUNTER_BYTES);
        self.run(define).map(drop)
    }

    /// Destroys the floor's counter: no boot that wants it goes on from then on.
    pub fn undefine_floor_counter(&mut self) -> Result<(), TpmError> {
        self.run(wire::nv_undefine_space(FLOOR_INDEX)).map(drop)
    }
}

/// That an index is a counter of ours with a value: any other kind could be written to.
fn check(public: &NvPublic) -> Result<(), TpmError> {
    let ours = NvPublic {
        index: FLOOR_INDEX,
        attributes: ATTRIBUTES | WRITTEN,
        has_policy: false,
        size_bytes: COUNTER_BYTES,
    };
    if *public == ours {
        return Ok(());
    }
    let not_written = NvPublic {
        attributes: ATTRIBUTES,
        ..ours
    };
    if *public == not_written {
        return Err(TpmError::Uninitialised { index: FLOOR_INDEX });
    }
    let NvPublic {
        attributes,
        size_bytes,
        ..
    } = public;
    Err(TpmError::NotTheCounter {
        index: FLOOR_INDEX,
        expected: "a counter of sealroot's",
        found: format!("attributes {attributes:#010x} and {size_bytes} bytes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rules: U6
    #[test]
    fn only_a_counter_with_a_value_counts() {
        let ours = NvPublic {
            index: FLOOR_INDEX,
            attributes: ATTRIBUTES | WRITTEN,
            has_policy: false,
            size_bytes: 8,
        };
        check(&ours).expect("it is ours");
        for bit in 0..32 {
            let attributes = ours.attributes ^ (1 << bit);
            check(&NvPublic { attributes, ..ours }).expect_err("other attributes");
        }
        let other = NvPublic {
            has_policy: true,
            ..ours
        };
        check(&other).expect_err("a policy");
        let other = NvPublic {
            size_bytes: 16,
            ..other
        };
        check(&other).expect_err("another size");
    }
}
