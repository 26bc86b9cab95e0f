// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a machine with Secure Boot, from an empty disk to the day when it boots nothing else: it
//! fetches a release with its image, is upgraded, and is sealed (A27, A36).
//!
//! The commands run in a guest with the machine's disks and firmware, between its boots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot::uki::{self, ImageSigner, MaySign};
use sealroot_format::sign::{Statement, Unverified};
use sealroot_testkit::attack::chain::{PARAMETERS, later_systemd};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, Filesystem, succeed};
use sealroot_testkit::efi::key_and_certificate;
use sealroot_testkit::esp::{self, DEFAULT_LOADER};
use sealroot_testkit::guest::{ProbeReport, Worker};
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::release::{LABEL, image, usual_kernel, write_keys};
use sealroot_testkit::vm::{EnrolledKeys, Firmware, Tpm, Vm};
use sealroot_testkit::{need, os_tree};
use serde_json::Value;
use tempfile::TempDir;

const TIME_OUT: Duration = Duration::from_secs(300);

const ESP_MIB: u64 = 128;

/// Where the commands find the machine.
const MACHINE: &str = "--boot /mnt/esp --boot-loader systemd-boot --run /records";

/// An entry of the time before, whose kernel nobody has signed.
const OLD_ENTRY: &str = "title Before\nversion 1\nlinux /ostree/os-OLD/vmlinuz\n\
                         initrd /ostree/os-OLD/initramfs.img\noptions ostree=/ostree/boot.1/os/OLD/0\n";

/// Who makes the releases: each with an image, and all published.
struct Vendor {
    directory: TempDir,
    kernel: GuestKernel,
    stub: Vec<u8>,
    releases: Vec<Statement>,
}

impl Vendor {
    fn new(kernel: &GuestKernel, stub: &Path) -> Result<Self> {
        let vendor = Self {
            directory: tempfile::tempdir()?,
            kernel: kernel.clone(),
            stub: fs::read(stub)?,
            releases: Vec::new(),
        };
        write_keys(vendor.directory.path())?;
        fs::create_dir(vendor.path("tree"))?;
        os_tree::create(&vendor.path("tree"), &Program::Guest.build()?)?;
        Ok(vendor)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sealroot(&self, line: &str) -> Result<Vec<u8>> {
        let mut command = Command::new(Program::Sealroot.build()?);
        command.current_dir(self.directory.path());
        command.args(["--json", "--store", "store", "--keyset", "test.keyset"]);
        succeed(command.args(line.split(' ')))
    }

    /// Releases the tree as it is, with an image signed by this key.
    fn release(&mut self, signer: &ImageSigner) -> Result<()> {
        let index = self.releases.len() + 1;
        let text = format!("ID=sealroot-test\nVERSION_ID={index}\n");
        fs::write(self.path("tree/etc/os-release"), text)?;
        let built = self.sealroot(&format!(
            "build --dir tree --os test --stream stable --arch x86_64 --version {index} --index {index}"
        ))?;
        let built: Value = serde_json::from_slice(&built)?;
        let commit = built["commit"].as_str().context("a commit")?;
        self.sealroot(&format!("sign {commit} --key test.secret"))?;
        let statement = fs::read(self.path(&format!("store/pack/{commit}.stable.sign")))?;
        let statement = Statement::parse(Unverified::<Statement>::parse(&statement)?.body())?;
        let keyset = fs::read(self.path("test.keyset"))?;
        let image = image(
            &statement,
            &keyset,
            &self.kernel,
            &self.stub,
            PARAMETERS,
            |policy| policy,
        )?;
        let image = uki::sign(&image, signer, MaySign::SealedOnly)?;
        fs::write(self.path("os.efi"), image)?;
        self.sealroot(&format!(
            "publish {commit} --to files/www --key test.secret --uki os.efi --level 1"
        ))?;
        self.releases.push(statement);
        Ok(())
    }
}

/// The machine.
struct Machine {
    vendor: Vendor,
    /// All that is published.
    files: Disk,
    root: Disk,
    esp: Disk,
    firmware: Firmware,
    tpm: Tpm,
    directory: TempDir,
}

impl Machine {
    /// With an empty store, and a boot loader that its firmware starts.
    fn new() -> Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let (Some(kernel), true, Some([stub, loader]), Some(sbsign), Some(tpm)) = (
            usual_kernel(),
            need::root(),
            later_systemd(),
            need::tool("sbsign"),
            Tpm::create(&at("tpm"))?,
        ) else {
            return Ok(None);
        };
        for name in ["db", "platform", "exchange"] {
            if key_and_certificate(directory.path(), name, &["rsa:2048"]).is_none() {
                return Ok(None);
            }
        }
        let keys = EnrolledKeys {
            platform: &at("platform.pem"),
            exchange: &at("exchange.pem"),
            images: &at("db.pem"),
        };
        let Some(firmware) = Firmware::with_secure_boot(&at("variables"), keys)? else {
            return Ok(None);
        };
        let owner = [fs::read(at("platform.pem"))?, fs::read(at("exchange.pem"))?];
        fs::write(at("owner.pem"), owner.concat())?;
        let mut sign = Command::new(sbsign);
        sign.arg("--key").arg(at("db.key"));
        sign.arg("--cert").arg(at("db.pem"));
        succeed(sign.arg("--output").arg(at("loader.efi")).arg(loader))?;

        let mut vendor = Vendor::new(&kernel, &stub)?;
        let signer = ImageSigner::with_key(&at("db.pem"), &at("db.key"))?;
        vendor.release(&signer)?;
        vendor.release(&signer)?;
        let published = vendor.path("files");
        let files = Disk::create(&at("files"), Filesystem::Ext4, 160, Some(&published))?;
        let sysroot = at("sysroot");
        fs::create_dir_all(sysroot.join("ostree/deploy/test/var"))?;
        let root = Disk::create(&at("root"), Filesystem::Ext4Verity, 160, Some(&sysroot))?;
        root.set_label(LABEL)?;
        let esp = Self::esp(&at("esp"), &fs::read(at("loader.efi"))?)?;
        Ok(Some(Self {
            vendor,
            files,
            root,
            esp,
            firmware,
            tpm,
            directory,
        }))
    }

    /// The boot loader, and an entry of before.
    fn esp(path: &Path, loader: &[u8]) -> Result<Disk> {
        let old = "ab".repeat(32);
        let (kernel, initrd) = (
            format!("ostree/os-{old}/vmlinuz"),
            format!("ostree/os-{old}/initramfs.img"),
        );
        let files: [(&str, &[u8]); 5] = [
            (DEFAULT_LOADER, loader),
            ("loader/loader.conf", b"timeout 0\n"),
            (
                "loader/entries/ostree-1.conf",
                &OLD_ENTRY.replace("OLD", &old).into_bytes(),
            ),
            (&kernel, b"a kernel"),
            (&initrd, b"an initramfs"),
        ];
        esp::create(path, ESP_MIB, &files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs commands between two boots; what each says.
    fn runs(&self, lines: &[&str]) -> Result<Vec<Value>> {
        let modules = ["efivarfs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8"];
        let mut worker = Worker::new(&self.vendor.kernel, &modules)?;
        worker.memory_mib(1024);
        worker.firmware(&self.firmware, &self.tpm);
        worker.add_file("sealroot", &Program::Sealroot.build()?)?;
        worker.add_file("test.keyset", &self.vendor.path("test.keyset"))?;
        worker.add_file("owner.pem", &self.path("owner.pem"))?;
        for name in ["booted.json", "recovery"] {
            if self.path(name).exists() {
                worker.add_file(&format!("records/{name}"), &self.path(name))?;
            }
        }
        worker.mount("files", self.files.path(), "ext4");
        worker.mount("root", self.root.path(), "ext4");
        worker.mount("esp", self.esp.path(), "vfat");
        worker.command(["/init", "mount-variables"]);
        for line in lines {
            let own = "/sealroot --json --sysroot /mnt/root --keyset /test.keyset";
            worker.command(own.split(' ').chain(line.split(' ')));
        }
        worker.command(["/init", "umount", "/mnt/esp"]);
        worker.command(["/init", "umount", "/mnt/root"]);
        let report = worker.run(TIME_OUT)?;
        let ours = (report.commands.iter()).filter(|done| done.command[0] == "/sealroot");
        ours.map(|done| {
            println!("{} ms: {}", done.milliseconds, done.command.join(" "));
            serde_json::from_str(&done.output).with_context(|| format!("{done:?}"))
        })
        .collect()
    }

    /// Boots what comes next, which is to be this release, sealed.
    fn boots(&self, release: usize) -> Result<()> {
        let outcome = Vm::with_firmware(&self.firmware)
            .memory_mib(1024)
            .tpm(&self.tpm)
            .disk("esp", self.esp.path())
            .disk("root", self.root.path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .stop_at("Security Violation")
            .run(TIME_OUT)?;
        println!("release {release} after {:?}", outcome.wall);
        let report: ProbeReport = outcome.json()?;
        let expected = self.vendor.releases[release - 1].tree_digest.to_hex();
        ensure!(
            report.tree_digest == Ok(expected),
            "{:?}",
            report.tree_digest
        );
        let booted = report.booted.context("no record of the boot")?;
        let record: Value = serde_json::from_str(&booted)?;
        ensure!(record["sealed"] == true, "{record:#}");
        Ok(fs::write(self.path("booted.json"), booted)?)
    }
}

/// The kinds of what speaks against calling a machine sealed.
fn reasons(status: &Value) -> Vec<&str> {
    let reasons = status["not_sealed_because"].as_array();
    let reasons = reasons.into_iter().flatten();
    reasons
        .filter_map(|reason| reason["kind"].as_str())
        .collect()
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_machine_is_installed_upgraded_and_sealed() -> Result<()> {
    let Some(machine) = Machine::new()? else {
        return Ok(());
    };
    let add = "remote add vendor /mnt/files/www --os test --stream stable";
    let first =
        format!("upgrade --index 1 --image default --mode sealed --stateroot test {MACHINE}");
    machine.runs(&[add, &first])?;
    machine.boots(1)?;

    let bless = format!("bless {MACHINE}");
    let status = format!("status --owner /owner.pem {MACHINE}");
    let upgrade = format!("upgrade --tries 3 {MACHINE}");
    let said = machine.runs(&[&bless, &status, &upgrade])?;
    ensure!(said[0]["sealed_boots"] == 1, "{:#}", said[0]);
    ensure!(reasons(&said[1]) == ["unsealed-entry"], "{:#}", said[1]);
    ensure!(said[1]["migration"] == "dual", "{:#}", said[1]);
    machine.boots(2)?;
    machine.runs(&[&bless])?;
    machine.boots(2)?;

    let challenge = format!("seal --challenge /mnt/root/recovery {MACHINE}");
    let said = machine.runs(&[&bless, &challenge])?;
    ensure!(said[0]["sealed_boots"] == 2, "{:#}", said[0]);
    let challenge = machine
        .root
        .mounted(|root| Ok(fs::read(root.join("recovery"))?))?;
    fs::write(machine.path("recovery"), challenge)?;
    let key = machine.vendor.path("test.secret");
    let prove = format!(
        "keys prove {} --key {}",
        machine.path("recovery").display(),
        key.display()
    );
    machine.vendor.sealroot(&prove)?;

    let seal = format!("seal --recovery /records/recovery --owner /owner.pem --yes {MACHINE}");
    let said = machine.runs(&[&seal, &status])?;
    let removed = &said[0]["removed_entries"][0]["file"];
    ensure!(removed == "ostree-1.conf", "{:#}", said[0]);
    ensure!(reasons(&said[1]).is_empty(), "{:#}", said[1]);
    ensure!(said[1]["migration"] == "sealed", "{:#}", said[1]);

    machine.boots(2)
}
