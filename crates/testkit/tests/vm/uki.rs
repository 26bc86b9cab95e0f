// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images on firmware that verifies them: what is signed boots the verified root and
//! is sealed, nothing else starts, and what lies beside an image changes nothing (A28 to A30, A36).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot::uki::{self, ImageSigner, MaySign};
use sealroot_format::policy::{KEYSET_PATH, Mode, POLICY_PATH};
use sealroot_testkit::attack::judge::{Verdict, judge};
use sealroot_testkit::cpio::Archive;
use sealroot_testkit::disk::succeed;
use sealroot_testkit::efi::{self, key_and_certificate};
use sealroot_testkit::esp::{self, DEFAULT_LOADER};
use sealroot_testkit::guest::ProbeReport;
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::need;
use sealroot_testkit::release::{Release, usual_kernel};
use sealroot_testkit::vm::{EnrolledKeys, Firmware, Vm, VmOutcome};
use tempfile::TempDir;

const TIME_OUT: Duration = Duration::from_secs(240);

pub(crate) const PARAMETERS: &str = "console=ttyS0 panic=-1 loglevel=5 no_timer_check";

/// What the firmware says of an image that it does not start.
const DENIED: &str = ": Access Denied";

const ESP_MIB: u64 = 64;

/// A sealed release, keys for Secure Boot, and where all else goes.
struct Bench {
    release: Arc<Release>,
    kernel: GuestKernel,
    directory: TempDir,
    /// Key and certificate that the firmware trusts, and others.
    db: (PathBuf, PathBuf),
    rogue: (PathBuf, PathBuf),
}

impl Bench {
    fn new() -> Result<Option<Self>> {
        let (Some(release), Some(kernel)) = (super::shared::release(Mode::Sealed)?, usual_kernel())
        else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let key = |name| key_and_certificate(directory.path(), name, &["rsa:2048"]);
        let (Some(db), Some(rogue), Some(_), Some(_)) =
            (key("db"), key("rogue"), key("platform"), key("exchange"))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            release,
            kernel,
            directory,
            db,
            rogue,
        }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Firmware that trusts the certificate `db` alone.
    fn firmware(&self) -> Result<Option<Firmware>> {
        let (platform, exchange) = (self.path("platform.pem"), self.path("exchange.pem"));
        let keys = EnrolledKeys {
            platform: &platform,
            exchange: &exchange,
            images: &[&self.db.1],
        };
        Firmware::with_secure_boot(&self.path("variables"), keys)
    }

    fn image(&self, stub: &Path) -> Result<Vec<u8>> {
        let stub = fs::read(stub).with_context(|| format!("reading {}", stub.display()))?;
        self.release.uki(&self.kernel, &stub, PARAMETERS)
    }

    /// What a vendor must not do with this key: sign something else than images.
    fn sign_anything(&self, sbsign: &Path, file: &Path) -> Result<PathBuf> {
        let signed = file.file_name().context("a file")?.to_string_lossy();
        let signed = self.path(&format!("{signed}.signed"));
        let (key, certificate) = &self.db;
        let mut command = Command::new(sbsign);
        command.arg("--key").arg(key).arg("--cert").arg(certificate);
        succeed(command.arg("--output").arg(&signed).arg(file))?;
        Ok(signed)
    }

    /// An add-on for systemd's stub with further kernel parameters.
    fn addon(&self, parameters: &str) -> Result<PathBuf> {
        let addon = self.path("addon");
        let sections: [(&str, &[u8]); 2] =
            [(".text", &[0xc3]), (".cmdline", parameters.as_bytes())];
        fs::write(&addon, efi::application(efi::X86, &sections))?;
        Ok(addon)
    }

    /// Boots from these disks, in their order; the one with the root is the last.
    fn boot(
        &self,
        firmware: &Firmware,
        disks: &[&[(&str, &[u8])]],
        strings: &[&str],
    ) -> Result<VmOutcome> {
        let mut vm = Vm::with_firmware(firmware).memory_mib(1024);
        for (index, files) in disks.iter().enumerate() {
            let name = format!("esp{index}");
            let disk = esp::create(&self.path(&name), ESP_MIB, files)?;
            vm = vm.scratch_disk(&name, disk.path());
        }
        for text in strings {
            vm = vm.maker_string(text);
        }
        vm.scratch_disk(Release::DISK_SERIAL, self.release.disk().path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .stop_at("Security Violation")
            .run(TIME_OUT)
    }

    /// That the machine runs the very release and nothing speaks against its being sealed.
    fn check_sealed(&self, outcome: &VmOutcome) -> Result<()> {
        let verdict = judge(outcome, &self.release);
        let console = outcome.console_tail(40);
        ensure!(verdict == Verdict::SameTree, "{verdict:?}\n{console}");
        let booted = outcome.json::<ProbeReport>()?.booted;
        let booted: serde_json::Value = serde_json::from_str(&booted.context("booted.json")?)?;
        ensure!(
            booted["sealed"] == true && booted["insecure"] == serde_json::json!([]),
            "{booted}"
        );
        ensure!(booted["mode"] == "sealed", "{booted}");
        println!("sealed after {:?}", outcome.wall);
        Ok(())
    }

    fn check_refused(&self, outcome: &VmOutcome, expected: &str) -> Result<()> {
        let verdict = judge(outcome, &self.release);
        let is_refused = matches!(&verdict, Verdict::Refused { code, .. } if code == expected);
        ensure!(is_refused, "{verdict:?}\n{}", outcome.console_tail(40));
        println!("{verdict:?} after {:?}", outcome.wall);
        Ok(())
    }
}

fn signed(image: &[u8], (key, certificate): &(PathBuf, PathBuf)) -> Result<Vec<u8>> {
    let signer = ImageSigner::with_key(certificate, key)?;
    Ok(uki::sign(image, &signer, MaySign::SealedOnly)?)
}

/// A stub of systemd 257, and its boot loader; `None` after that has been told.
pub(crate) fn later_systemd() -> Option<(PathBuf, PathBuf)> {
    let directory = need::cache().join("ostree-os/usr/lib/systemd/boot/efi");
    let found = ["linuxx64.efi.stub", "systemd-bootx64.efi"].map(|name| directory.join(name));
    if let Some(missing) = found.iter().find(|file| !file.exists()) {
        need::missing(&format!("the file {}", missing.display()));
        return None;
    }
    let [stub, loader] = found;
    Some((stub, loader))
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn only_what_is_signed_boots_and_is_sealed() -> Result<()> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let Some(firmware) = bench.firmware()? else {
        return Ok(());
    };
    let image = bench.image(Path::new(uki::USUAL_STUB))?;
    let good = signed(&image, &bench.db)?;
    let rogue = signed(&image, &bench.rogue)?;
    let mut flipped = good.clone();
    // In the kernel, which comes last.
    flipped[image.len() - 100_000] ^= 1;
    let disks = [&image, &rogue, &flipped, &good].map(|image| [(DEFAULT_LOADER, &image[..])]);
    let disks: Vec<&[_]> = disks.iter().map(|files| &files[..]).collect();
    let outcome = bench.boot(&firmware, &disks, &[])?;
    let denied = outcome.console.matches(DENIED).count();
    ensure!(
        denied == 3,
        "{denied} refused\n{}",
        outcome.console_tail(40)
    );
    bench.check_sealed(&outcome)
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn what_lies_beside_an_image_changes_nothing() -> Result<()> {
    let (Some(bench), Some((stub, loader))) = (Bench::new()?, later_systemd()) else {
        return Ok(());
    };
    let (Some(firmware), Some(sbsign)) = (bench.firmware()?, need::tool("sbsign")) else {
        return Ok(());
    };
    let image = signed(&bench.image(&stub)?, &bench.db)?;
    let signed_loader = bench.sign_anything(&sbsign, &loader)?;
    let addon = fs::read(stub.with_file_name("addonx64.efi.stub"))?;

    // Would weaken the policy, if it were unpacked over the image's.
    let mut further = Archive::new();
    let orders = bench.path("orders");
    fs::create_dir(&orders)?;
    bench
        .release
        .write_orders(&orders, sealroot_testkit::release::Layer::Erofs)?;
    further.file(POLICY_PATH, 0o444, &fs::read(orders.join("policy"))?);
    further.file(KEYSET_PATH, 0o444, &fs::read(orders.join("keyset"))?);
    let further = further.finish();

    let unit = b"[Service]\nExecStart=/bin/sh\n";
    let files: [(&str, &[u8]); 12] = [
        (DEFAULT_LOADER, &fs::read(signed_loader)?),
        ("EFI/Linux/os.efi", &image),
        ("EFI/Linux/os.efi.extra.d/debug.addon.efi", &addon),
        (
            "EFI/Linux/os.efi.extra.d/systemd.extra-unit.evil.service.cred",
            unit,
        ),
        ("EFI/Linux/os.efi.extra.d/evil.raw", b"a system extension"),
        ("EFI/Linux/os.efi.extra.d/evil.confext.raw", b"another one"),
        ("loader/addons/debug.addon.efi", &addon),
        ("loader/credentials/passwd.hashed-password.root.cred", b"x"),
        (
            "loader/credentials/fstab.extra.cred",
            b"/dev/vda /verified ext4\n",
        ),
        ("evil.img", &further),
        (
            "loader/loader.conf",
            b"timeout 0\ndefault evil.conf\neditor yes\n",
        ),
        (
            "loader/entries/evil.conf",
            b"title evil\nefi /EFI/Linux/os.efi\ninitrd /evil.img\n\
              options rdinit=/bin/sh init=/bin/sh initrd=\\evil.img lockdown=none\n",
        ),
    ];
    let strings = [
        "io.systemd.boot.kernel-cmdline-extra=rdinit=/bin/sh lockdown=none",
        "io.systemd.credential:systemd.extra-unit.evil.service=[Service]",
        "io.systemd.credential:fstab.extra=/dev/vda /verified ext4",
    ];
    let outcome = bench.boot(&firmware, &[&files], &strings)?;
    bench.check_sealed(&outcome)?;
    let met = outcome
        .console
        .matches("Failed to read 'debug.addon.efi'")
        .count();
    ensure!(met == 2, "{}", outcome.console);

    // Stubs of this age append both, with Secure Boot too: without `--` there would be no boot program.
    let addon = bench.addon("rdinit=/none")?;
    let addon = fs::read(bench.sign_anything(&sbsign, &addon)?)?;
    let files: [(&str, &[u8]); 2] = [
        (DEFAULT_LOADER, &image),
        ("EFI/BOOT/BOOTX64.EFI.extra.d/debug.addon.efi", &addon),
    ];
    let extra = "io.systemd.stub.kernel-cmdline-extra=root=/dev/vda init=/bin/sh";
    let outcome = bench.boot(&firmware, &[&files], &[extra])?;
    bench.check_refused(&outcome, "command-line")?;
    let appended = "found \"-- rdinit=/none root=/dev/vda init=/bin/sh\"";
    ensure!(
        outcome.console.contains(appended),
        "{}",
        outcome.console_tail(20)
    );
    Ok(())
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn without_secure_boot_a_sealed_image_refuses() -> Result<()> {
    let Some(bench) = Bench::new()? else {
        return Ok(());
    };
    let Some(firmware) = Firmware::create(&bench.path("variables"))? else {
        return Ok(());
    };
    let image = signed(&bench.image(Path::new(uki::USUAL_STUB))?, &bench.db)?;
    let outcome = bench.boot(&firmware, &[&[(DEFAULT_LOADER, &image)]], &[])?;
    bench.check_refused(&outcome, "secure-boot")
}
