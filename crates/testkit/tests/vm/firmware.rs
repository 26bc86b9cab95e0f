// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine without a boot loader: firmware with Secure Boot starts signed images by itself, and
//! tries a new one once.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::chain::Bench;
use sealroot_testkit::attack::{Verdict, judge};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::boot_files::image_digest;
use sealroot_testkit::disk::Disk;
use sealroot_testkit::esp;
use sealroot_testkit::guest::{JobReport, ProbeReport, Worker};
use sealroot_testkit::need;
use sealroot_testkit::release::{Layer, Release};
use sealroot_testkit::vm::{Firmware, Tpm, Vm, VmOutcome};

use super::shared;

const TIME_OUT: Duration = Duration::from_secs(300);

const ESP_MIB: u64 = 160;

const MODULES: [&str; 5] = ["efivarfs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8"];

/// The commands' own words for the partition.
const BOOT: &str = "--boot /mnt/esp --boot-loader firmware --run /records";

/// A command line by which the boot program is not started, and the kernel says so.
const SLIPPED_IN: &str = "console=ttyS0 panic=-1 rdinit=/none root=/none";

struct Scene {
    bench: Bench,
    firmware: Firmware,
    tpm: Tpm,
    root: Disk,
    esp: Disk,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Option<Self>> {
        let (Some(release), Some(_), Some(_)) = (
            shared::release(Mode::Sealed)?,
            need::tool("sfdisk"),
            need::tool("mkfs.vfat"),
        ) else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let (Some(bench), Some(tpm)) = (Bench::new(&release)?, Tpm::create(&at("tpm"))?) else {
            return Ok(None);
        };
        fs::create_dir(at("orders"))?;
        release.write_orders(&at("orders"), Layer::Erofs)?;
        for number in [1, 2] {
            fs::write(
                at(&format!("{number}.efi")),
                bench.image_with(&format!("n={number}"))?,
            )?;
        }
        Ok(Some(Self {
            firmware: bench.firmware(&at("variables"))?,
            root: release.disk().copy_to(&at("root.ext4"))?,
            esp: esp::create_partitioned(&at("esp"), ESP_MIB)?,
            bench,
            tpm,
            directory,
        }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How the firmware names what it starts: by an image's path.
    fn place(&self, number: u8) -> Result<String> {
        let image = fs::read(self.path(&format!("{number}.efi")))?;
        Ok(format!("\\sealroot\\{}\\uki.efi", image_digest(&image)))
    }

    /// Commands on a system that runs on this machine: the release, booted by an image of ours.
    fn as_root(&self, commands: &[&str]) -> Result<JobReport> {
        let release = self.bench.release();
        let mut worker = Worker::new(self.bench.kernel(), &MODULES)?;
        worker.memory_mib(1024);
        worker.firmware(&self.firmware, &self.tpm);
        worker.add_file("sealroot", &Program::Sealroot.build()?)?;
        worker.add_file("keyset", &self.path("orders/keyset"))?;
        for name in ["1.efi", "2.efi"] {
            worker.add_file(name, &self.path(name))?;
        }
        let records = self.path("booted.json");
        let pack = release.statement.pack_digest;
        fs::write(
            &records,
            format!(
                "{{\"version\": 1, \"insecure\": [], \"mode\": \"sealed\", \"layer\": \"erofs\", \
                 \"pack\": \"{pack}\", \"index\": 1, \"epoch\": 1}}"
            ),
        )?;
        worker.add_file("records/booted.json", &records)?;
        worker.mount(Release::DISK_SERIAL, self.root.path(), "ext4");
        worker.mount_partition("esp", self.esp.path(), "vfat");
        worker.command(["/init", "mount-variables"]);
        let commit = release.statement.commit.to_string();
        for command in commands {
            let command =
                command.replace("SEALROOT", "/sealroot --sysroot /mnt/root --keyset /keyset");
            let command = command.replace("COMMIT", &commit).replace("BOOT", BOOT);
            worker.command(command.split(' '));
        }
        worker.command(["/init", "show-load-options"]);
        worker.command(["/init", "umount", "/mnt/esp"]);
        worker.command(["/init", "umount", "/mnt/root"]);
        worker.run(TIME_OUT)
    }

    /// Switches the machine on.
    fn start(&self, firmware: &Firmware) -> Result<VmOutcome> {
        Vm::with_firmware(firmware)
            .memory_mib(1024)
            .disk("esp", self.esp.path())
            .scratch_disk(Release::DISK_SERIAL, self.root.path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .stop_at("Security Violation")
            .run(TIME_OUT)
    }

    /// That the firmware starts this and that it boots the release, sealed.
    fn assert_starts(&self, place: &str) -> Result<()> {
        let outcome = self.start(&self.firmware)?;
        let started: Vec<_> = (outcome.console.lines())
            .filter(|line| line.contains("BdsDxe: starting"))
            .collect();
        ensure!(
            started.len() == 1 && started[0].contains(place),
            "expected {place}, found {started:#?}\n{}",
            outcome.console_tail(30)
        );
        let verdict = judge(&outcome, self.bench.release());
        ensure!(
            matches!(verdict, Verdict::SameTree),
            "{verdict:?}\n{}",
            outcome.console_tail(30)
        );
        let booted = outcome
            .json::<ProbeReport>()?
            .booted
            .context("booted.json")?;
        let booted: serde_json::Value = serde_json::from_str(&booted)?;
        ensure!(booted["sealed"] == true, "{booted}");
        Ok(())
    }
}

/// What a command said, as it first ran.
fn said_by(name: &str, report: &JobReport) -> Result<String> {
    let has_name = |words: &[String]| words.iter().any(|word| word == name);
    let command = report
        .commands
        .iter()
        .find(|command| has_name(&command.command));
    let command = command.with_context(|| format!("no {name} was run"))?;
    Ok(format!("{}{}", command.output, command.errors))
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn firmware_starts_signed_images_without_a_boot_loader() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let deploy = |number: u8| format!("SEALROOT deploy COMMIT --uki /{number}.efi BOOT");
    // The first is good; the second is to be tried.
    scene.as_root(&[&deploy(1), "SEALROOT bless BOOT", &deploy(2)])?;
    scene.assert_starts(&scene.place(2)?)?;
    // Nobody blessed it.
    scene.assert_starts(&scene.place(1)?)?;
    let slip_in = format!("/init slip-in {SLIPPED_IN}");
    let report = scene.as_root(&[
        &deploy(2),
        "SEALROOT bless BOOT",
        "SEALROOT doctor BOOT",
        "SEALROOT status BOOT",
        &slip_in,
    ])?;
    let said = said_by("doctor", &report)?;
    ensure!(!said.contains("boot option"), "{said}");
    let said = said_by("status", &report)?;
    let is_told = |line: &str| {
        line.contains(" firmware: Boot") && line.ends_with(", place 1 of the boot order")
    };
    ensure!(said.lines().any(is_told), "{said}");
    // It stays, and what root has slipped in changes nothing: Secure Boot is on.
    scene.assert_starts(&scene.place(2)?)?;
    // Where it is off, the stub takes it for the command line: that is why we give none.
    let careless = scene.firmware.copy_to(&scene.path("careless"))?;
    careless.turn_secure_boot_off()?;
    let outcome = scene.start(&careless)?;
    ensure!(
        outcome.console.contains("Kernel panic") && !outcome.console.contains("sealroot: "),
        "{}",
        outcome.console_tail(30)
    );
    // It is told, and so is it when the firmware has lost its variables.
    let doctor_fails = "/init refused SEALROOT doctor BOOT";
    let report = scene.as_root(&[doctor_fails, "/init lose-load-options", doctor_fails])?;
    let said = said_by("doctor", &report)?;
    ensure!(said.contains("1 failure of this machine"), "{said}");
    // All the same it boots, by the fallback that was written when the first was blessed.
    let outcome = scene.start(&scene.firmware)?;
    let verdict = judge(&outcome, scene.bench.release());
    ensure!(
        matches!(verdict, Verdict::SameTree) && !outcome.console.contains("uki.efi"),
        "{verdict:?}\n{}",
        outcome.console_tail(30)
    );
    Ok(())
}
