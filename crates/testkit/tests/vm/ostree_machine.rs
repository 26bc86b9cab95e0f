// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that run OSTree, over several boots: what they are like before sealroot comes.
//!
//! The first kind of machine is part of every run, the others of `cargo xtask machines`.

use anyhow::{Result, ensure};
use sealroot_testkit::ostree_machine::{
    BootReport, COPY_BOOT_FILES, MOUNT_VENDOR, OstreeMachine, Profile, Vendor, Version,
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
