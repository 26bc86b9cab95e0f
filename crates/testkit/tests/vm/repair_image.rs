// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sealed machine whose pack is damaged: it does not boot, its image for repairs mends it, and it boots
//! again. All from power-on, with Secure Boot and a boot loader.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::chain::{Bench, Variant};
use sealroot_testkit::attack::{EXTENTS_ONLY, Verdict, judge};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, succeed};
use sealroot_testkit::esp::{self, DEFAULT_LOADER};
use sealroot_testkit::guest::Worker;
use sealroot_testkit::need;
use sealroot_testkit::os_tree::TARGETS;
use sealroot_testkit::release::Release;
use sealroot_testkit::vm::{Firmware, Vm, VmEnd, VmOutcome};

use super::shared;

const TIME_OUT: Duration = Duration::from_secs(300);

const ESP_MIB: u64 = 160;

/// Boots what comes first.
const LOADER_CONF: &str = "timeout 0\n";

/// The same as choosing the image for repairs in the menu.
const CHOOSE_REPAIR: &str = "timeout 0\ndefault sealroot-repair.efi\n";

struct Scene {
    bench: Bench,
    firmware: Firmware,
    root: Disk,
    esp: Disk,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Option<Self>> {
        let Some(release) = shared::release(Mode::Sealed)? else {
            return Ok(None);
        };
        let Some(bench) = Bench::new(&release)? else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let files: [(&str, &[u8]); 2] = [
            (DEFAULT_LOADER, &bench.loader()?),
            ("loader/loader.conf", LOADER_CONF.as_bytes()),
        ];
        fs::write(at("os.efi"), &*bench.genuine(Variant::AsSigned)?)?;
        fs::write(at("repair.efi"), bench.repair_image()?)?;
        Ok(Some(Self {
            firmware: bench.firmware(&at("variables"))?,
            root: release.disk().copy_to(&at("root"))?,
            esp: esp::create(&at("esp"), ESP_MIB, &files)?,
            bench,
            directory,
        }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts both images on the boot partition, as the owner does.
    fn install(&self) -> Result<()> {
        let modules = ["vfat", "nls_cp437", "nls_ascii", "nls_utf8"];
        let release = self.bench.release();
        let mut worker = Worker::new(self.bench.kernel(), &modules)?;
        worker.memory_mib(1024);
        worker.add_file("sealroot", &Program::Sealroot.build()?)?;
        worker.add_file("test.keyset", &release.keyset_path())?;
        for name in ["os.efi", "repair.efi"] {
            worker.add_file(name, &self.path(name))?;
        }
        worker.mount(Release::DISK_SERIAL, self.root.path(), "ext4");
        worker.mount("esp", self.esp.path(), "vfat");
        let commit = release.statement.commit;
        let root = Release::DISK_SERIAL;
        for line in [
            format!("deploy {commit} --uki /os.efi"),
            "uki install /repair.efi".to_owned(),
        ] {
            let line = format!(
                "/sealroot --sysroot /mnt/{root} --keyset /test.keyset {line} --boot /mnt/esp \
                 --boot-loader systemd-boot --run /records"
            );
            worker.command(line.split(' '));
        }
        worker.command(["/init", "umount", "/mnt/esp"]);
        worker.command(["/init", "umount", &format!("/mnt/{root}")]);
        worker.run(TIME_OUT).map(drop)
    }

    fn configure_loader(&self, text: &str) -> Result<()> {
        fs::write(self.path("loader.conf"), text)?;
        let mut copy = Command::new(need::find_tool("mcopy").context("mcopy is missing")?);
        copy.arg("-o").arg("-i").arg(self.esp.path());
        copy.arg(self.path("loader.conf"))
            .arg("::/loader/loader.conf");
        succeed(&mut copy).map(drop)
    }

    /// Switches the machine on.
    fn start(&self) -> Result<VmOutcome> {
        Vm::with_firmware(&self.firmware)
            .memory_mib(1024)
            .disk("esp", self.esp.path())
            .disk(Release::DISK_SERIAL, self.root.path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .stop_at("Security Violation")
            .run(TIME_OUT)
    }

    fn boots(&self) -> Result<Verdict> {
        let outcome = self.start()?;
        let verdict = judge(&outcome, self.bench.release());
        println!("{verdict:?} after {:?}", outcome.wall);
        Ok(verdict)
    }

    /// What the image for repairs says, and how that ends.
    fn repairs(&self) -> Result<VmOutcome> {
        self.configure_loader(CHOOSE_REPAIR)?;
        let outcome = self.start()?;
        self.configure_loader(LOADER_CONF)?;
        println!("{}", outcome.console_tail(20));
        Ok(outcome)
    }
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_an_image_repairs_what_does_not_boot() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    scene.install()?;
    ensure!(matches!(scene.boots()?, Verdict::SameTree));

    let release = scene.bench.release();
    for path in [release.pack_path(), release.shared_object_path(TARGETS[0])?] {
        let strip = format!("set_inode_field /{path} flags {EXTENTS_ONLY}");
        scene.root.debugfs(&strip)?;
    }
    let verdict = scene.boots()?;
    ensure!(
        matches!(&verdict, Verdict::Refused { code, .. } if code == "pack"),
        "{verdict:?}"
    );

    let repaired = scene.repairs()?;
    let said = "everything that was damaged is repaired";
    ensure!(
        repaired.console.contains(said),
        "{}",
        repaired.console_tail(40)
    );
    // It starts again, which ends a virtual machine.
    ensure!(repaired.end == VmEnd::Ended, "{:?}", repaired.end);
    ensure!(matches!(scene.boots()?, Verdict::SameTree));

    // Where nothing is damaged it does not start again: that could be a loop.
    let idle = scene.repairs()?;
    ensure!(
        idle.console.contains("REFUSED repair:") && idle.console.contains("no damage"),
        "{}",
        idle.console_tail(40)
    );
    Ok(())
}
