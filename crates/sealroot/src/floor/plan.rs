// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far a floor may rise after a good boot.

use sealroot_format::floor::Floor;
use sealroot_format::limits::{MAX_FLOOR_EPOCH, MAX_FLOOR_INDEX};
use sealroot_format::policy::FloorOn;
use sealroot_format::sign::ReleaseNumbers;

/// Most epochs by which a counter rises at once: a wrong number must not run away with it.
pub const MAX_EPOCH_STEP: u64 = 16;

/// The highest floor after a good boot of `running`, where releases are `kept` to go back to.
///
/// The epoch becomes that of what runs: that is what the vendor raises epochs for, whatever is kept.
/// The index, where the floor is on it, stays low enough for all that is kept and that the epoch
/// leaves alive.
pub fn goal(
    running: ReleaseNumbers,
    kept: impl IntoIterator<Item = ReleaseNumbers>,
    on: FloorOn,
) -> Floor {
    let alive = kept.into_iter().filter(|kept| kept.epoch >= running.epoch);
    let index = match on {
        FloorOn::Epoch => running.index,
        FloorOn::Index => alive.map(|kept| kept.index).fold(running.index, u64::min),
    };
    Floor {
        epoch: running.epoch.min(MAX_FLOOR_EPOCH),
        index: index.min(MAX_FLOOR_INDEX),
    }
}

/// The epoch that a counter is raised to at once, on its way from `now` to `goal`.
pub(super) fn next_epoch(now: u64, goal: u64) -> u64 {
    goal.min(now.saturating_add(MAX_EPOCH_STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn release(epoch: u64, index: u64) -> ReleaseNumbers {
        ReleaseNumbers { index, epoch }
    }

    #[test]
    fn a_floor_on_the_epoch_leaves_the_way_back_within_it() {
        let kept = [release(2, 7), release(1, 6)];
        let goal = |on| goal(release(2, 9), kept, on);
        assert_eq!(goal(FloorOn::Epoch), Floor { epoch: 2, index: 9 });
        assert_eq!(goal(FloorOn::Index), Floor { epoch: 2, index: 7 });
    }

    #[test]
    fn what_runs_is_never_above_its_own_floor() {
        let newer = [release(2, 12), release(3, 13)];
        let floor = goal(release(2, 9), newer, FloorOn::Index);
        assert_eq!(floor, Floor { epoch: 2, index: 9 });
        assert!(floor.allows(release(2, 9)));
        let far = release(u64::MAX, u64::MAX);
        assert!(goal(far, [far], FloorOn::Index).allows(far));
    }

    #[test]
    fn a_counter_rises_by_few_at_once() {
        assert_eq!(next_epoch(3, 5), 5);
        assert_eq!(next_epoch(3, 3), 3);
        assert_eq!(next_epoch(3, 1_000_000), 19);
        assert_eq!(next_epoch(u64::MAX, u64::MAX), u64::MAX);
    }
}
