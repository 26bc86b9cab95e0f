// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines whose power fails.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::write_log::{Kept, WriteLog};
use super::{BOOT_TIME_OUT, OstreeMachine, ROOT_DISK, STEPS_MARKER};
use crate::disk::succeed;
use crate::vm::VmEnd;

/// What the disk had of what was written when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// All of it: the disk has no cache, or one with a battery.
    WrittenThrough,
    /// What was flushed, and of the rest what chance, begun with this seed, has kept.
    Lost {
        /// The same seed, the same choice.
        seed: u64,
    },
}

/// What became of a boot whose power was to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    /// It failed, with a disk that had no cache.
    Failed,
    /// It failed, and this was kept.
    FailedWithCache(Kept),
    /// The machine was off before.
    TooLate,
}

impl OstreeMachine {
    /// Boots the machine and kills it `after` its first step has begun.
    pub fn boot_and_cut_power(
        &self,
        steps: &[&str],
        after: Duration,
        cache: Cache,
    ) -> Result<PowerCut> {
        let log = self.directory.path().join("writes");
        let before = self.directory.path().join("disk-before");
        let disk = self.disk.path();
        let (vm, before) = match cache {
            Cache::WrittenThrough => (self.vm(steps, |vm| vm.disk(ROOT_DISK, disk))?, None),
            Cache::Lost { .. } => {
                // QEMU takes a log that is there already.
                fs::File::create(&log)?;
                let before = self.disk.copy_to(&before)?;
                let vm = self.vm(steps, |vm| vm.logged_disk(ROOT_DISK, disk, &log))?;
                (vm, Some(before))
            }
        };
        let vm = vm.cut_power(STEPS_MARKER, after);
        let outcome = vm.run(BOOT_TIME_OUT)?;
        match outcome.end {
            VmEnd::PowerCut | VmEnd::Ended => {}
            VmEnd::Marker(_) | VmEnd::TimedOut => bail!(
                "the machine came to no step in {:?}; its console:\n{}",
                outcome.wall,
                outcome.console_tail(40)
            ),
        }
        let has_failed = outcome.end == VmEnd::PowerCut;
        let (Some(before), Cache::Lost { seed }) = (before, cache) else {
            return Ok(if has_failed {
                PowerCut::Failed
            } else {
                PowerCut::TooLate
            });
        };
        let writes = WriteLog::read(&log)?;
        if !has_failed {
            writes.replay(&before, || true)?;
            // Nothing that the log tells later is worth anything if it does not tell this.
            succeed(Command::new("cmp").arg(before.path()).arg(disk))
                .context("comparing the log of a machine's writes with its disk")?;
            return Ok(PowerCut::TooLate);
        }
        let mut chance = Chance(seed);
        let kept = writes.replay(&before, || chance.is_kept())?;
        fs::rename(before.path(), disk).context("putting the disk in place")?;
        Ok(PowerCut::FailedWithCache(kept))
    }
}

/// Numbers that look random: splitmix64.
struct Chance(u64);

impl Chance {
    fn is_kept(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 0
    }
}
