// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine with Secure Boot, from two ways to boot to one: what its firmware and its boot program say
//! is judged by the command, which then seals it; what is left boots (A27, A36, A62).
//!
//! The commands run beside the machine, on what it has told: the boot partition, the store, the
//! firmware's variables and the record of the boot are those of the machine itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot::entry::{Boot, Content, Loader, NewEntry};
use sealroot::monitor::Silent;
use sealroot::uki::{self, ImageSigner, MaySign};
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::chain::{PARAMETERS, later_systemd};
use sealroot_testkit::attack::judge::{Verdict, judge};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, succeed};
use sealroot_testkit::efi::key_and_certificate;
use sealroot_testkit::esp::{self, DEFAULT_LOADER};
use sealroot_testkit::guest::ProbeReport;
use sealroot_testkit::need;
use sealroot_testkit::release::{Release, usual_kernel};
use sealroot_testkit::vm::{EnrolledKeys, Firmware, Vm};
use serde_json::Value;
use tempfile::TempDir;

use super::shared;

const TIME_OUT: Duration = Duration::from_secs(300);

const ESP_MIB: u64 = 96;

/// The entry of the time before.
const OLD_ENTRY: &str = "title Before\nversion 1\nlinux /ostree/os-OLD/vmlinuz\n\
                         initrd /ostree/os-OLD/initramfs.img\noptions ostree=/ostree/boot.1/os/OLD/0\n";

struct Scene {
    release: Arc<Release>,
    disk: Disk,
    directory: TempDir,
    program: PathBuf,
}

impl Scene {
    fn new() -> Result<Option<Self>> {
        let (Some(release), Some(kernel), Some([stub, loader]), Some(sbsign)) = (
            shared::release(Mode::Sealed)?,
            usual_kernel(),
            later_systemd(),
            need::tool("sbsign"),
        ) else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        for name in ["db", "platform", "exchange", "another"] {
            if key_and_certificate(directory.path(), name, &["rsa:2048"]).is_none() {
                return Ok(None);
            }
        }
        let both = [fs::read(at("platform.pem"))?, fs::read(at("exchange.pem"))?];
        fs::write(at("owner.pem"), both.concat())?;
        let image = release.uki(&kernel, &fs::read(stub)?, PARAMETERS, |policy| policy)?;
        let signer = ImageSigner::with_key(&at("db.pem"), &at("db.key"))?;
        let image = uki::sign(&image, &signer, MaySign::SealedOnly)?;
        let target = at("esp").join(DEFAULT_LOADER);
        fs::create_dir_all(target.parent().context("a directory")?)?;
        let mut sign = Command::new(sbsign);
        sign.arg("--key")
            .arg(at("db.key"))
            .arg("--cert")
            .arg(at("db.pem"));
        succeed(sign.arg("--output").arg(&target).arg(loader))?;
        let scene = Self {
            disk: release.disk().copy_to(&at("root.ext4"))?,
            release,
            program: Program::Sealroot.build()?,
            directory,
        };
        scene.fill_esp(&image)?;
        Ok(Some(scene))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The release's image with an entry, and OSTree's with a kernel that nobody has signed.
    fn fill_esp(&self, image: &[u8]) -> Result<()> {
        let image = image.to_vec();
        let old = "ab".repeat(32);
        let write = |name: &str, content: &str| -> Result<()> {
            let path = self.path("esp").join(name);
            fs::create_dir_all(path.parent().context("a directory")?)?;
            Ok(fs::write(path, content)?)
        };
        write("loader/loader.conf", "timeout 0\n")?;
        write(
            "loader/entries/ostree-1.conf",
            &OLD_ENTRY.replace("OLD", &old),
        )?;
        write(&format!("ostree/os-{old}/vmlinuz"), "a kernel")?;
        write(&format!("ostree/os-{old}/initramfs.img"), "an initramfs")?;
        let boot = Boot::open(&self.path("esp"), Loader::SystemdBoot)?;
        let new = NewEntry {
            deployment: self.release.deployment().parse().ok().context("a name")?,
            title: "Test".into(),
            content: Content::Image(&image),
            tries: None,
        };
        boot.add(&new, &|_| true, &Silent)?;
        Ok(())
    }

    fn firmware(&self, images: &[&str]) -> Result<Option<Firmware>> {
        let certificates: Vec<_> = images.iter().map(|name| self.path(name)).collect();
        let certificates: Vec<&Path> = certificates.iter().map(PathBuf::as_path).collect();
        let keys = EnrolledKeys {
            platform: &self.path("platform.pem"),
            exchange: &self.path("exchange.pem"),
            images: &certificates,
        };
        Firmware::with_secure_boot(&self.path("variables"), keys)
    }

    /// Boots what the boot partition has now. What the machine tells is left for the commands.
    fn boot(&self, firmware: &Firmware) -> Result<()> {
        let mut files = Vec::new();
        collect(&self.path("esp"), "", &mut files)?;
        let files: Vec<(&str, &[u8])> = (files.iter())
            .map(|(name, content)| (&**name, &content[..]))
            .collect();
        let esp = esp::create(&self.path("esp.img"), ESP_MIB, &files)?;
        let outcome = Vm::with_firmware(firmware)
            .memory_mib(1024)
            .scratch_disk("esp0", esp.path())
            .scratch_disk(Release::DISK_SERIAL, self.release.disk().path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .stop_at("Security Violation")
            .run(TIME_OUT)?;
        let verdict = judge(&outcome, &self.release);
        ensure!(
            verdict == Verdict::SameTree,
            "{verdict:?}\n{}",
            outcome.console_tail(40)
        );
        let report: ProbeReport = outcome.json()?;
        let booted = report.booted.context("no record of the boot")?;
        println!("booted after {:?}: {}", outcome.wall, booted.len());
        for name in ["run", "vars"] {
            let _ = fs::remove_dir_all(self.path(name));
            fs::create_dir(self.path(name))?;
        }
        fs::write(self.path("run/booted.json"), booted)?;
        ensure!(report.variables.len() >= 5, "{:?}", report.variables.keys());
        for (name, content) in &report.variables {
            fs::write(self.path("vars").join(name), content)?;
        }
        Ok(())
    }

    /// A command on the machine's store and what it has told.
    fn sealroot(&self, line: &str) -> Result<Value> {
        self.disk.mounted(|root| {
            let mut command = Command::new(&self.program);
            command.current_dir(self.directory.path()).arg("--json");
            command.arg("--sysroot").arg(root).args(line.split(' '));
            if !line.starts_with("keys ") {
                command.args([
                    "--boot",
                    "esp",
                    "--boot-loader",
                    "systemd-boot",
                    "--run",
                    "run",
                ]);
                command.args(["--efivarfs", "vars"]);
            }
            let output = command.output()?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{line}: {errors}");
            Ok(serde_json::from_slice(&output.stdout)?)
        })
    }

    /// The kinds of what speaks against calling the machine sealed.
    fn reasons(&self) -> Result<(Value, Vec<String>)> {
        let status = self.sealroot("status --owner owner.pem")?;
        let reasons = status["not_sealed_because"].as_array().context("a list")?;
        let kinds = reasons.iter().filter_map(|reason| reason["kind"].as_str());
        let kinds = kinds.map(str::to_owned).collect();
        Ok((status, kinds))
    }
}

fn collect(directory: &Path, path: &str, files: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name")?;
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else {
            files.push((path, fs::read(entry.path())?));
        }
    }
    Ok(())
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_machine_is_sealed_and_boots() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    // Others' keys beside the owner's.
    let Some(firmware) = scene.firmware(&["db.pem", "another.pem"])? else {
        return Ok(());
    };
    scene.boot(&firmware)?;
    let (status, kinds) = scene.reasons()?;
    ensure!(kinds == ["firmware-keys", "unsealed-entry"], "{status:#}");
    let what = status["not_sealed_because"][0]["what"].as_str();
    let expected = "db trusts CN=another,O=sealroot tests, which is not the owner's";
    ensure!(what == Some(expected), "{status:#}");

    // The owner's alone.
    let Some(firmware) = scene.firmware(&["db.pem"])? else {
        return Ok(());
    };
    scene.boot(&firmware)?;
    let (status, kinds) = scene.reasons()?;
    ensure!(kinds == ["unsealed-entry"], "{status:#}");
    ensure!(status["migration"] == "dual", "{status:#}");

    let blessed = scene.sealroot("bless")?;
    ensure!(blessed["sealed_boots"] == 1, "{blessed}");
    scene.disk.mounted(|root| {
        // The kernel of this machine has one name for its boot, whatever was started in between.
        let flag = root
            .join(scene.release.deployment_path())
            .join("sealed-boots");
        let text = fs::read_to_string(&flag)?;
        Ok(fs::write(flag, format!("another\n{text}"))?)
    })?;
    let key = scene.release.secret_key()?;
    fs::write(scene.path("root.secret"), key.to_file().as_bytes())?;
    scene.sealroot("seal --challenge recovery")?;
    scene.sealroot("keys prove recovery --key root.secret")?;
    let sealed = scene.sealroot("seal --recovery recovery --owner owner.pem --yes")?;
    ensure!(
        sealed["removed_entries"][0]["file"] == "ostree-1.conf",
        "{sealed}"
    );
    ensure!(
        sealed["removed_kernels"]
            .as_array()
            .is_some_and(|all| all.len() == 1),
        "{sealed}"
    );
    let (status, kinds) = scene.reasons()?;
    ensure!(kinds.is_empty() && status["sealed"] == true, "{status:#}");
    ensure!(status["migration"] == "sealed", "{status:#}");
    ensure!(
        !scene.path("esp/loader/entries/ostree-1.conf").exists(),
        "it is there"
    );

    // What is left boots, and the machine says of itself that it is sealed.
    scene.boot(&firmware)?;
    let (status, kinds) = scene.reasons()?;
    ensure!(kinds.is_empty() && status["sealed"] == true, "{status:#}");
    Ok(())
}
