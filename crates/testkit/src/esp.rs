// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that firmware boots from: one FAT filesystem, without partitions or in one.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::disk::{Disk, succeed};
use crate::need;

/// Where firmware looks on a disk that it knows nothing of.
pub const DEFAULT_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

/// Where the partition of [`create_partitioned`] begins, in bytes.
const PARTITION_AT: u64 = 1 << 20;

/// Makes a disk with a GPT, and on it one EFI system partition of `size_mib` without files.
pub fn create_partitioned(path: &Path, size_mib: u64) -> Result<Disk> {
    let filesystem = path.with_extension("filesystem");
    create(&filesystem, size_mib, &[])?;
    let disk = fs::File::create(path)?;
    // The second table lies behind the partition.
    disk.set_len(PARTITION_AT + ((size_mib + 1) << 20))?;
    let sfdisk = need::find_tool("sfdisk").context("sfdisk is missing")?;
    let table = path.with_extension("table");
    fs::write(
        &table,
        format!("label: gpt\nstart=1MiB, size={size_mib}MiB, type=uefi\n"),
    )?;
    let mut command = Command::new("sh");
    command
        .args(["-c", "\"$0\" --quiet \"$1\" < \"$2\""])
        .arg(sfdisk);
    succeed(command.arg(path).arg(&table))?;
    disk.write_all_at(&fs::read(&filesystem)?, PARTITION_AT)?;
    fs::remove_file(filesystem)?;
    Ok(Disk::open(path))
}

/// Makes a disk of `size_mib` with these files.
pub fn create(path: &Path, size_mib: u64, files: &[(&str, &[u8])]) -> Result<Disk> {
    fs::File::create(path)?.set_len(size_mib << 20)?;
    let mkfs = need::find_tool("mkfs.vfat").context("mkfs.vfat is missing")?;
    succeed(Command::new(mkfs).args(["-n", "ESP"]).arg(path))?;
    if files.is_empty() {
        return Ok(Disk::open(path));
    }
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
