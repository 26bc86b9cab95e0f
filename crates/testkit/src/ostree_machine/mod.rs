// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that runs OSTree, as they are in use: a Debian in releases that were committed,
//! pulled and deployed by `ostree`, started by firmware and a boot loader that reads boot entries.
//!
//! A scenario is a list of boots of one disk. At each boot the OS comes up to its services, runs
//! the steps of this boot, reports, and shuts down; the disk keeps everything.

mod install;
mod power_cut;
mod profile;
mod steps;
mod vendor;
mod write_log;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub use power_cut::{Cache, Moment, PowerCut, say_it_begins, say_it_has_ended};
pub use profile::Profile;
pub use steps::{BootReport, Facts, STEPS_DISK, Steps, VERSION_PATH};
pub use vendor::{KEYSET_PATH, Vendor, Version};
pub use write_log::Kept;

use crate::disk::Disk;
use crate::guest::write_job_disk;
use crate::vm::{Firmware, Vm};

/// How long a boot with its steps may take, under emulation on a busy machine.
const BOOT_TIME_OUT: Duration = Duration::from_secs(600);

/// The file of the firmware's variables, in the directory of a machine.
const VARIABLES: &str = "firmware-variables";

/// The stateroot of the machine's deployments.
pub const STATEROOT: &str = "debian";

/// The serial number of the disk that the machine boots from.
const ROOT_DISK: &str = "root";

/// The serial number of the disk with the vendor's repository, and the label of its filesystem.
const VENDOR_DISK: &str = "vendor";

/// The step that makes the vendor's repository known to a machine.
pub const MOUNT_VENDOR: &str = "mkdir -p /run/vendor && mount -o ro LABEL=vendor /run/vendor";

/// The step that gives systemd-boot what OSTree has written to `/boot`; nothing on machines that
/// boot otherwise.
pub const COPY_BOOT_FILES: &str = "if ! mountpoint -q /efi; then exit; fi; \
    rm -f /efi/loader/entries/ostree-* && cp -r /boot/ostree /efi/ && \
    cp /boot/loader/entries/* /efi/loader/entries/ && sync";

/// Where the guest program stands in the OS.
const GUEST_PROGRAM: &str = "/usr/bin/sealroot-guest";

/// An installed machine, off.
#[derive(Debug)]
pub struct OstreeMachine {
    directory: TempDir,
    disk: Disk,
    firmware: Firmware,
    vendor_disk: Disk,
}

impl OstreeMachine {
    /// A machine with a release of the vendor's as its only deployment; `None` if something is
    /// missing, which has been said then. Needs root.
    pub fn install(vendor: &Vendor, profile: Profile, version: Version) -> Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let Some(firmware) = Firmware::create(&directory.path().join(VARIABLES))? else {
            return Ok(None);
        };
        let disk = install::install(directory.path(), vendor, profile, version)
            .with_context(|| format!("installing a machine of profile {profile:?}"))?;
        Ok(Some(Self {
            directory,
            disk,
            firmware,
            vendor_disk: vendor.disk().clone(),
        }))
    }

    /// The same machine, with another disk in the place of the vendor's repository.
    #[must_use]
    pub fn with_vendor_disk(mut self, disk: Disk) -> Self {
        self.vendor_disk = disk;
        self
    }

    /// Boots the machine, runs shell commands one after another as root, and shuts it down; an
    /// error unless all of them succeed. What is to fail is written with a `!`.
    pub fn boot(&self, steps: &[&str]) -> Result<BootReport> {
        let vm = self.vm(steps, |vm| vm.disk(ROOT_DISK, self.disk.path()))?;
        let outcome = vm.run(BOOT_TIME_OUT)?;
        let report: BootReport = outcome.json()?;
        let Some(failed) = report
            .commands
            .iter()
            .find(|done| done.exit_code != Some(0))
        else {
            return Ok(report);
        };
        bail!(
            "on the machine, {:?} ended with {:?}: {}{}",
            failed.command.last(),
            failed.exit_code,
            failed.output,
            failed.errors
        )
    }

    /// A machine in the same state, which shares no change with this one.
    pub fn copy(&self) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        Ok(Self {
            disk: self.disk.copy_to(&at("disk"))?,
            firmware: self.firmware.copy_to(&at(VARIABLES))?,
            vendor_disk: self.vendor_disk.clone(),
            directory,
        })
    }

    /// The machine, with the disk it boots from as `add_disk` adds it.
    fn vm(&self, steps: &[&str], add_disk: impl FnOnce(Vm) -> Vm) -> Result<Vm> {
        let job = self.directory.path().join("steps");
        write_job_disk(&job, &Steps::of(steps))?;
        // The firmware looks for a boot loader on the first disk first.
        Ok(add_disk(Vm::with_firmware(&self.firmware))
            .memory_mib(1024)
            .scratch_disk(STEPS_DISK, &job)
            .scratch_disk(VENDOR_DISK, self.vendor_disk.path()))
    }
}
