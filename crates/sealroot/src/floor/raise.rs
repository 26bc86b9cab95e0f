// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raising what a policy names, after a good boot.

use sealroot_format::floor::{Floor, update::Update};
use sealroot_format::policy::FloorStore;

use super::plan::next_epoch;
use super::{Counter, Firmware, FloorError};

/// A store before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<T> {
    /// What it was.
    pub before: T,
    /// What it is.
    pub after: T,
}

/// What became of the stores; `None` where the policy does not name one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// The variable of the firmware.
    pub variable: Option<Change<Floor>>,
    /// The epoch that the counter of the TPM stands for.
    pub counter: Option<Change<u64>>,
    /// Why a store is not where it could be.
    pub left: Vec<String>,
}

/// Raises the stores that a policy names, at most to `goal`; the variable by `update`, if that is
/// there and goes no further.
pub fn raise(
    store: FloorStore,
    firmware: &Firmware,
    goal: Floor,
    update: Option<&Update>,
) -> Result<Raised, FloorError> {
    let mut raised = Raised::default();
    if store.efi {
        let before = firmware.floor()?.ok_or(FloorError::NoVariable)?;
        let step = step(before, goal, update);
        let after = match step {
            Step::To(update) => {
                firmware.write(update)?;
                firmware.floor()?.ok_or(FloorError::NoVariable)?
            }
            Step::Stays(why) => {
                raised.left.extend(why);
                before
            }
        };
        raised.variable = Some(Change { before, after });
    }
    if let Some(base) = store.tpm {
        let mut counter = Counter::open(base)?;
        let before = counter.epoch()?;
        let after = counter.raise(next_epoch(before, goal.epoch))?;
        if after < goal.epoch {
            raised.left.push(format!(
                "the counter rises to epoch {} in steps: {after} is the first",
                goal.epoch
            ));
        }
        raised.counter = Some(Change { before, after });
    }
    Ok(raised)
}

/// What an update does with the variable.
#[derive(Debug, PartialEq, Eq)]
enum Step<'u> {
    /// It is written.
    To(&'u Update),
    /// It is not, for that reason, if it is worth telling.
    Stays(Option<String>),
}

fn step(before: Floor, goal: Floor, update: Option<&Update>) -> Step<'_> {
    let Some(update) = update else {
        let why = format!(
            "the variable stays at epoch {}: the release brings no update for it",
            before.epoch
        );
        return Step::Stays((before.epoch < goal.epoch).then_some(why));
    };
    let floor = update.floor;
    if floor.and(goal) != goal {
        return Step::Stays(Some(format!(
            "the update to epoch {}, index {} goes further than epoch {}, index {}, which all \
             that is kept allows",
            floor.epoch, floor.index, goal.epoch, goal.index
        )));
    }
    // Later in the firmware's view, and not lower in either number.
    if floor == before || floor.and(before) != floor {
        return Step::Stays(None);
    }
    Step::To(update)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An update with the frame of one, and no signature.
    fn update(epoch: u64, index: u64) -> Update {
        let floor = Floor { epoch, index };
        Update::new(floor, b"\x30\x01\x00").expect("the frame of an update")
    }

    #[test]
    fn an_update_is_written_only_between_what_is_and_what_may_be() {
        let floor = |epoch, index| Floor { epoch, index };
        let (before, goal) = (floor(2, 20), floor(3, 30));
        for (epoch, index, is_written) in [
            (3, 30, true),
            (2, 21, true),
            (3, 20, true),
            (2, 20, false),
            (3, 19, false),
            (1, 30, false),
            (4, 30, false),
            (3, 31, false),
        ] {
            let update = update(epoch, index);
            let step = step(before, goal, Some(&update));
            assert_eq!(step == Step::To(&update), is_written, "{epoch} {index}");
        }
        assert!(matches!(step(before, goal, None), Step::Stays(Some(_))));
        assert_eq!(step(goal, goal, None), Step::Stays(None));
    }
}
