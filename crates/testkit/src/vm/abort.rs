// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU giving up on itself, and playing on.

use anyhow::Result;

/// What QEMU dies of when it finds itself in an impossible state.
pub(super) const SIGABRT: i32 = 6;

/// How often a scenario is played if QEMU aborts.
const MAX_ABORTED: u32 = 3;

/// QEMU found a fault in itself and gave up: this says nothing about the guest.
#[derive(Debug, thiserror::Error)]
#[error("QEMU aborted: {0}")]
pub struct EmulatorAborted(pub(super) String);

/// Plays a scenario, from its fresh disks on, once more when QEMU aborted: emulating several
/// processors, it now and then fails an assertion of its own.
pub fn despite_aborts<T>(mut scenario: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..MAX_ABORTED {
        match scenario() {
            Err(error) if error.is::<EmulatorAborted>() => println!("once more: {error}"),
            end => return end,
        }
    }
    scenario()
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, bail};

    use super::*;

    #[test]
    fn only_a_scenario_in_which_qemu_aborted_is_played_once_more() {
        let mut played = 0;
        let end = despite_aborts(|| {
            played += 1;
            let error = EmulatorAborted("an assertion".into());
            Err::<(), _>(error).context("booting")
        });
        assert!(end.is_err());
        assert_eq!(played, MAX_ABORTED);

        let mut ends = [Err(EmulatorAborted("an assertion".into()).into()), Ok(7)].into_iter();
        assert_eq!(despite_aborts(|| ends.next().expect("two")).unwrap(), 7);

        let mut played = 0;
        let end: Result<()> = despite_aborts(|| {
            played += 1;
            bail!("the guest refused")
        });
        assert!(end.is_err());
        assert_eq!(played, 1);
    }
}
