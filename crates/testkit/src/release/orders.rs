// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a release is booted with: keys, policies, the initramfs, unified kernel images.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context as _, Result};
use sealroot::uki;
use sealroot_format::policy::{EtcMode, Mode};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, RoleKeys, Statement, Unverified};
use tempfile::NamedTempFile;

use super::Release;
use crate::binaries::Program;
use crate::kernel::GuestKernel;

/// The label of the filesystem of the physical root, by which policies name it.
pub const LABEL: &str = "sealroot-test";

/// How the boot program brings the pack up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Mounted.
    Erofs,
    /// Unpacked into a tmpfs.
    Tmpfs,
}

impl Layer {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Erofs, Self::Tmpfs];
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Erofs => "erofs",
            Self::Tmpfs => "tmpfs",
        })
    }
}

impl Release {
    /// The initramfs for a kernel and a layer, made at first use.
    pub fn initramfs(&self, kernel: &GuestKernel, layer: Layer) -> Result<PathBuf> {
        let path = self
            .directory
            .path()
            .join(format!("initramfs-{}-{layer:?}", kernel.release()));
        if path.exists() {
            return Ok(path);
        }
        let keyset = fs::read(self.directory.path().join("test.keyset"))?;
        build_initramfs(&path, kernel, &keyset, &policy(self.mode, layer))?;
        Ok(path)
    }

    /// An initramfs whose policy names another mode of `/etc`.
    pub fn initramfs_with_etc(&self, kernel: &GuestKernel, etc: EtcMode) -> Result<PathBuf> {
        self.initramfs_with_policy(kernel, &etc.to_string(), |policy| {
            policy.replace("etc transient", &format!("etc {etc}"))
        })
    }

    /// An initramfs whose policy is another, made of the usual one.
    pub fn initramfs_with_policy(
        &self,
        kernel: &GuestKernel,
        name: &str,
        change: impl FnOnce(&str) -> String,
    ) -> Result<PathBuf> {
        let keyset = fs::read(self.directory.path().join("test.keyset"))?;
        self.initramfs_with_orders(kernel, name, &keyset, change)
    }

    /// An initramfs with these certificates for the kernel's keyring, in DER.
    pub fn initramfs_with_certificates(
        &self,
        kernel: &GuestKernel,
        name: &str,
        certificates: &[u8],
    ) -> Result<PathBuf> {
        let keyset = fs::read(self.keyset_path())?;
        let path = self.directory.path().join(format!("initramfs-{name}"));
        let policy = policy(self.mode, Layer::Erofs);
        build_initramfs_with(&path, kernel, &keyset, &policy, certificates)?;
        Ok(path)
    }

    /// The same, with another keyset too.
    pub fn initramfs_with_orders(
        &self,
        kernel: &GuestKernel,
        name: &str,
        keyset: &[u8],
        change: impl FnOnce(&str) -> String,
    ) -> Result<PathBuf> {
        let path = self.directory.path().join(format!("initramfs-{name}"));
        let policy = change(&policy(self.mode, Layer::Erofs));
        build_initramfs(&path, kernel, keyset, &policy)?;
        Ok(path)
    }

    /// The usual policy for a layer with other values for these keys; `PACK` stands for the release's
    /// pack.
    pub(crate) fn policy_with(&self, layer: Layer, values: &[(&str, &str)]) -> String {
        let lines = policy(self.mode, layer);
        let pack = format!("sha256:4096:{}", self.statement.pack_digest);
        let lines = lines.lines().map(|line| {
            let key = line.split(' ').next().unwrap_or_default();
            match values.iter().rfind(|(other, _)| *other == key) {
                Some((_, value)) => format!("{key} {}\n", value.replace("PACK", &pack)),
                None => format!("{line}\n"),
            }
        });
        lines.collect()
    }

    /// Writes the policy and the keyset that an initramfs for a layer has.
    pub fn write_orders(&self, directory: &Path, layer: Layer) -> Result<()> {
        fs::write(directory.join("policy"), policy(self.mode, layer))?;
        let keyset = self.directory.path().join("test.keyset");
        fs::copy(keyset, directory.join("keyset"))?;
        Ok(())
    }

    /// An [`image`] of this release.
    pub fn uki(
        &self,
        kernel: &GuestKernel,
        stub: &[u8],
        parameters: &str,
        change: impl FnOnce(String) -> String,
    ) -> Result<Vec<u8>> {
        let keyset = fs::read(self.keyset_path())?;
        image(&self.statement, &keyset, kernel, stub, parameters, change)
    }

    /// The image for repairs of this release, not signed.
    pub fn repair_uki(
        &self,
        kernel: &GuestKernel,
        stub: &[u8],
        parameters: &str,
    ) -> Result<Vec<u8>> {
        let keyset = fs::read(self.keyset_path())?;
        let policy = sealing_policy(&self.statement, parameters)?;
        let tool = Program::Sealroot.build()?;
        let description = uki::repair_description(&self.statement);
        Image {
            statement: &self.statement,
            keyset: &keyset,
            kernel,
            stub,
            policy: &policy,
            os_release: &description,
            repair_tool: Some(&tool),
        }
        .build()
    }
}

/// A unified kernel image that boots the release of a statement alone, not signed, with the policy that
/// seals, as `change` leaves it. `parameters` are those of the kernel besides the usual ones.
pub fn image(
    statement: &Statement,
    keyset: &[u8],
    kernel: &GuestKernel,
    stub: &[u8],
    parameters: &str,
    change: impl FnOnce(String) -> String,
) -> Result<Vec<u8>> {
    let policy = change(sealing_policy(statement, parameters)?);
    Image {
        statement,
        keyset,
        kernel,
        stub,
        policy: &policy,
        os_release: "ID=sealroot-test\n",
        repair_tool: None,
    }
    .build()
}

/// The policy that seals, for the release of a statement alone.
fn sealing_policy(statement: &Statement, parameters: &str) -> Result<String> {
    let line = uki::command_line(parameters, None)?;
    let Statement {
        pack_digest,
        index,
        epoch,
        ..
    } = statement;
    let pack =
        format!("pack sha256:4096:{pack_digest}\nrelease-index {index}\nrelease-epoch {epoch}");
    Ok(policy(Mode::Sealed, Layer::Erofs)
        .replace("pack -\nrelease-index -\nrelease-epoch -", &pack)
        .replace("allow-insecure-boot yes", "allow-insecure-boot no")
        .replace("cmdline -", &format!("cmdline {line}")))
}

/// What an image is made of.
struct Image<'i> {
    statement: &'i Statement,
    keyset: &'i [u8],
    kernel: &'i GuestKernel,
    stub: &'i [u8],
    policy: &'i str,
    os_release: &'i str,
    repair_tool: Option<&'i Path>,
}

impl Image<'_> {
    fn build(&self) -> Result<Vec<u8>> {
        let parts = uki::Parts {
            stub: self.stub,
            linux: &fs::read(self.kernel.packed())?,
            uname: self.kernel.release(),
            os_release: self.os_release.as_bytes(),
            sbat: &uki::sbat_lines_of(self.statement),
        };
        let initramfs = sealroot::initramfs::Options {
            kernel_modules: &self.kernel.modules_directory(),
            boot_program: &Program::Boot.build()?,
            keyset: self.keyset,
            policy: self.policy.as_bytes(),
            modules: &sealroot::initramfs::default_modules(),
            verity_certificates: &[],
            repair_tool: self.repair_tool,
        };
        Ok(uki::build(&parts, &initramfs)?.bytes)
    }
}

/// A key and a keyset with this one key in all roles, as files for the command.
pub fn write_keys(directory: &Path) -> Result<()> {
    let secret = SecretKey::from_seed(&[42; 32])?;
    fs::write(directory.join("test.secret"), secret.to_file().as_bytes())?;
    fs::write(directory.join("test.keyset"), keyset_of(&secret)?)?;
    Ok(())
}

/// A keyset with this one key in all roles.
pub fn keyset_of(secret: &SecretKey) -> Result<String> {
    let role = || RoleKeys::new(1, [secret.public().id()]);
    let keyset = Keyset::new(1, [role(), role(), role()], [*secret.public()])?;
    let mut keyset = Unverified::unsigned(&keyset)?;
    let signature = secret.sign(keyset.message());
    keyset.add(secret.public(), signature)?;
    Ok(keyset.to_string())
}

/// The policy of the tests: all that a mode enforces, on a machine without firmware.
fn policy(mode: Mode, layer: Layer) -> String {
    let (layer, percent) = match layer {
        Layer::Erofs => ("erofs", "-"),
        Layer::Tmpfs => ("tmpfs", "25"),
    };
    format!(
        "sealroot policy 1\nmode {mode}\nlayer {layer}\ntmpfs-percent {percent}\n\
         root LABEL={LABEL}\netc transient\nvar stateroot=test\npack -\nrelease-index -\nrelease-epoch -\nos test\nvariant -\n\
         stream stable\narch x86_64\nepoch-floor 0\n\
         floor-on epoch\nfloor-store -\ntpm-base -\nallow-insecure-boot yes\ncmdline -\n"
    )
}

/// What policies that [`keep_floors`] has changed say a counter shows at epoch 0.
pub const TPM_BASE: &str = "8";

/// A policy for a release of this index and epoch, on a machine that keeps floors in the firmware and
/// in the TPM.
pub fn keep_floors(policy: &str, number: u64) -> String {
    let lines = policy.lines().map(|line| match line.split(' ').next() {
        Some("release-index") => format!("release-index {number}\n"),
        Some("release-epoch") => format!("release-epoch {number}\n"),
        Some("floor-store") => "floor-store efi,tpm\n".to_owned(),
        Some("tpm-base") => format!("tpm-base {TPM_BASE}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Writes the archive that the boot program starts from.
pub fn build_initramfs(
    path: &Path,
    kernel: &GuestKernel,
    keyset: &[u8],
    policy: &str,
) -> Result<()> {
    build_initramfs_with(path, kernel, keyset, policy, &[])
}

/// The same, with certificates for the kernel's keyring.
fn build_initramfs_with(
    path: &Path,
    kernel: &GuestKernel,
    keyset: &[u8],
    policy: &str,
    verity_certificates: &[u8],
) -> Result<()> {
    let boot_program = Program::Boot.build()?;
    let modules = sealroot::initramfs::default_modules();
    let options = sealroot::initramfs::Options {
        kernel_modules: &kernel.modules_directory(),
        boot_program: &boot_program,
        keyset,
        policy: policy.as_bytes(),
        modules: &modules,
        verity_certificates,
        repair_tool: None,
    };
    // Others may make the same at the same time.
    let directory = path.parent().context("it is in a directory")?;
    let mut file = NamedTempFile::new_in(directory)?;
    sealroot::initramfs::build(&options, &mut file)?;
    file.persist(path)?;
    Ok(())
}
