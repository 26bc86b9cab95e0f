// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disk images: made whole, copied, mounted on the host, written to behind a filesystem's back.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::need;

/// What a filesystem is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4 without the feature that fs-verity needs.
    Ext4,
    /// ext4 with it.
    Ext4Verity,
    /// btrfs, which needs no feature.
    Btrfs,
}

/// An image file.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Makes a filesystem of `size_mib` in a new image, filled from `source` if there is one.
    /// Owners, modes, times and xattrs are those of `source`, which takes root to read.
    pub fn create(
        path: &Path,
        filesystem: Filesystem,
        size_mib: u64,
        source: Option<&Path>,
    ) -> Result<Self> {
        let image = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        image.set_len(size_mib * 1024 * 1024)?;
        let (program, options, from): (_, &[&str], _) = match filesystem {
            Filesystem::Ext4 => (
                "mkfs.ext4",
                &["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=1"],
                "-d",
            ),
            Filesystem::Ext4Verity => (
                "mkfs.ext4",
                &[
                    "-q",
                    "-F",
                    "-b",
                    "4096",
                    "-O",
                    "verity",
                    "-E",
                    "lazy_itable_init=1",
                ],
                "-d",
            ),
            Filesystem::Btrfs => ("mkfs.btrfs", &["--quiet"], "--rootdir"),
        };
        let program = need::find_tool(program).with_context(|| format!("{program} is missing"))?;
        let mut command = Command::new(program);
        command.args(options);
        if let Some(source) = source {
            command.arg(from).arg(source);
        }
        succeed(command.arg(path))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// An image that is there already.
    pub fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The image file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A copy that shares no change with this one; holes stay holes.
    pub fn copy_to(&self, path: &Path) -> Result<Self> {
        succeed(
            Command::new("cp")
                .args(["--sparse=always", "--reflink=auto"])
                .arg(&self.path)
                .arg(path),
        )?;
        Ok(Self::open(path))
    }

    /// Runs `change` on the mounted filesystem. Needs root. A host kernel without fs-verity opens
    /// no file that has it; names, modes and xattrs can be changed all the same.
    pub fn mounted<T>(&self, change: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let point = tempfile::tempdir()?;
        succeed(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&self.path)
                .arg(point.path()),
        )?;
        let result = change(point.path());
        let unmounted = succeed(Command::new("umount").arg(point.path()));
        let result = result?;
        unmounted?;
        Ok(result)
    }

    /// Gives an ext4 filesystem a label.
    pub fn set_label(&self, label: &str) -> Result<()> {
        let program = need::find_tool("e2label").context("e2label is missing")?;
        succeed(Command::new(program).arg(&self.path).arg(label)).map(drop)
    }

    /// Runs one command of debugfs, with writing allowed; what it says.
    pub fn debugfs(&self, request: &str) -> Result<String> {
        self.debugfs_with(&[OsStr::new("-R"), OsStr::new(request)])
            .with_context(|| format!("debugfs {request:?}"))
    }

    fn debugfs_with(&self, arguments: &[&OsStr]) -> Result<String> {
        let program = need::find_tool("debugfs").context("debugfs is missing")?;
        let output = Command::new(program)
            .arg("-w")
            .args(arguments)
            .arg(&self.path)
            .stdin(Stdio::null())
            .output()
            .context("starting debugfs")?;
        // It succeeds whatever happens; errors are what stands on its standard error beyond the
        // version.
        let errors = String::from_utf8_lossy(&output.stderr);
        if let Some(error) = errors.lines().find(|line| !line.starts_with("debugfs ")) {
            bail!("debugfs: {error}");
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs many commands of debugfs, one a line, of which each must succeed.
    pub fn debugfs_script(&self, script: &str) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(script.as_bytes())?;
        self.debugfs_with(&[OsStr::new("-f"), file.path().as_os_str()])
            .map(drop)
    }

    /// The block on the disk, in blocks of 4096 bytes, that holds block `index` of a file.
    pub fn block_of(&self, path: &str, index: u64) -> Result<u64> {
        let text = self.debugfs(&format!("bmap {path} {index}"))?;
        let block: u64 = text
            .trim()
            .parse()
            .with_context(|| format!("debugfs gave {text:?} for block {index} of {path}"))?;
        if block == 0 {
            bail!("block {index} of {path} is a hole");
        }
        Ok(block)
    }

    /// Changes bytes of one block of the disk in place.
    pub fn patch_block(&self, block: u64, change: impl FnOnce(&mut [u8; 4096])) -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let mut bytes = [0; 4096];
        file.read_exact_at(&mut bytes, block * 4096)?;
        change(&mut bytes);
        file.write_all_at(&bytes, block * 4096)?;
        Ok(())
    }

    /// Deletes the image.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}

/// Runs a command; an error with its output unless it succeeds.
pub fn succeed(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}
