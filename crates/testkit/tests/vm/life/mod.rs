// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a machine: OSTree runs on it, sealroot takes it over, it is updated, rolled back,
//! cleaned up, and given back to OSTree.
//!
//! Two short lives are part of every run; those of each kind of machine, and whole ones, are lived by
//! `cargo xtask machines`.

mod long;
mod short;

use anyhow::{Context, Result, ensure};
use sealroot_testkit::ostree_machine::{
    BootReport, COPY_BOOT_FILES, MOUNT_VENDOR, OstreeMachine, Profile, Vendor, Version,
};
use serde_json::Value;

use super::ostree_machine::vendor;
use super::power::{CHECK as CHECK_ALL, FSCK};

/// What belongs to the machine: a file of its own in `/etc`, one that is changed, a user, data.
const OWN: &str = "echo mine > /etc/mine && echo 'own = 1' >> /etc/ostree-os.conf && \
                   useradd --no-create-home visitor && echo data > /var/data";

/// That all of it is there.
const IS_THERE: &str = "grep -qx mine /etc/mine && grep -qx 'own = 1' /etc/ostree-os.conf && \
                        id visitor && grep -qx data /var/data";

/// That what changed after an update was staged is in it as well.
const LATE: &str = "grep -qx late /etc/late";

const CHECK: &str = "sealroot check";

/// That what boots next will, with all that is staged.
const DOCTOR: &str = "sealroot doctor";

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
            DOCTOR,
        ])?;
        self.runs_under_ostree(&booted, Version::V1)?;
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
            DOCTOR,
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
            DOCTOR,
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
            CHECK_ALL,
            FSCK,
        ])?;
        let status = json(&booted, 4)?;
        ensure!(!status.to_string().contains(&pinned), "{status}");
        Ok(())
    }

    /// The way back.
    fn is_given_back(&self, from: Version) -> Result<()> {
        self.lets_ostree_boot(from, &[IS_THERE, LATE])?;
        self.forgets_sealroot()
    }

    /// Its first half: what boots.
    fn lets_ostree_boot(&self, from: Version, after: &[&str]) -> Result<()> {
        let revert = ["sealroot --json revert --yes"];
        let booted = self.machine.boot(&[&revert, after].concat())?;
        self.runs(&booted, from)?;
        let reverted = json(&booted, 0)?;
        ensure!(reverted["is_store_in_use"] == true, "{reverted}");
        Ok(())
    }

    /// Its second half: OSTree runs, and all that was sealroot's goes.
    fn forgets_sealroot(&self) -> Result<()> {
        let booted = self.machine.boot(&[
            "sealroot --json revert --yes",
            "test ! -e /sysroot/ostree/verity",
            "ostree admin status",
            FSCK,
            "grep -qx data /var/data",
            COPY_BOOT_FILES,
        ])?;
        self.runs_under_ostree(&booted, Version::V1)
    }

    /// A release of ours runs, with all its services.
    fn runs(&self, booted: &BootReport, version: Version) -> Result<()> {
        ensure!(booted.facts.booted.is_some(), "{booted:#?}");
        self.is_up(booted, &[version])
    }

    /// One of these releases runs, sealed or under OSTree, with all its services.
    fn is_up(&self, booted: &BootReport, versions: &[Version]) -> Result<()> {
        let facts = &booted.facts;
        let under = facts.booted.as_ref().map_or("OSTree's", |_| "sealed");
        let steps: Vec<u64> = (booted.commands.iter())
            .map(|done| done.milliseconds)
            .collect();
        println!(
            "{:?}: {under} release {} after {} s; steps of {steps:?} ms: {}",
            self.profile, facts.version, facts.uptime_seconds, facts.cmdline
        );
        let mut names = versions.iter().map(|version| version.name());
        ensure!(names.any(|name| name == facts.version), "{booted:#?}");
        ensure!(facts.failed_units.is_empty(), "{booted:#?}");
        Ok(())
    }

    fn runs_under_ostree(&self, booted: &BootReport, version: Version) -> Result<()> {
        ensure!(booted.facts.booted.is_none(), "{booted:#?}");
        self.is_up(booted, &[version])
    }
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
