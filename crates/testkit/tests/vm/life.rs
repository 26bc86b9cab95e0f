// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a machine: OSTree runs on it, sealroot takes it over, it is updated, rolled back,
//! cleaned up, and given back to OSTree.
//!
//! A short life of the first kind of machine is part of every run, the others are lived by
//! `cargo xtask machines`.

use anyhow::{Context, Result, ensure};
use sealroot_testkit::ostree_machine::{
    BootReport, COPY_BOOT_FILES, MOUNT_VENDOR, OstreeMachine, Profile, Vendor, Version,
};
use serde_json::Value;

use super::ostree_machine::vendor;

/// What belongs to the machine: a file of its own in `/etc`, one that is changed, a user, data.
const OWN: &str = "echo mine > /etc/mine && echo 'own = 1' >> /etc/ostree-os.conf && \
                   useradd --no-create-home visitor && echo data > /var/data";

/// That all of it is there.
const IS_THERE: &str = "grep -qx mine /etc/mine && grep -qx 'own = 1' /etc/ostree-os.conf && \
                        id visitor && grep -qx data /var/data";

/// OSTree's own word that its repository is whole.
const FSCK: &str = "ostree --repo=/sysroot/ostree/repo fsck --quiet";

/// That what changed after an update was staged is in it as well.
const LATE: &str = "grep -qx late /etc/late";

const CHECK: &str = "sealroot check";

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_machine_is_taken_over_updated_and_given_back() -> Result<()> {
    let Some(machine) = Life::begin(Profile::Ext4)? else {
        return Ok(());
    };
    machine.is_taken_over()?;
    machine.is_updated_when_it_goes_down(Version::V1, Version::V2)?;
    machine.is_given_back(Version::V2)
}

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

struct Life {
    machine: OstreeMachine,
    profile: Profile,
    vendor: std::sync::Arc<Vendor>,
}

impl Life {
    fn begin(profile: Profile) -> Result<Option<Self>> {
        let Some(vendor) = vendor()? else {
            return Ok(None);
        };
        let machine = OstreeMachine::install(&vendor, profile, Version::V1)?;
        Ok(machine.map(|machine| Self {
            machine,
            profile,
            vendor,
        }))
    }

    /// OSTree runs; the machine becomes itself, and is taken over.
    fn is_taken_over(&self) -> Result<()> {
        let booted = self.machine.boot(&[
            OWN,
            "sealroot --json adopt --dry-run",
            "sealroot --json adopt",
            "sealroot --json status",
            FSCK,
            CHECK,
        ])?;
        runs_under_ostree(&booted, Version::V1)?;
        let adopted = json(&booted, 2)?;
        let done = &adopted["done"];
        ensure!(done["linked_objects"].as_u64() > Some(0), "{adopted}");
        ensure!(done["deployed"]["initramfs"] == "made", "{adopted}");
        ensure!(done["deployed"]["entry"]["entry"].is_string(), "{adopted}");
        let status = json(&booted, 3)?;
        ensure!(status["migration"] == "dual", "{status}");
        ensure!(status["sealed"] == false, "{status}");
        Ok(())
    }

    /// Sealroot runs; an update is staged, and something changes in `/etc` after that.
    fn is_updated_when_it_goes_down(&self, from: Version, to: Version) -> Result<()> {
        let update = format!(
            "sealroot --json adopt --pull vendor:{} --stage",
            to.branch()
        );
        let booted = self.machine.boot(&[
            IS_THERE,
            MOUNT_VENDOR,
            &update,
            "echo late > /etc/late",
            "sealroot --json status",
            FSCK,
        ])?;
        self.runs(&booted, from)?;
        let update = json(&booted, 2)?;
        ensure!(update["done"]["deployed"]["is_staged"] == true, "{update}");
        let status = json(&booted, 4)?;
        ensure!(
            has_state(&status, &self.vendor.commit(to)?, "staged"),
            "{status}"
        );
        ensure!(
            has_state(&status, &self.vendor.commit(from)?, "default"),
            "{status}"
        );
        Ok(())
    }

    /// An update that boots at once; the machine goes back by itself if it is not blessed, where its
    /// boot loader counts.
    fn is_updated(&self, from: Version, to: Version) -> Result<()> {
        let tries = match self.profile {
            Profile::SystemdBoot => " --tries 3",
            _ => "",
        };
        let update = format!("sealroot --json adopt --pull vendor:{}{tries}", to.branch());
        let booted = self.machine.boot(&[
            IS_THERE,
            LATE,
            MOUNT_VENDOR,
            &update,
            "sealroot --json status",
            CHECK,
        ])?;
        self.runs(&booted, from)?;
        let status = json(&booted, 4)?;
        ensure!(
            has_state(&status, &self.vendor.commit(to)?, "default"),
            "{status}"
        );
        ensure!(
            has_state(&status, &self.vendor.commit(from)?, "rollback"),
            "{status}"
        );
        Ok(())
    }

    fn is_rolled_back(&self, from: Version, to: Version) -> Result<()> {
        let blessed = match self.profile {
            Profile::SystemdBoot => "! ls /efi/loader/entries/ | grep -F +",
            _ => "true",
        };
        let pin = format!("sealroot pin {}", self.vendor.commit(from)?);
        let booted = self
            .machine
            .boot(&[IS_THERE, blessed, &pin, "sealroot rollback", FSCK])?;
        self.runs(&booted, from)?;
        let booted = self.machine.boot(&[IS_THERE, "sealroot --json status"])?;
        self.runs(&booted, to)?;
        let status = json(&booted, 1)?;
        ensure!(
            has_state(&status, &self.vendor.commit(from)?, "pinned"),
            "{status}"
        );
        Ok(())
    }

    fn is_cleaned_up(&self) -> Result<()> {
        let pinned = self.vendor.commit(Version::V3)?;
        let booted = self.machine.boot(&[
            &format!("sealroot unpin {pinned}"),
            &format!("sealroot undeploy {pinned}"),
            "sealroot prune",
            "sealroot prune",
            "sealroot --json status",
            "sealroot check --full",
            FSCK,
        ])?;
        let status = json(&booted, 4)?;
        ensure!(!status.to_string().contains(&pinned), "{status}");
        Ok(())
    }

    /// The way back: first what boots, then, when OSTree runs, all that was sealroot's.
    fn is_given_back(&self, from: Version) -> Result<()> {
        let booted = self
            .machine
            .boot(&["sealroot --json revert --yes", IS_THERE, LATE])?;
        self.runs(&booted, from)?;
        let reverted = json(&booted, 0)?;
        ensure!(reverted["is_store_in_use"] == true, "{reverted}");
        let booted = self.machine.boot(&[
            "sealroot --json revert --yes",
            "test ! -e /sysroot/ostree/verity",
            "ostree admin status",
            FSCK,
            "grep -qx data /var/data",
            COPY_BOOT_FILES,
        ])?;
        runs_under_ostree(&booted, Version::V1)
    }

    /// A release of ours runs, with all its services.
    fn runs(&self, booted: &BootReport, version: Version) -> Result<()> {
        let facts = &booted.facts;
        println!(
            "{:?}: release {} after {} s: {}",
            self.profile, facts.version, facts.uptime_seconds, facts.cmdline
        );
        ensure!(facts.booted.is_some(), "{booted:#?}");
        ensure!(facts.version == version.name(), "{booted:#?}");
        ensure!(facts.failed_units.is_empty(), "{booted:#?}");
        Ok(())
    }
}

fn runs_under_ostree(booted: &BootReport, version: Version) -> Result<()> {
    let facts = &booted.facts;
    println!(
        "OSTree's release {} after {} s: {}",
        facts.version, facts.uptime_seconds, facts.cmdline
    );
    ensure!(facts.booted.is_none(), "{booted:#?}");
    ensure!(facts.version == version.name(), "{booted:#?}");
    ensure!(facts.failed_units.is_empty(), "{booted:#?}");
    Ok(())
}

fn json(booted: &BootReport, step: usize) -> Result<Value> {
    let output = booted.output(step);
    serde_json::from_str(output).with_context(|| format!("step {step}: {output}"))
}

/// Whether a deployment of a commit is in this state.
fn has_state(status: &Value, commit: &str, state: &str) -> bool {
    let deployments = status["deployments"].as_array().into_iter().flatten();
    let of_commit = |deployment: &&Value| {
        let name = deployment["name"].as_str();
        name.is_some_and(|name| name.starts_with(commit))
    };
    let mut states = deployments
        .filter(of_commit)
        .flat_map(|deployment| deployment["states"].as_array().into_iter().flatten());
    states.any(|found| found == state)
}
