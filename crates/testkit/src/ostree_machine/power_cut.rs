// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines whose power fails.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::write_log::{Kept, WriteLog};
use super::{BOOT_TIME_OUT, OstreeMachine, ROOT_DISK};
use crate::disk::succeed;
use crate::vm::{Delay, VmEnd};

/// The lines of the console between which the power is to fail. They are written past the journal,
/// which would write them later.
const BEGINS: Line = Line("sealroot-guest:", "the operation begins");
const ENDS: Line = Line("sealroot-guest:", "the operation has ended");

/// A line in two words for a shell: a console that shows the command does not show the line.
struct Line(&'static str, &'static str);

impl Line {
    fn text(&self) -> String {
        format!("{} {}", self.0, self.1)
    }

    fn command(&self) -> String {
        format!("echo {} '{}' > /dev/console", self.0, self.1)
    }
}

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
pub struct PowerCut {
    /// When it failed.
    pub moment: Moment,
    /// What of the writes was kept, if the disk had a cache and the power failed.
    pub kept: Option<Kept>,
}

/// When the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// During the operation.
    During,
    /// After it, before the machine was off.
    After,
    /// Not before the machine was off.
    TooLate,
}

/// The command that says on the console that the operation begins, for whatever runs it.
pub fn say_it_begins() -> String {
    BEGINS.command()
}

/// The command that says on the console that the operation has ended.
pub fn say_it_has_ended() -> String {
    ENDS.command()
}

impl OstreeMachine {
    /// Boots the machine and kills it some time after an operation, one of its steps, has begun.
    pub fn boot_and_cut_power(
        &self,
        before: &[&str],
        operation: &str,
        after: Delay,
        cache: Cache,
    ) -> Result<PowerCut> {
        let (begins, ends) = (say_it_begins(), say_it_has_ended());
        let steps = [before, &[&begins, operation, &ends]].concat();
        let log = self.directory.path().join("writes");
        let disk_before = self.directory.path().join("disk-before");
        let disk = self.disk.path();
        let (vm, disk_before) = match cache {
            Cache::WrittenThrough => (self.vm(&steps, |vm| vm.disk(ROOT_DISK, disk))?, None),
            Cache::Lost { .. } => {
                // QEMU takes a log that is there already.
                fs::File::create(&log)?;
                let disk_before = self.disk.copy_to(&disk_before)?;
                let vm = self.vm(&steps, |vm| vm.logged_disk(ROOT_DISK, disk, &log))?;
                (vm, Some(disk_before))
            }
        };
        let outcome = vm.cut_power(&BEGINS.text(), after).run(BOOT_TIME_OUT)?;
        let moment = match outcome.end {
            VmEnd::PowerCut if outcome.console.contains(&ENDS.text()) => Moment::After,
            VmEnd::PowerCut => Moment::During,
            VmEnd::Ended if outcome.console.contains(&BEGINS.text()) => Moment::TooLate,
            VmEnd::Ended | VmEnd::Marker(_) | VmEnd::TimedOut => bail!(
                "the machine did not come to {operation:?} in {:?}; its console:\n{}",
                outcome.wall,
                outcome.console_tail(40)
            ),
        };
        let (Some(disk_before), Cache::Lost { seed }) = (disk_before, cache) else {
            return Ok(PowerCut { moment, kept: None });
        };
        let writes = WriteLog::read(&log)?;
        if moment == Moment::TooLate {
            writes.replay(&disk_before, || true)?;
            // Nothing that the log tells later is worth anything if it does not tell this.
            succeed(Command::new("cmp").arg(disk_before.path()).arg(disk))
                .context("comparing the log of a machine's writes with its disk")?;
            return Ok(PowerCut { moment, kept: None });
        }
        let mut chance = Chance(seed);
        let kept = writes.replay(&disk_before, || chance.is_kept())?;
        fs::rename(disk_before.path(), disk).context("putting the disk in place")?;
        Ok(PowerCut {
            moment,
            kept: Some(kept),
        })
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
