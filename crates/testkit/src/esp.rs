// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that firmware boots from: one FAT filesystem, without partitions.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::disk::{Disk, succeed};
use crate::need;

/// Where firmware looks on a disk that it knows nothing of.
pub const DEFAULT_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

/// Makes a disk of `size_mib` with these files.
pub fn create(path: &Path, size_mib: u64, files: &[(&str, &[u8])]) -> Result<Disk> {
    fs::File::create(path)?.set_len(size_mib << 20)?;
    let mkfs = need::find_tool("mkfs.vfat").context("mkfs.vfat is missing")?;
    succeed(Command::new(mkfs).args(["-n", "ESP"]).arg(path))?;
    let staged = tempfile::tempdir()?;
    for (name, content) in files {
        let file = staged.path().join(name);
        fs::create_dir_all(file.parent().context("a file's directory")?)?;
        fs::write(file, content)?;
    }
    let mut copy = Command::new(need::find_tool("mcopy").context("mcopy is missing")?);
    copy.arg("-i").arg(path).arg("-s");
    for entry in fs::read_dir(staged.path())? {
        copy.arg(entry?.path());
    }
    succeed(copy.arg("::/"))?;
    Ok(Disk::open(path))
}
