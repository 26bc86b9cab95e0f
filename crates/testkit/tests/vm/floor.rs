// SPDX-License-Identifier: MIT OR Apache-2.0
//! Floors in the firmware and in the TPM: older releases do not boot, and nothing that root or a
//! disk image does brings them back. What boots is measured.
//!
//! The kernel is given to the firmware by the emulator: this is no test of Secure Boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_format::floor::Floor;
use sealroot_format::measure;
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::tally::Tally;
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, succeed};
use sealroot_testkit::guest::{JobReport, ProbeReport, Worker};
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::need;
use sealroot_testkit::release::{Release, TPM_BASE, keep_floors, usual_kernel};
use sealroot_testkit::vm::{Firmware, Tpm, Vm, VmOutcome};

use super::shared;

const TIME_OUT: Duration = Duration::from_secs(300);

/// What `bless` does after a good boot of release 2.
pub(crate) const RAISE: &str =
    "/sealroot --sysroot /mnt/root floor raise --run /records --update /2.auth";

/// A policy that names a pack, or `-`, and a release of this index and epoch, with the floor in the
/// firmware and in the TPM.
pub(crate) fn with_floor(policy: &str, pack: &str, number: u64) -> String {
    keep_floors(&policy.replace("pack -", &format!("pack {pack}")), number)
}

pub(crate) struct Scene {
    pub(crate) kernel: GuestKernel,
    pub(crate) release: Arc<Release>,
    pub(crate) disk: Disk,
    firmware: Firmware,
    pub(crate) tpm: Tpm,
    directory: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let (Some(kernel), Some(release), Some(firmware), Some(tpm), Some(_)) = (
            usual_kernel(),
            shared::release(Mode::Sealed)?,
            Firmware::create(&at("variables"))?,
            Tpm::create(&at("tpm-state"))?,
            need::tool("openssl"),
        ) else {
            return Ok(None);
        };
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-new", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes",
        ]);
        openssl.args(["-subj", "/CN=floor", "-days", "3650", "-keyout"]);
        openssl.arg(at("key")).arg("-out").arg(at("certificate"));
        succeed(&mut openssl)?;
        Ok(Some(Self {
            disk: release.disk().copy_to(&at("root.ext4"))?,
            kernel,
            release,
            firmware,
            tpm,
            directory,
        }))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An image with the release's pack as one of this index and epoch.
    fn image(&self, number: u64) -> Result<PathBuf> {
        let pack = self.release.statement.pack_digest;
        let pack = format!("sha256:4096:{pack}");
        let name = format!("floor-{number}");
        self.release
            .initramfs_with_policy(&self.kernel, &name, |policy| {
                with_floor(policy, &pack, number)
            })
    }

    fn boot(&self, number: u64, tpm: &Tpm) -> Result<VmOutcome> {
        self.boot_image(&self.image(number)?, "", tpm)
    }

    pub(crate) fn boot_image(
        &self,
        initramfs: &Path,
        arguments: &str,
        tpm: &Tpm,
    ) -> Result<VmOutcome> {
        Vm::new(&self.kernel)
            .firmware(&self.firmware)
            .tpm(tpm)
            .initramfs(initramfs)
            .arguments(arguments)
            .scratch_disk(Release::DISK_SERIAL, self.disk.path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .run(TIME_OUT)
    }

    fn assert_boots(&self, number: u64, floor: u64) -> Result<()> {
        let outcome = self.boot(number, &self.tpm)?;
        let report: ProbeReport = outcome.json()?;
        let booted = report.booted.context("no record of the boot")?;
        let booted: serde_json::Value = serde_json::from_str(&booted)?;
        assert_eq!(booted["epoch"], number);
        assert_eq!(booted["floor"]["epoch"], floor);
        let event = booted["measured"]["event"].as_str().context("no event")?;
        ensure!(
            event.contains(&format!("\nfloor-epoch {floor}\n")),
            "{event}"
        );
        let value = measure::extended([0; 32], &measure::digest(event)).to_hex();
        let found = report.pcr_15.context("no PCR")?;
        assert_eq!(found.trim_end().to_lowercase(), value);
        Ok(())
    }

    fn assert_refused(&self, number: u64, tpm: &Tpm, code: &str) -> Result<()> {
        let console = self.boot(number, tpm)?.console;
        ensure!(console.contains(&format!("REFUSED {code}: ")), "{console}");
        Ok(())
    }

    /// The first floor there is, at epoch 1.
    pub(crate) fn enrol(&self) -> Result<()> {
        let enrol =
            format!("/sealroot floor enrol --update /1.auth --tpm-base {TPM_BASE} --epoch 1");
        self.as_root(None, &[&enrol]).map(drop)
    }

    /// Commands on a system that runs on this machine.
    pub(crate) fn as_root(&self, records: Option<&Path>, commands: &[&str]) -> Result<JobReport> {
        let mut worker = Worker::new(&self.kernel, &["efivarfs"])?;
        worker.firmware(&self.firmware, &self.tpm);
        worker.add_file("sealroot", &Program::Sealroot.build()?)?;
        for epoch in [1, 2] {
            let name = format!("{epoch}.auth");
            let floor = Floor {
                epoch,
                index: epoch,
            };
            let update =
                sealroot::floor::sign(floor, &self.path("key"), &self.path("certificate"))?;
            fs::write(self.path(&name), update.as_bytes())?;
            worker.add_file(&name, &self.path(&name))?;
        }
        if let Some(records) = records {
            worker.add_file("records/booted.json", records)?;
        }
        worker.mount(Release::DISK_SERIAL, self.disk.path(), "ext4");
        worker.command(["/init", "mount-variables"]);
        for command in commands {
            worker.command(command.split(' '));
        }
        worker.run(TIME_OUT)
    }

    /// What release 2 leaves in `/run/sealroot` when it runs above a floor of 1.
    pub(crate) fn records(&self) -> Result<PathBuf> {
        let path = self.path("booted.json");
        let pack = self.release.statement.pack_digest;
        let text = format!(
            "{{\"version\": 1, \"insecure\": [], \"mode\": \"sealed\", \"layer\": \"erofs\", \
             \"pack\": \"{pack}\", \"index\": 2, \"epoch\": 2, \"floor\": {{\"epoch\": 1, \
             \"index\": 0, \"on\": \"epoch\", \"efi\": true, \"tpm_base\": {TPM_BASE}}}}}"
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// The output of the last command.
fn last(report: &JobReport) -> Result<&str> {
    Ok(&report.commands.last().context("a command")?.output)
}

// Rules: P18, U2, U3, U6
#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn an_older_release_does_not_come_back() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let result = floors_hold(&scene);
    Tally::write_one("floor", "A37", "-", result.is_err())?;
    result
}

fn floors_hold(scene: &Scene) -> Result<()> {
    // Nothing is there yet: that is no floor of 0.
    scene.assert_refused(1, &scene.tpm, "floor")?;
    scene.enrol()?;
    scene.assert_boots(1, 1)?;

    let older = "/init refused /sealroot floor enrol --update /1.auth";
    let report = scene.as_root(Some(&scene.records()?), &[RAISE, older])?;
    let said = last(&report)?;
    ensure!(said.contains("the firmware refuses the update"), "{said}");
    scene.assert_refused(1, &scene.tpm, "epoch")?;
    scene.assert_boots(2, 2)?;

    // A counter that is destroyed and made again begins above what it was.
    let again = format!("/sealroot --json floor enrol --tpm-base {TPM_BASE}");
    let report = scene.as_root(None, &["/init destroy-counter", &again])?;
    let made: serde_json::Value = serde_json::from_str(last(&report)?)?;
    assert_eq!(made["tpm_epoch"], 3);
    scene.as_root(None, &["/init replace-counter"])?;
    scene.assert_refused(2, &scene.tpm, "floor")?;
    Ok(())
}
