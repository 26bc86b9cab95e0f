// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release of the test OS, deployed on a disk: built, signed and deployed by the `sealroot`
//! command itself, in a guest, on a filesystem with fs-verity.

mod orders;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sealroot::keyring::object_signature;
use sealroot::uki::ImageSigner;
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::limits::DEFAULT_THRESHOLD_BYTES;
use sealroot_format::policy::Mode;
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Statement, Unverified};
use tempfile::TempDir;

use crate::attack::Target;
use crate::binaries::Program;
use crate::disk::{Disk, Filesystem};
use crate::guest::{ProbeJob, Worker};
use crate::kernel::{GuestKernel, Series};
use crate::manifest::Manifest;
use crate::os_tree;
use crate::vm::Vm;

pub use orders::{
    LABEL, Layer, TPM_BASE, build_initramfs, image, keep_floors, keyset_of, write_keys,
};

/// Where the tree of a release is in its directory.
pub const TREE: &str = "source/tree";

/// Where the physical root is in the making.
const SYSROOT: &str = "sysroot";

/// The certificate of the objects' signatures, if they have any.
const OBJECT_CERTIFICATE: &str = "objects.der";

/// How long making the release may take.
const BUILD_TIME_OUT: Duration = Duration::from_secs(400);

/// A release on its disk, with the keys and the initramfs that boot it.
#[derive(Debug)]
pub struct Release {
    directory: TempDir,
    disk: Disk,
    /// The statement, as on the disk.
    pub statement: Statement,
    /// What a root booted from it must be.
    pub manifest: Manifest,
    /// The digest of its tree, in hex.
    pub tree_digest: String,
    /// The length of its pack.
    pub pack_size_bytes: u64,
    /// The mode of its policy. In the mode `integrity` its disk has no fs-verity.
    pub mode: Mode,
}

impl Release {
    /// The store, inside the physical root.
    pub const STORE: &str = "ostree/verity";

    /// The serial number of the disk it is on.
    pub const DISK_SERIAL: &str = "root";

    /// The serial of its deployment.
    const SERIAL: u32 = 0;

    /// A release of the small test OS of [`os_tree`]. Needs root.
    pub fn create(kernel: &GuestKernel, mode: Mode) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join(TREE);
        fs::create_dir_all(&tree)?;
        os_tree::create(&tree, &Program::Guest.build()?)?;
        let manifest = os_tree::as_booted(Manifest::read(&tree));
        let mut release = Self::of_tree(kernel, directory, mode, 96, 160)?;
        release.manifest = manifest;
        Ok(release)
    }

    /// The same, and its objects have built-in signatures by this signer, whose certificate in DER is
    /// given too; but for `unsigned`, if that is given: a path in the tree, whose signature is none. Needs root.
    pub fn create_signed(
        kernel: &GuestKernel,
        signer: &ImageSigner,
        certificate: &[u8],
        unsigned: Option<&str>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join(TREE);
        fs::create_dir_all(&tree)?;
        os_tree::create(&tree, &Program::Guest.build()?)?;
        let manifest = os_tree::as_booted(Manifest::read(&tree));
        fs::write(directory.path().join(OBJECT_CERTIFICATE), certificate)?;
        let objects = directory
            .path()
            .join(SYSROOT)
            .join(Self::STORE)
            .join("objects");
        let unsigned = unsigned.map(|path| fs::read(tree.join(path))).transpose()?;
        let unsigned = unsigned.map(|content| compute_verity_digest(&content));
        for digest in digests_below(&tree)? {
            let hex = digest.to_hex();
            fs::create_dir_all(objects.join(&hex[..2]))?;
            let signature = if Some(digest) == unsigned {
                b"no signature".to_vec()
            } else {
                object_signature(&digest, signer)?
            };
            let path = objects.join(&hex[..2]).join(format!("{}.sign", &hex[2..]));
            fs::write(path, signature)?;
        }
        let mut release = Self::of_tree(kernel, directory, Mode::Sealed, 96, 160)?;
        release.manifest = manifest;
        Ok(release)
    }

    /// A release of the tree at [`TREE`] of a directory, on a disk of `disk_mib`; the tree itself
    /// fits into `tree_mib`. Its manifest is left empty. Needs root.
    pub fn of_tree(
        kernel: &GuestKernel,
        directory: TempDir,
        mode: Mode,
        tree_mib: u64,
        disk_mib: u64,
    ) -> Result<Self> {
        let at = |name: &str| directory.path().join(name);
        let source = at(TREE)
            .parent()
            .context("the tree is in a directory")?
            .to_owned();
        let source = Disk::create(
            &at("source.ext4"),
            Filesystem::Ext4Verity,
            tree_mib,
            Some(&source),
        )?;
        let sysroot = at(SYSROOT);
        fs::create_dir_all(sysroot.join("ostree/deploy/test/var"))?;
        let filesystem = match mode {
            Mode::Sealed | Mode::Verity => Filesystem::Ext4Verity,
            Mode::Integrity => Filesystem::Ext4,
        };
        let disk = Disk::create(&at("root.ext4"), filesystem, disk_mib, Some(&sysroot))?;
        disk.set_label(LABEL)?;
        write_keys(directory.path())?;

        let mut worker = Worker::new(kernel, &[])?;
        worker.memory_mib(1024);
        worker.add_file("sealroot", &Program::Sealroot.build()?)?;
        worker.add_file("test.secret", &at("test.secret"))?;
        worker.add_file("test.keyset", &at("test.keyset"))?;
        let certificate = at(OBJECT_CERTIFICATE);
        if certificate.exists() {
            worker.add_file(OBJECT_CERTIFICATE, &certificate)?;
            worker.command([
                "/init",
                "load-certificate",
                &format!("/{OBJECT_CERTIFICATE}"),
            ]);
        }
        worker.mount("source", source.path(), "ext4");
        worker.mount(Self::DISK_SERIAL, disk.path(), "ext4");
        let mode_name = mode.to_string();
        worker.command([
            "/init",
            "release",
            "/mnt/source/tree",
            "/mnt/root",
            &mode_name,
        ]);
        if certificate.exists() {
            let objects = format!("/mnt/root/{}/objects", Self::STORE);
            worker.command(["/init", "compare-signatures", &objects]);
        }
        worker.command(["/init", "umount", "/mnt/root"]);
        worker.run(BUILD_TIME_OUT)?;
        source.remove()?;

        let statement = disk.mounted(|root| read_statement(&root.join(Self::STORE)))?;
        Ok(Self {
            tree_digest: statement.tree_digest.to_hex(),
            pack_size_bytes: statement.pack_size_bytes,
            directory,
            disk,
            statement,
            mode,
            manifest: Manifest::default(),
        })
    }

    /// The disk.
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The pack, inside the physical root.
    pub fn pack_path(&self) -> String {
        format!("{}/pack/{}.pack", Self::STORE, self.statement.pack_digest)
    }

    /// The statement, inside the physical root.
    pub fn statement_path(&self) -> String {
        let Statement { commit, stream, .. } = &self.statement;
        format!("{}/pack/{commit}.{stream}.sign", Self::STORE)
    }

    /// The name of the deployment.
    pub fn deployment(&self) -> String {
        format!("{}.{}", self.statement.commit, Self::SERIAL)
    }

    /// The deployment, inside the physical root.
    pub fn deployment_path(&self) -> String {
        format!("{}/deploy/{}", Self::STORE, self.deployment())
    }

    /// The name, `XX/<rest>.file`, of the object with the content of a file of the tree.
    pub fn object_name(&self, path: &str) -> Result<String> {
        let digest = self.object_digest(path)?.to_hex();
        Ok(format!("{}/{}.file", &digest[..2], &digest[2..]))
    }

    /// The fs-verity digest of a file of the tree.
    pub fn object_digest(&self, path: &str) -> Result<VerityDigest> {
        let path = self.directory.path().join(TREE).join(path);
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(compute_verity_digest(&content))
    }

    /// The bytes of its pack, read from the disk behind the filesystem's back: this kernel may
    /// open no file with fs-verity.
    pub fn read_pack(&self) -> Result<Vec<u8>> {
        let copy = self.directory.path().join("pack");
        self.disk
            .debugfs(&format!("dump /{} {}", self.pack_path(), copy.display()))?;
        let bytes = fs::read(&copy)?;
        if compute_verity_digest(&bytes) != self.statement.pack_digest {
            bail!("the pack on the disk is not the one of its name");
        }
        Ok(bytes)
    }

    /// What a worker copies packs with, from `/mnt/source` onto the disk at `/mnt/root`.
    pub(crate) fn install_command(&self) -> [&'static str; 5] {
        let verity = match self.mode {
            Mode::Sealed | Mode::Verity => "verity",
            Mode::Integrity => "none",
        };
        ["/init", "install", "/mnt/source", "/mnt/root", verity]
    }

    /// That object among the shared ones, inside the physical root.
    pub fn shared_object_path(&self, path: &str) -> Result<String> {
        Ok(format!(
            "{}/objects/{}",
            Self::STORE,
            self.object_name(path)?
        ))
    }

    /// A copy of the disk for one attack. Gone when the directory is.
    pub fn spoil(
        &self,
        directory: &Path,
        change: impl FnOnce(Target<'_>) -> Result<Option<ProbeJob>>,
    ) -> Result<(Disk, Option<ProbeJob>)> {
        let disk = self.disk.copy_to(&directory.join("root.ext4"))?;
        let job = change(Target {
            disk: &disk,
            release: self,
        })?;
        Ok((disk, job))
    }

    /// A machine that boots a deployment from a disk; the disk stays as it is.
    pub fn machine(
        &self,
        kernel: &GuestKernel,
        layer: Layer,
        disk: &Disk,
        deployment: &str,
    ) -> Result<Vm> {
        let initramfs = self.initramfs(kernel, layer)?;
        Ok(Vm::new(kernel)
            .initramfs(&initramfs)
            .arguments(&format!("sealroot={deployment}"))
            .scratch_disk(Self::DISK_SERIAL, disk.path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic"))
    }

    /// The keyset by which it is verified.
    pub fn keyset_path(&self) -> PathBuf {
        self.directory.path().join("test.keyset")
    }

    /// The tree that it was built from.
    pub fn tree(&self) -> PathBuf {
        self.directory.path().join(TREE)
    }

    /// The key that the release is signed with.
    pub fn secret_key(&self) -> Result<SecretKey> {
        Ok(SecretKey::parse(&fs::read(
            self.directory.path().join("test.secret"),
        )?)?)
    }
}

/// The digests of the files below a directory that are too large for a pack.
fn digests_below(directory: &Path) -> Result<BTreeSet<VerityDigest>> {
    let mut digests = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            digests.extend(digests_below(&path)?);
        } else if kind.is_file() && entry.metadata()?.len() > DEFAULT_THRESHOLD_BYTES.into() {
            digests.insert(compute_verity_digest(&fs::read(&path)?));
        }
    }
    Ok(digests)
}

fn read_statement(store: &Path) -> Result<Statement> {
    for entry in fs::read_dir(store.join("pack"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "sign")
        {
            let document = Unverified::<Statement>::parse(&fs::read(&path)?)?;
            return Ok(Statement::parse(document.body())?);
        }
    }
    bail!("there is no statement in {}", store.display())
}

/// The kernel that releases are made and booted with.
pub fn usual_kernel() -> Option<GuestKernel> {
    GuestKernel::find(Series::V6_12)
}
