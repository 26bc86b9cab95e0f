// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole lives, of every kind of machine.

use anyhow::{Result, ensure};
use sealroot_testkit::ostree_machine::{MOUNT_VENDOR, Profile, Version};
use serde_json::Value;

use super::{CHECK, FSCK, IS_THERE, Life, json};

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_an_ext4_machine() -> Result<()> {
    whole_life(Profile::Ext4)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_btrfs_machine() -> Result<()> {
    whole_life(Profile::Btrfs)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_with_a_boot_partition() -> Result<()> {
    whole_life(Profile::SeparateBoot)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_with_systemd_boot() -> Result<()> {
    whole_life(Profile::SystemdBoot)
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_with_a_bare_user_repository() -> Result<()> {
    whole_life(Profile::BareUser)
}

/// The step that serves what the vendor has published, as any web server would.
const SERVE: &str = "setsid sealroot-guest serve /run/vendor/www 8080 > /dev/null 2>&1 &";

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_is_upgraded_over_http() -> Result<()> {
    let Some(life) = Life::begin(Profile::Ext4)? else {
        return Ok(());
    };
    life.is_taken_over()?;
    let place = tempfile::tempdir()?;
    let published = life.vendor.publish(&place.path().join("published"))?;
    let life = Life {
        machine: life.machine.with_vendor_disk(published),
        ..life
    };
    let add = "sealroot remote add vendor http://127.0.0.1:8080 --os debian --stream stable";
    let booted = life.machine.boot(&[
        IS_THERE,
        MOUNT_VENDOR,
        SERVE,
        add,
        "sealroot --json pull --index 2",
        "sealroot upgrade --index 2",
        FSCK,
    ])?;
    life.runs(&booted, Version::V1)?;
    ensure!(deltas(&json(&booted, 4)?) == [(1, 2)], "{booted:#?}");

    // The newest, past a release that the machine never had.
    let booted = life.machine.boot(&[
        IS_THERE,
        MOUNT_VENDOR,
        SERVE,
        "sealroot --json pull",
        "sealroot upgrade",
        CHECK,
    ])?;
    life.runs(&booted, Version::V2)?;
    ensure!(
        deltas(&json(&booted, 3)?) == [(2, 3), (3, 4)],
        "{booted:#?}"
    );

    let booted = life
        .machine
        .boot(&[IS_THERE, "sealroot verify --booted", "sealroot rollback"])?;
    life.runs(&booted, Version::V4)?;
    let booted = life
        .machine
        .boot(&[IS_THERE, "sealroot check --full", FSCK])?;
    life.runs(&booted, Version::V2)
}

/// The releases that the steps of a `pull` led from and to; a step that was no delta came from 0.
fn deltas(pulled: &Value) -> Vec<(u64, u64)> {
    let steps = pulled["steps"].as_array().into_iter().flatten();
    let number = |step: &Value, key: &str| step[key].as_u64().unwrap_or_default();
    steps
        .map(|step| (number(step, "from"), number(step, "to")))
        .collect()
}

fn whole_life(profile: Profile) -> Result<()> {
    let Some(machine) = Life::begin(profile)? else {
        return Ok(());
    };
    machine.is_taken_over()?;
    machine.is_updated_when_it_goes_down(Version::V1, Version::V2)?;
    machine.is_updated(Version::V2, Version::V3)?;
    machine.is_rolled_back(Version::V3, Version::V2)?;
    machine.is_cleaned_up()?;
    machine.is_given_back(Version::V2)
}
