// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot entries on real filesystems: every write that a kernel sends to the disk is logged, and the
//! power is cut after each of them and in between (A57, A59).
//!
//! The judges read the disk as a boot loader does, without the kernel: FAT by mtools, ext4 by
//! debugfs, which replays no journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_testkit::boot_files::bootable;
use sealroot_testkit::guest::Worker;
use sealroot_testkit::kernel::{GuestKernel, Series};
use sealroot_testkit::need;
use sealroot_testkit::write_log::{PowerCut, WriteLog};

const TIME_OUT: Duration = Duration::from_secs(300);

/// How often what boots is changed.
const CHANGES: &str = "9";

/// Power cuts that are judged, at the least.
const MIN_CUTS: usize = 300;

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_power_cut_leaves_something_that_boots_on_fat() -> Result<()> {
    let make = ["mkfs.vfat", "-F", "16", "-s", "4"];
    let modules = ["vfat", "nls_cp437", "nls_ascii", "nls_utf8"];
    cut_everywhere(&make, "vfat", "systemd-boot", &modules, "mdir", read_fat)
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_power_cut_leaves_something_that_boots_on_ext4() -> Result<()> {
    let make = ["mkfs.ext4", "-q", "-F", "-b", "4096"];
    cut_everywhere(&make, "ext4", "grub", &[], "debugfs", read_ext4)
}

fn cut_everywhere(
    make: &[&str],
    kind: &str,
    loader: &str,
    modules: &[&str],
    judge: &str,
    read: fn(&Path, &Path) -> Result<()>,
) -> Result<()> {
    let (Some(kernel), Some(mkfs), Some(_), Some(_)) = (
        GuestKernel::find(Series::V6_12),
        need::tool(make[0]),
        need::tool(judge),
        need::tool("qemu-system-x86_64"),
    ) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let (image, log) = (directory.path().join("disk"), directory.path().join("log"));
    fs::File::create(&image)?.set_len(16 << 20)?;
    let made = Command::new(mkfs).args(&make[1..]).arg(&image).output()?;
    ensure!(made.status.success(), "{made:?}");
    let before = fs::read(&image)?;

    let mut worker = Worker::new(&kernel, modules)?;
    worker.mount_logged("boot", &image, &log, kind);
    worker.command(["/init", "boot-entries", "/mnt/boot", loader, CHANGES]);
    worker.command(["/init", "umount", "/mnt/boot"]);
    let report = worker.run(TIME_OUT)?;
    let output = &report.commands[1].output;

    let log = WriteLog::read(&log)?;
    let flushes = log.flushes();
    ensure!(flushes.len() > 20, "{} flushes: {output}", flushes.len());
    let judge = Judge {
        image: directory.path().join("crashed"),
        files: directory.path().join("files"),
        read,
    };
    let default = |cut| judge.default(&log.crash(&before, cut), cut);
    // What boots when everything has reached the disk, after each flush.
    let settled = (flushes.iter())
        .map(|&after| default(PowerCut { after, seed: 0 }))
        .collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = output
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    ensure!(
        settled.last().and_then(Option::as_deref) == names.last().copied(),
        "{settled:?} {output}"
    );
    for name in &names {
        // Blessed ones lose their tries in between.
        ensure!(
            settled.iter().flatten().any(|seen| seen == name),
            "{name} never booted: {settled:?}"
        );
    }

    let step = log.len().div_ceil(MIN_CUTS / 2).max(1);
    let mut cuts = 0;
    for after in (0..log.len()).step_by(step) {
        let next = flushes.partition_point(|&flush| flush <= after);
        let old = next.checked_sub(1).and_then(|at| settled[at].clone());
        let new = settled.get(next).cloned().unwrap_or_else(|| old.clone());
        for seed in [0, 1 + after as u64, 100_000 + after as u64] {
            let cut = PowerCut { after, seed };
            let found = default(cut)?;
            ensure!(
                found == old || found == new,
                "{cut:?}: {found:?}, was {old:?}, becomes {new:?}"
            );
            cuts += 1;
        }
    }
    println!(
        "{kind}: {} writes, {} flushes, {cuts} power cuts",
        log.len(),
        flushes.len()
    );
    ensure!(cuts >= MIN_CUTS, "{cuts} power cuts");
    Ok(())
}

/// Reads crashed disks.
struct Judge {
    image: std::path::PathBuf,
    files: std::path::PathBuf,
    read: fn(&Path, &Path) -> Result<()>,
}

impl Judge {
    /// The entry that boots, if one does; an error if one is shown that does not.
    fn default(&self, disk: &[u8], cut: PowerCut) -> Result<Option<String>> {
        fs::write(&self.image, disk)?;
        let _ = fs::remove_dir_all(&self.files);
        fs::create_dir(&self.files)?;
        (self.read)(&self.image, &self.files)?;
        let mut files = BTreeMap::new();
        collect(&self.files, "", &mut files)?;
        let entries = bootable(&files).map_err(|error| anyhow::anyhow!("{cut:?}: {error}"))?;
        // systemd-boot has entries that were tried in vain last; there are none here.
        Ok(entries.into_iter().next().map(|(name, _)| name))
    }
}

fn collect(directory: &Path, path: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .ok()
            .context("a name that is no UTF-8")?;
        let path = format!("{path}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else {
            files.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// A file that cannot be read, because it is just being removed, is not there for a loader either.
fn read_fat(image: &Path, files: &Path) -> Result<()> {
    let tool = |name: &str| -> Result<Command> {
        let program = need::find_tool(name).with_context(|| format!("{name} is missing"))?;
        let mut command = Command::new(program);
        command.env("MTOOLS_SKIP_CHECK", "1");
        Ok(command)
    };
    let list = |directory: &str| -> Result<Vec<String>> {
        let listed = tool("mdir")?
            .args(["-b", "-i"])
            .arg(image)
            .arg(directory)
            .output()?;
        let text = String::from_utf8(listed.stdout)?;
        Ok(text.lines().map(|line| line.trim().to_owned()).collect())
    };
    let copy = |path: &str| -> Result<Vec<u8>> {
        let target = files.join(path.strip_prefix("::/").context("a path on the disk")?);
        fs::create_dir_all(target.parent().context("a directory")?)?;
        let mut copy = tool("mcopy")?;
        copy.args(["-n", "-Q", "-i"])
            .arg(image)
            .arg(path)
            .arg(&target);
        if !copy.output()?.status.success() {
            let _ = fs::remove_file(&target);
        }
        Ok(fs::read(target).unwrap_or_default())
    };
    let mut texts = String::new();
    for path in list("::/loader/entries")? {
        texts.push_str(&String::from_utf8_lossy(&copy(&path)?));
    }
    for directory in list("::/sealroot")? {
        let name = directory.trim_start_matches("::/").trim_end_matches('/');
        if texts.contains(name) {
            copy(&format!("::/{name}/linux"))?;
            copy(&format!("::/{name}/initrd"))?;
        }
    }
    Ok(())
}

/// Without a look at checksums: loaders know none.
fn read_ext4(image: &Path, files: &Path) -> Result<()> {
    let mut command = Command::new(need::find_tool("debugfs").context("debugfs is missing")?);
    let request = format!("rdump / {}", files.display());
    command.args(["-n", "-R", &request]).arg(image).output()?;
    Ok(())
}
