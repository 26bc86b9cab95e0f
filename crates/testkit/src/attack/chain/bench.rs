// SPDX-License-Identifier: MIT OR Apache-2.0
//! What machines with Secure Boot are made of: keys, images, firmware.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sealroot::uki::{self, ImageSigner, MaySign};
use sealroot_format::floor::Floor;
use tempfile::TempDir;

use super::{ESP_MIB, Stage, root_disk};
use crate::binaries::Program;
use crate::disk::succeed;
use crate::efi::{self, key_and_certificate};
use crate::esp::{self, DEFAULT_LOADER};
use crate::guest::Worker;
use crate::kernel::GuestKernel;
use crate::need;
use crate::release::{Release, TPM_BASE, keep_floors, usual_kernel};
use crate::vm::{EnrolledKeys, Firmware, Tpm, Vm};

/// Parameters of the kernel on these machines.
pub const PARAMETERS: &str = "console=ttyS0 panic=-1 loglevel=5 no_timer_check";

const WORKER_TIME_OUT: Duration = Duration::from_secs(300);

/// A private key and its certificate.
type Pair = (PathBuf, PathBuf);

/// A release, keys for Secure Boot, and images that boot it.
#[derive(Debug)]
pub struct Bench {
    release: Arc<Release>,
    kernel: GuestKernel,
    directory: TempDir,
    /// What the firmware trusts.
    db: Pair,
    /// What nobody trusts.
    rogue: Pair,
    stub: PathBuf,
    loader: PathBuf,
    sbsign: PathBuf,
    firmware: Firmware,
    images: Mutex<BTreeMap<String, Arc<Vec<u8>>>>,
    floors: Mutex<BTreeMap<u64, (Firmware, Tpm)>>,
}

/// What the policy of an image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The numbers of the statement; no floor is kept, and nothing of `/etc`.
    AsSigned,
    /// This index and epoch; floors are kept in the firmware and in the TPM.
    Floor(u64),
    /// The list of kept files of `/etc`.
    Allowlist,
}

impl Bench {
    /// For a release; `None` where what it takes is missing, which has been said then.
    pub fn new(release: &Arc<Release>) -> Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let key = |name| key_and_certificate(directory.path(), name, &["rsa:2048"]);
        let (Some(kernel), Some(db), Some(rogue), Some(platform), Some(exchange)) = (
            usual_kernel(),
            key("db"),
            key("rogue"),
            key("platform"),
            key("exchange"),
        ) else {
            return Ok(None);
        };
        let (Some([stub, loader]), Some(sbsign)) = (later_systemd(), need::tool("sbsign")) else {
            return Ok(None);
        };
        let keys = EnrolledKeys {
            platform: &platform.1,
            exchange: &exchange.1,
            images: &db.1,
        };
        let variables = directory.path().join("variables");
        let Some(firmware) = Firmware::with_secure_boot(&variables, keys)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            release: Arc::clone(release),
            kernel,
            db,
            rogue,
            stub,
            loader,
            sbsign,
            firmware,
            images: Mutex::default(),
            floors: Mutex::default(),
            directory,
        }))
    }

    /// The release.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The kernel of its images.
    pub const fn kernel(&self) -> &GuestKernel {
        &self.kernel
    }

    /// A machine with the genuine image and disk, and nothing else.
    pub(super) fn stage(&self, directory: &Path) -> Result<Stage> {
        Ok(Stage {
            firmware: self.firmware.copy_to(&directory.join("variables"))?,
            tpm: None,
            esps: vec![vec![(
                DEFAULT_LOADER.to_owned(),
                self.genuine(Variant::AsSigned)?.to_vec(),
            )]],
            strings: Vec::new(),
            disks: vec![root_disk(self.release.disk().path())],
        })
    }

    /// A machine that boots an image from power-on, without other disks.
    pub(in crate::attack) fn machine(&self, variant: Variant, directory: &Path) -> Result<Vm> {
        let image = self.genuine(variant)?;
        let files: [(&str, &[u8]); 1] = [(DEFAULT_LOADER, &image)];
        let esp = esp::create(&directory.join("esp"), ESP_MIB, &files)?;
        let firmware = self.firmware.copy_to(&directory.join("variables"))?;
        Ok(Vm::with_firmware(&firmware).scratch_disk("esp", esp.path()))
    }

    /// The same with firmware and TPM that keep a floor of this epoch.
    pub(super) fn stage_with_floor(&self, epoch: u64, directory: &Path) -> Result<Stage> {
        let mut floors = self.floors.lock().unwrap_or_else(PoisonError::into_inner);
        let (firmware, tpm) = if let Some(found) = floors.get(&epoch) {
            found.clone()
        } else {
            let made = self.enrol(epoch)?;
            floors.insert(epoch, made.clone());
            made
        };
        drop(floors);
        Ok(Stage {
            firmware: firmware.copy_to(&directory.join("floor-variables"))?,
            tpm: Some(tpm.copy_to(&directory.join("tpm"))?),
            ..self.stage(directory)?
        })
    }

    /// The same with a TPM as it leaves the factory.
    pub(super) fn stage_without_floor(&self, directory: &Path) -> Result<Stage> {
        let tpm = Tpm::create(&directory.join("tpm"))?.context("swtpm is missing")?;
        Ok(Stage {
            tpm: Some(tpm),
            ..self.stage(directory)?
        })
    }

    /// What an owner does once on a machine that is to keep a floor.
    fn enrol(&self, epoch: u64) -> Result<(Firmware, Tpm)> {
        let at = |name: &str| self.directory.path().join(format!("{name}-{epoch}"));
        let firmware = self.firmware.copy_to(&at("floor-variables"))?;
        let tpm = Tpm::create(&at("tpm"))?.context("swtpm is missing")?;
        let floor = Floor {
            epoch,
            index: epoch,
        };
        let (key, certificate) = &self.db;
        let update = sealroot::floor::sign(floor, key, certificate)?;
        fs::write(at("update"), update.as_bytes())?;
        let mut worker = Worker::new(&self.kernel, &["efivarfs"])?;
        worker.firmware(&firmware, &tpm);
        worker.add_file("sealroot", &Program::Sealroot.build()?)?;
        worker.add_file("update", &at("update"))?;
        worker.command(["/init", "mount-variables"]);
        let epoch = epoch.to_string();
        worker.command([
            "/sealroot",
            "floor",
            "enrol",
            "--update",
            "/update",
            "--tpm-base",
            TPM_BASE,
            "--epoch",
            &epoch,
        ]);
        worker.run(WORKER_TIME_OUT)?;
        Ok((firmware, tpm))
    }

    /// A machine's own firmware, with Secure Boot on.
    pub fn firmware(&self, variables: &Path) -> Result<Firmware> {
        self.firmware.copy_to(variables)
    }

    /// An image that boots the release, signed with the key that the firmware trusts, with one more
    /// parameter for the kernel.
    pub fn image_with(&self, parameter: &str) -> Result<Vec<u8>> {
        let stub = fs::read(&self.stub)?;
        let parameters = format!("{PARAMETERS} {parameter}");
        let image = self
            .release
            .uki(&self.kernel, &stub, &parameters, |policy| policy);
        signed(&image?, &self.db)
    }

    /// The image that repairs the machine's store, signed with the key that the firmware trusts.
    pub fn repair_image(&self) -> Result<Vec<u8>> {
        let stub = fs::read(&self.stub)?;
        let image = self.release.repair_uki(&self.kernel, &stub, PARAMETERS);
        signed(&image?, &self.db)
    }

    /// The image that boots the release, signed with the key that the firmware trusts.
    pub fn genuine(&self, variant: Variant) -> Result<Arc<Vec<u8>>> {
        self.cached(&format!("genuine {variant:?}"), || {
            signed(&self.image(variant)?, &self.db)
        })
    }

    /// The same image, signed with a key that nobody trusts.
    pub(super) fn rogue(&self) -> Result<Arc<Vec<u8>>> {
        self.cached("rogue", || {
            signed(&self.image(Variant::AsSigned)?, &self.rogue)
        })
    }

    /// The same image without a signature.
    pub(super) fn image(&self, variant: Variant) -> Result<Arc<Vec<u8>>> {
        self.cached(&format!("unsigned {variant:?}"), || {
            let stub = fs::read(&self.stub)?;
            let release = &self.release;
            release.uki(&self.kernel, &stub, PARAMETERS, |policy| match variant {
                Variant::AsSigned => policy,
                Variant::Floor(number) => keep_floors(&policy, number),
                Variant::Allowlist => policy.replace("etc transient", "etc allowlist"),
            })
        })
    }

    /// systemd's boot loader, signed with the key that the firmware trusts.
    pub fn loader(&self) -> Result<Arc<Vec<u8>>> {
        self.cached("loader", || self.sign_anything(&self.loader, &self.db))
    }

    /// The same, signed with a key that nobody trusts.
    pub(super) fn rogue_loader(&self) -> Result<Arc<Vec<u8>>> {
        self.cached("rogue loader", || {
            self.sign_anything(&self.loader, &self.rogue)
        })
    }

    /// An add-on that is not signed.
    pub(super) fn unsigned_addon(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.stub.with_file_name("addonx64.efi.stub"))?)
    }

    /// An add-on with further kernel parameters, signed as no vendor should.
    pub(super) fn signed_addon(&self, parameters: &str) -> Result<Arc<Vec<u8>>> {
        self.cached(&format!("addon {parameters}"), || {
            let addon = tempfile::NamedTempFile::new_in(self.directory.path())?;
            let sections: [(&str, &[u8]); 2] =
                [(".text", &[0xc3]), (".cmdline", parameters.as_bytes())];
            fs::write(addon.path(), efi::application(efi::X86, &sections))?;
            self.sign_anything(addon.path(), &self.db)
        })
    }

    /// What a vendor must not do with a key for images: sign something else.
    fn sign_anything(&self, file: &Path, (key, certificate): &Pair) -> Result<Vec<u8>> {
        let signed = tempfile::NamedTempFile::new_in(self.directory.path())?;
        let mut command = Command::new(&self.sbsign);
        command.arg("--key").arg(key).arg("--cert").arg(certificate);
        succeed(command.arg("--output").arg(signed.path()).arg(file))?;
        Ok(fs::read(signed.path())?)
    }

    fn cached(&self, name: &str, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<Vec<u8>>> {
        let known = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = known().get(name) {
            return Ok(Arc::clone(image));
        }
        let image = Arc::new(make().with_context(|| format!("making the image {name}"))?);
        known().insert(name.to_owned(), Arc::clone(&image));
        Ok(image)
    }
}

fn signed(image: &[u8], (key, certificate): &Pair) -> Result<Vec<u8>> {
    let signer = ImageSigner::with_key(certificate, key)?;
    Ok(uki::sign(image, &signer, MaySign::SealedOnly)?)
}

/// A stub of systemd 257, and its boot loader; `None` after that has been told.
pub fn later_systemd() -> Option<[PathBuf; 2]> {
    let directory = need::cache().join("ostree-os/usr/lib/systemd/boot/efi");
    let found = ["linuxx64.efi.stub", "systemd-bootx64.efi"].map(|name| directory.join(name));
    if let Some(missing) = found.iter().find(|file| !file.exists()) {
        need::missing(&format!("the file {}", missing.display()));
        return None;
    }
    Some(found)
}
