// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that run OSTree, over several boots: what they are like before sealroot comes.
//!
//! They are lived by `cargo xtask machines`; a short life of one that is taken over is part of every
//! run.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Result, ensure};
use sealroot_testkit::ostree_machine::{
    BootReport, COPY_BOOT_FILES, Cache, MOUNT_VENDOR, Moment, OstreeMachine, Profile, Vendor,
    Version,
};
use sealroot_testkit::vm::Delay;

/// Leaves something in `/etc` and `/var`, and has OSTree deploy the second release.
const UPDATE: [&str; 6] = [
    "echo mine > /etc/mine && echo data > /var/data",
    MOUNT_VENDOR,
    "ostree pull vendor os/v2",
    "ostree admin deploy vendor:os/v2",
    COPY_BOOT_FILES,
    "ostree admin status",
];

/// Reads that, and a default that the second release changed.
const READ: &str = "cat /etc/mine /etc/ostree-os.conf /var/data";

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_an_ext4_machine_lives_with_ostree() -> Result<()> {
    lives_with_ostree(Profile::Ext4)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_btrfs_machine_lives_with_ostree() -> Result<()> {
    lives_with_ostree(Profile::Btrfs)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_with_a_boot_partition_lives_with_ostree() -> Result<()> {
    lives_with_ostree(Profile::SeparateBoot)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_with_systemd_boot_lives_with_ostree() -> Result<()> {
    lives_with_ostree(Profile::SystemdBoot)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_with_a_bare_user_repository_lives_with_ostree() -> Result<()> {
    lives_with_ostree(Profile::BareUser)
}

/// The vendor, made once for all tests that run at the same time.
pub(super) fn vendor() -> Result<Option<Arc<Vendor>>> {
    static SHARED: Mutex<Weak<Vendor>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(vendor) = shared.upgrade() {
        return Ok(Some(vendor));
    }
    let vendor = Vendor::create()?.map(Arc::new);
    *shared = vendor.as_ref().map_or_else(Weak::new, Arc::downgrade);
    Ok(vendor)
}

/// Installs, updates, rolls back; what belongs to the machine stays.
fn lives_with_ostree(profile: Profile) -> Result<()> {
    let Some(vendor) = vendor()? else {
        return Ok(());
    };
    let Some(machine) = OstreeMachine::install(&vendor, profile, Version::V1)? else {
        return Ok(());
    };
    check(&machine.boot(&UPDATE)?, Version::V1)?;
    check_updated(&machine.boot(&[READ, "ostree admin set-default 1", COPY_BOOT_FILES])?)?;
    let rolled_back =
        machine.boot(&["cat /var/data /etc/ostree-os.conf", "ostree fsck --quiet"])?;
    check(&rolled_back, Version::V1)?;
    ensure!(
        rolled_back.output(0) == "data\ndefault = 1\n",
        "{rolled_back:#?}"
    );
    Ok(())
}

fn check_updated(booted: &BootReport) -> Result<()> {
    check(booted, Version::V2)?;
    ensure!(
        booted.output(0) == "mine\ndefault = 2\ndata\n",
        "{booted:#?}"
    );
    Ok(())
}

/// The release runs, under OSTree, with all its services.
fn check(booted: &BootReport, version: Version) -> Result<()> {
    let facts = &booted.facts;
    println!(
        "release {} after {} s: {}",
        facts.version, facts.uptime_seconds, facts.cmdline
    );
    ensure!(facts.version == version.name(), "{booted:#?}");
    ensure!(facts.cmdline.contains(" ostree="), "{booted:#?}");
    ensure!(facts.failed_units.is_empty(), "{booted:#?}");
    ensure!(facts.booted.is_none(), "{booted:#?}");
    Ok(())
}

/// The harness for power cuts: OSTree, whose promise this is, keeps it.
#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_power_fails_while_ostree_deploys() -> Result<()> {
    const DEPLOY: &str = "ostree admin deploy vendor:os/v2";
    let Some(vendor) = vendor()? else {
        return Ok(());
    };
    let Some(machine) = OstreeMachine::install(&vendor, Profile::Ext4, Version::V1)? else {
        return Ok(());
    };
    machine.boot(&[MOUNT_VENDOR, "ostree pull vendor os/v2"])?;

    let whole = machine.copy()?;
    let never = Delay::Time(Duration::from_secs(3600));
    let end = whole.boot_and_cut_power(&[], DEPLOY, never, Cache::Lost { seed: 0 })?;
    ensure!(end.moment == Moment::TooLate, "{end:?}");
    let booted = whole.boot(&["true"])?;
    ensure!(booted.facts.version == Version::V2.name(), "{booted:#?}");

    for (seed, milliseconds) in [(1, 300), (2, 1500), (3, 4000)] {
        for cache in [Cache::WrittenThrough, Cache::Lost { seed }] {
            let machine = machine.copy()?;
            let after = Delay::Time(Duration::from_millis(milliseconds));
            let end = machine.boot_and_cut_power(&[], DEPLOY, after, cache)?;
            let booted = machine.boot(&["ostree fsck --quiet"])?;
            let version = &booted.facts.version;
            println!("{cache:?}, {after:?}: {end:?}, then release {version}");
            let either = [Version::V1.name(), Version::V2.name()];
            ensure!(either.contains(&version.as_str()), "{booted:#?}");
        }
    }
    Ok(())
}
