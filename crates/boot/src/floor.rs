// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floor: the oldest release that may boot, by the policy and by what the machine keeps where
//! the disk cannot reach (`docs/design/rollback.md`).
//!
//! A store that the policy names and that is missing, or anything else than it must be, was tampered
//! with: it is refused, and never zero.

use std::thread::sleep;
use std::time::{Duration, Instant};

use sealroot_format::floor::{Floor, epoch_of_counter, variable};
use sealroot_format::limits::MAX_FLOOR_BYTES;
use sealroot_format::policy::Policy;
use sealroot_format::sign::ReleaseNumbers;
use sealroot_sys::efivar;
use sealroot_sys::tpm::Tpm;

use crate::facts::glance;
use crate::refusal::{Code, OrRefuse as _, Refusal};

/// How long a TPM that the policy wants may take to appear.
const TPM_TIME_OUT: Duration = Duration::from_secs(10);

const STEP: Duration = Duration::from_millis(100);

/// Holds a release against the floor, which is given back.
pub(crate) fn check(policy: &Policy, release: ReleaseNumbers) -> Result<Floor, Refusal> {
    let mut floor = Floor {
        epoch: policy.epoch_floor,
        index: 0,
    };
    if policy.floor_store.efi {
        floor = floor.and(read_variable()?);
    }
    if let Some(base) = policy.floor_store.tpm {
        let epoch = read_counter(base)?;
        floor = floor.and(Floor { epoch, index: 0 });
    }
    let floor = policy.floor_on.of(floor);
    judge(floor, release)?;
    Ok(floor)
}

fn judge(floor: Floor, release: ReleaseNumbers) -> Result<(), Refusal> {
    if floor.allows(release) {
        return Ok(());
    }
    let [expected, found] = [(floor.epoch, floor.index), (release.epoch, release.index)]
        .map(|(epoch, index)| format!("epoch {epoch} and index {index}"));
    let expected = format!("at least {expected}");
    Err(Refusal::new(Code::Epoch, "release", expected, found))
}

fn read_variable() -> Result<Floor, Refusal> {
    /// With the attributes before the text.
    const LIMIT_BYTES: usize = MAX_FLOOR_BYTES + 4;
    let (what, expected) = (variable::FILE_NAME, "a variable of the firmware");
    let Some(variables) = glance("efivarfs") else {
        return Err(Refusal::new(Code::Floor, what, expected, "no efivarfs"));
    };
    let found = efivar::read(&variables, what, LIMIT_BYTES);
    match found.or_refuse(Code::Floor, what, expected)? {
        Some(bytes) => variable::parse(&bytes).map_err(|error| Refusal::of(Code::Floor, &error)),
        None => Err(Refusal::new(Code::Floor, what, expected, "none")),
    }
}

/// The epoch that the TPM's counter stands for.
fn read_counter(base: u64) -> Result<u64, Refusal> {
    let started = Instant::now();
    let mut tpm = loop {
        let opened = Tpm::open().or_refuse(Code::Floor, "TPM", "to open")?;
        match opened {
            Some(tpm) => break tpm,
            None if started.elapsed() < TPM_TIME_OUT => sleep(STEP),
            None => return Err(Refusal::new(Code::Floor, "TPM", "a TPM 2.0", "none")),
        }
    };
    let counter = (tpm.floor_counter()).map_err(|error| Refusal::of(Code::Floor, &error))?;
    epoch_of_counter(counter, base).ok_or_else(|| {
        let expected = format!("at least the policy's tpm-base {base}");
        Refusal::new(Code::Floor, "counter of the TPM", expected, counter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rules: P18
    #[test]
    fn a_release_below_the_floor_is_refused() {
        let floor = Floor { epoch: 2, index: 7 };
        let release = |epoch, index| ReleaseNumbers { index, epoch };
        judge(floor, release(2, 7)).expect("at the floor");
        judge(floor, release(9, 9)).expect("above");
        for below in [release(1, 9), release(9, 6), release(0, 0)] {
            assert_eq!(judge(floor, below).expect_err("below").code, Code::Epoch);
        }
    }
}
