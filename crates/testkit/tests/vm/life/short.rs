// SPDX-License-Identifier: MIT OR Apache-2.0
//! Short lives of each kind of machine. In all but the first the power fails, once in each of the
//! operations that change what boots, with both kinds of disks. Every change must pass two of them; the
//! others are lived in the night.
//!
//! When it fails is a share of how long the machine took to come up: the same place of the operation
//! whether the machine is fast or slow. `nightly_*` of [`super::super::power`] try many moments.

use anyhow::{Result, bail, ensure};
use sealroot_testkit::ostree_machine::{
    Cache, MOUNT_VENDOR, Moment, Profile, Version, say_it_begins, say_it_has_ended,
};
use sealroot_testkit::vm::Delay;

use super::super::power::{ADOPT, CHECK, FSCK, PRUNE, REVERT, UPDATE_COUNTED};
use super::{IS_THERE, Life, OWN, has_state, json};

/// How often the moment is looked for: each time half as long after the operation has begun.
const MAX_CUTS: u32 = 4;

const STATUS: &str = "sealroot --json status";

/// The unit that blesses a boot, and the step in whose stead it is what the power fails in.
const BLESS: &str = "sealroot-bless.service";
const IS_BLESSED: &str = "systemctl is-active sealroot-bless.service";

/// What was done before the power fails is not to be lost with it.
const SYNC: &str = "sync";

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn an_ext4_machine_is_taken_over_updated_and_given_back() -> Result<()> {
    let Some(life) = Life::begin(Profile::Ext4)? else {
        return Ok(());
    };
    life.is_taken_over()?;
    life.is_updated_when_it_goes_down(Version::V1, Version::V2)?;
    life.is_given_back(Version::V2)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_a_machine_with_a_boot_partition_is_taken_over() -> Result<()> {
    let Some(mut life) = Life::begin(Profile::SeparateBoot)? else {
        return Ok(());
    };
    life.loses_power(&[OWN, SYNC], ADOPT, 50, Cache::Lost { seed: 1 })?;
    let booted = life.machine.boot(&[IS_THERE, ADOPT, STATUS, CHECK, FSCK])?;
    life.is_up(&booted, &[Version::V1])?;
    let status = json(&booted, 2)?;
    let release = life.vendor.commit(Version::V1)?;
    ensure!(has_state(&status, &release, "default"), "{status}");
    let booted = life
        .machine
        .boot(&[IS_THERE, "mountpoint -q /boot", CHECK])?;
    life.runs(&booted, Version::V1)
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn the_power_fails_while_a_machine_with_systemd_boot_is_updated_and_blessed() -> Result<()> {
    let Some(mut life) = Life::begin(Profile::SystemdBoot)? else {
        return Ok(());
    };
    life.is_taken_over()?;
    let tell = tell_when_it_blesses();
    let before = [IS_THERE, &tell, MOUNT_VENDOR, SYNC];
    life.loses_power(&before, UPDATE_COUNTED, 15, Cache::WrittenThrough)?;
    let booted = (life.machine).boot(&[
        IS_THERE,
        MOUNT_VENDOR,
        UPDATE_COUNTED,
        "ls /efi/loader/entries | grep -F +",
        STATUS,
        CHECK,
        FSCK,
    ])?;
    life.is_up(&booted, &[Version::V1, Version::V2])?;
    let status = json(&booted, 4)?;
    let release = life.vendor.commit(Version::V2)?;
    ensure!(has_state(&status, &release, "default"), "{status}");
    // What blesses is the unit, while the machine comes up, and again at the next boot.
    life.loses_power(&[], IS_BLESSED, 5, Cache::Lost { seed: 2 })?;
    let booted = life.machine.boot(&[
        IS_THERE,
        "! ls /efi/loader/entries | grep -F +",
        CHECK,
        FSCK,
    ])?;
    life.runs(&booted, Version::V2)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_what_a_btrfs_machine_no_longer_uses_is_collected() -> Result<()> {
    let Some(mut life) = Life::begin(Profile::Btrfs)? else {
        return Ok(());
    };
    life.is_taken_over()?;
    let before = [
        IS_THERE,
        MOUNT_VENDOR,
        "sealroot adopt --pull vendor:os/v2",
        "sealroot adopt --pull vendor:os/v3",
        SYNC,
    ];
    life.loses_power(&before, PRUNE, 10, Cache::Lost { seed: 3 })?;
    let booted = life.machine.boot(&[IS_THERE, PRUNE, STATUS, CHECK, FSCK])?;
    life.runs(&booted, Version::V3)?;
    let (status, gone) = (json(&booted, 2)?, life.vendor.commit(Version::V2)?);
    ensure!(!status.to_string().contains(&gone), "{status}");
    let booted = life.machine.boot(&[IS_THERE, CHECK])?;
    life.runs(&booted, Version::V3)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_a_machine_with_a_bare_user_repository_is_given_back() -> Result<()>
{
    let Some(mut life) = Life::begin(Profile::BareUser)? else {
        return Ok(());
    };
    life.is_taken_over()?;
    life.lets_ostree_boot(Version::V1, &[IS_THERE])?;
    life.loses_power(&[IS_THERE], REVERT, 15, Cache::WrittenThrough)?;
    life.forgets_sealroot()
}

/// The step after which the unit that blesses says on the console when it does.
fn tell_when_it_blesses() -> String {
    let directory = format!("/etc/systemd/system/{BLESS}.d");
    let (begins, ends) = (say_it_begins(), say_it_has_ended());
    format!(
        "mkdir -p {directory} && cat > {directory}/tell.conf <<'END'\n\
         [Service]\n\
         ExecStartPre=/bin/sh -c \"{begins}\"\n\
         ExecStartPost=/bin/sh -c \"{ends}\"\n\
         END\n"
    )
}

impl Life {
    /// The power fails in the middle of an operation: the last step, or what says before it that it
    /// begins. `thousandths` of how long the machine took to come up say when.
    fn loses_power(
        &mut self,
        before: &[&str],
        operation: &str,
        thousandths: u32,
        cache: Cache,
    ) -> Result<()> {
        for attempt in 0..MAX_CUTS {
            let machine = self.machine.copy()?;
            let delay = Delay::OfUptime(thousandths >> attempt);
            let cut = machine.boot_and_cut_power(before, operation, delay, cache)?;
            println!(
                "{:?}: {operation:?}: {cache:?}, {delay:?}: {cut:?}",
                self.profile
            );
            if cut.moment == Moment::During {
                self.machine = machine;
                return Ok(());
            }
        }
        bail!("{operation:?} had ended {MAX_CUTS} times before the power failed")
    }
}
