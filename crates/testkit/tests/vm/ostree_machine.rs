// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that run OSTree, over several boots: what they are like before sealroot comes.
//!
//! The first kind of machine is part of every run, the others of `cargo xtask machines`.

use std::time::Duration;

use anyhow::{Result, ensure};
use sealroot_testkit::ostree_machine::{
    BootReport, COPY_BOOT_FILES, Cache, MOUNT_VENDOR, OstreeMachine, PowerCut, Profile, Vendor,
    Version,
};

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn an_ext4_machine_lives_with_ostree() -> Result<()> {
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

/// Installs, updates, rolls back; what belongs to the machine stays.
fn lives_with_ostree(profile: Profile) -> Result<()> {
    let Some(vendor) = Vendor::create()? else {
        return Ok(());
    };
    let Some(machine) = OstreeMachine::install(&vendor, profile, Version::V1)? else {
        return Ok(());
    };
    let first = machine.boot(&[
        "echo mine > /etc/mine && echo data > /var/data",
        MOUNT_VENDOR,
        "ostree pull vendor os/v2",
        "ostree admin deploy vendor:os/v2",
        COPY_BOOT_FILES,
        "ostree admin status",
    ])?;
    check(&first, Version::V1)?;

    let second = machine.boot(&[
        "cat /etc/mine /etc/ostree-os.conf /var/data",
        "ostree admin set-default 1",
        COPY_BOOT_FILES,
    ])?;
    check(&second, Version::V2)?;
    ensure!(
        second.output(0) == "mine\ndefault = 2\ndata\n",
        "{second:#?}"
    );

    let third = machine.boot(&["cat /var/data /etc/ostree-os.conf", "ostree fsck --quiet"])?;
    check(&third, Version::V1)?;
    ensure!(third.output(0) == "data\ndefault = 1\n", "{third:#?}");
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
    const DEPLOY: [&str; 1] = ["ostree admin deploy vendor:os/v2"];
    let Some(vendor) = Vendor::create()? else {
        return Ok(());
    };
    let Some(machine) = OstreeMachine::install(&vendor, Profile::Ext4, Version::V1)? else {
        return Ok(());
    };
    machine.boot(&[MOUNT_VENDOR, "ostree pull vendor os/v2"])?;

    let whole = machine.copy()?;
    let never = Duration::from_secs(3600);
    let end = whole.boot_and_cut_power(&DEPLOY, never, Cache::Lost { seed: 0 })?;
    ensure!(end == PowerCut::TooLate, "{end:?}");
    let booted = whole.boot(&["true"])?;
    ensure!(booted.facts.version == Version::V2.name(), "{booted:#?}");

    for (seed, milliseconds) in [(1, 300), (2, 1500), (3, 4000)] {
        for cache in [Cache::WrittenThrough, Cache::Lost { seed }] {
            let machine = machine.copy()?;
            let after = Duration::from_millis(milliseconds);
            let end = machine.boot_and_cut_power(&DEPLOY, after, cache)?;
            let booted = machine.boot(&["ostree fsck --quiet"])?;
            let version = &booted.facts.version;
            println!("{cache:?}, {after:?}: {end:?}, then release {version}");
            let either = [Version::V1.name(), Version::V2.name()];
            ensure!(either.contains(&version.as_str()), "{booted:#?}");
        }
    }
    Ok(())
}
