// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines whose power fails while sealroot changes them. Whatever the moment, and whether or not
//! the disk had a cache: the machine boots the old or the new, and the same command once more ends
//! where it would have ended.
//!
//! Ten moments for each operation, each with both kinds of disks; `SEALROOT_POWER_CUTS` chooses
//! another number. Each operation once, with one kind of disk, is part of the short lives.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_testkit::ostree_machine::{Cache, MOUNT_VENDOR, OstreeMachine, Profile, Version};
use sealroot_testkit::vm::Delay;

use super::ostree_machine::vendor;

/// What is done while the power fails.
struct Operation {
    name: &'static str,
    profile: Profile,
    /// Boots before it, each with its steps.
    before: &'static [&'static [&'static str]],
    command: &'static str,
    /// What must hold after the command was repeated, on a machine that has booted since the cut.
    after: &'static [&'static str],
    /// The releases that may boot next once it was repeated.
    boots: &'static [Version],
}

pub(super) const ADOPT: &str = "sealroot adopt";
pub(super) const CHECK: &str = "sealroot check --full";
/// OSTree's own word that its repository is whole.
pub(super) const FSCK: &str = "ostree --repo=/sysroot/ostree/repo fsck --quiet";
const UPDATE: &str = "mkdir -p /run/vendor && (mountpoint -q /run/vendor || \
                      mount -o ro LABEL=vendor /run/vendor) && \
                      sealroot adopt --pull vendor:os/v2";
pub(super) const UPDATE_COUNTED: &str = "sealroot adopt --pull vendor:os/v2 --tries 3";
pub(super) const PRUNE: &str = "sealroot prune && sealroot prune";
pub(super) const REVERT: &str = "sealroot revert --yes";

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_a_machine_is_adopted() -> Result<()> {
    cut(&Operation {
        name: "adopt",
        profile: Profile::Ext4,
        before: &[],
        command: ADOPT,
        after: &[CHECK, FSCK],
        boots: &[Version::V1],
    })
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_an_update_is_deployed() -> Result<()> {
    cut(&Operation {
        name: "deploy",
        profile: Profile::SeparateBoot,
        before: &[&[ADOPT]],
        command: UPDATE,
        after: &[CHECK, FSCK],
        boots: &[Version::V2],
    })
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_a_boot_is_blessed() -> Result<()> {
    cut(&Operation {
        name: "bless",
        profile: Profile::SystemdBoot,
        before: &[
            &[ADOPT],
            &[
                "ln -sf /dev/null /etc/systemd/system/sealroot-bless.service",
                MOUNT_VENDOR,
                UPDATE_COUNTED,
            ],
        ],
        command: "sealroot bless",
        after: &["! ls /efi/loader/entries | grep -F +", CHECK],
        boots: &[Version::V2],
    })
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_what_nothing_uses_is_collected() -> Result<()> {
    cut(&Operation {
        name: "prune",
        profile: Profile::Ext4,
        before: &[
            &[ADOPT],
            &[MOUNT_VENDOR, UPDATE, "sealroot adopt --pull vendor:os/v3"],
        ],
        command: PRUNE,
        after: &[CHECK, FSCK],
        boots: &[Version::V3],
    })
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_a_machine_is_given_back() -> Result<()> {
    cut(&Operation {
        name: "revert",
        profile: Profile::Btrfs,
        before: &[&[ADOPT], &[REVERT]],
        command: REVERT,
        after: &["test ! -e /sysroot/ostree/verity", FSCK],
        boots: &[Version::V1],
    })
}

fn cut(operation: &Operation) -> Result<()> {
    let Some(vendor) = vendor()? else {
        return Ok(());
    };
    let Some(machine) = OstreeMachine::install(&vendor, operation.profile, Version::V1)? else {
        return Ok(());
    };
    for steps in operation.before {
        machine.boot(steps)?;
    }
    let lasts = how_long(&machine.copy()?, operation)?;
    let count: u32 = std::env::var("SEALROOT_POWER_CUTS").map_or(Ok(10), |count| count.parse())?;
    for number in 0..count {
        // Spread over all of it, each at another place of its part.
        let jitter = lasts * (number * 7 % 10) / 10;
        let after = (lasts * number + jitter) / count;
        for cache in [
            Cache::WrittenThrough,
            Cache::Lost {
                seed: u64::from(number),
            },
        ] {
            one(operation, &machine.copy()?, after, cache)
                .with_context(|| format!("{}: {cache:?}, {after:?}", operation.name))?;
        }
    }
    Ok(())
}

/// How long it takes undisturbed.
fn how_long(machine: &OstreeMachine, operation: &Operation) -> Result<Duration> {
    let uptime = "cut -d ' ' -f 1 /proc/uptime";
    let booted = machine.boot(&[uptime, operation.command, uptime])?;
    let at = |step: usize| -> Result<f64> { Ok(booted.output(step).trim().parse()?) };
    Ok(Duration::from_secs_f64(at(2)? - at(0)?))
}

fn one(
    operation: &Operation,
    machine: &OstreeMachine,
    after: Duration,
    cache: Cache,
) -> Result<()> {
    let delay = Delay::Time(after);
    let end = machine.boot_and_cut_power(&[], operation.command, delay, cache)?;
    let mut steps = vec![operation.command];
    steps.extend(operation.after);
    let repeated = machine.boot(&steps)?;
    let booted = machine.boot(&["true"])?;
    let version = &booted.facts.version;
    println!(
        "{}: {cache:?}, {after:?}: {end:?}, then release {}, then {version}",
        operation.name, repeated.facts.version
    );
    let mut expected = operation.boots.iter().map(|version| version.name());
    ensure!(expected.any(|name| name == version), "{booted:#?}");
    ensure!(booted.facts.failed_units.is_empty(), "{booted:#?}");
    Ok(())
}
