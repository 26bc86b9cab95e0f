// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measured boot: what is booted goes into a PCR before any program of it runs.

use sealroot_format::floor::Floor;
use sealroot_format::measure::{self, BootEvent, PCR};
use sealroot_format::policy::Policy;
use sealroot_sys::tpm::Tpm;

use crate::console::say;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::release::Release;

/// Extends the PCR with what is booted, and gives the event back; `None` where that was not done:
/// there is no TPM, or one that failed and that the policy does not name.
pub(crate) fn extend(
    policy: &Policy,
    release: &Release,
    floor: Floor,
) -> Result<Option<String>, Refusal> {
    let event = BootEvent {
        pack: release.pack,
        statement: release.stated.as_ref().map(|stated| stated.text.as_str()),
        mode: policy.mode,
        release: release.numbers,
        floor,
    };
    let event = event.to_string();
    match try_extend(&event) {
        Ok(is_done) => Ok(is_done.then_some(event)),
        Err(refusal) if policy.floor_store.tpm.is_some() => Err(refusal),
        Err(refusal) => {
            say(&format!("not measured: {}", refusal.message));
            Ok(None)
        }
    }
}

/// Whether there was a TPM to extend.
fn try_extend(event: &str) -> Result<bool, Refusal> {
    let (what, expected) = ("PCR 15", "to be extended");
    let Some(mut tpm) = Tpm::open().or_refuse(Code::Measure, what, expected)? else {
        return Ok(false);
    };
    let digest = measure::digest(event);
    (tpm.pcr_extend(PCR, digest.as_bytes())).or_refuse(Code::Measure, what, expected)?;
    Ok(true)
}
