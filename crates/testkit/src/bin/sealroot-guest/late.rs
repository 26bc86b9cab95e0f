// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity that fails when most of it is done, and what that does to the next file with the same inode.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, linkat, openat};
use sealroot::check::{self, Depth};
use sealroot::monitor::Silent;
use sealroot::object::ObjectContent;
use sealroot::store::{Store, StoreError};
use sealroot_format::digest::compute_verity_digest;
use sealroot_sys::verity::{enable_signed_verity, enable_verity};
use sealroot_testkit::content;

/// The size of a file whose Merkle tree has 17 blocks.
const LARGE_BYTES: u64 = 8 << 20;

/// How many blocks are left for that tree where it is to find no space.
const TOO_FEW_BLOCKS: u64 = 8;

/// The size of a file that takes the kernel a while.
const SLOW_BYTES: u64 = 96 << 20;

/// How long it is left to it.
const BEFORE_THE_KILL: Duration = Duration::from_millis(20);

/// Files that come afterwards.
const LATER_FILES: u64 = 8;

const BLOCK_BYTES: u64 = 4096;

/// Has fs-verity fail on a file without a name; then other files come and get it, one of them with that
/// inode.
pub(crate) fn fail_unnamed(cause: &str, directory: &Path) -> Result<()> {
    let inode = match cause {
        "refused" => {
            let file = unnamed(directory, LARGE_BYTES)?;
            let refused = enable_signed_verity(&file, b"no signature");
            ensure!(refused.is_err(), "it was not refused");
            file.metadata()?.ino()
        }
        "full" => {
            let file = unnamed(directory, LARGE_BYTES)?;
            file.sync_all()?;
            let _ballast = Ballast::leave(directory, TOO_FEW_BLOCKS)?;
            ensure!(enable_verity(&file).is_err(), "there was space");
            file.metadata()?.ino()
        }
        "killed" => {
            let mut child = again(&["seal-slowly"], directory)?;
            let mut line = String::new();
            let mut told = child.stdout.take().context("its output")?;
            while !line.ends_with('\n') {
                let mut byte = [0];
                told.read_exact(&mut byte)?;
                line.push(char::from(byte[0]));
            }
            kill(&mut child)?;
            line.trim_end().parse()?
        }
        other => bail!("unknown cause {other:?}"),
    };
    let mut inodes = Vec::new();
    for number in 0..LATER_FILES {
        let file = unnamed(directory, 300_000)?;
        enable_verity(&file)?;
        let path = directory.join(format!("later-{number}"));
        linkat(CWD, proc_path(&file), CWD, &path, AtFlags::SYMLINK_FOLLOW)?;
        inodes.push(file.metadata()?.ino());
    }
    ensure!(
        inodes.contains(&inode),
        "inode {inode} is not among {inodes:?}"
    );
    Ok(())
}

/// Enables fs-verity on a large file without a name, after it has said which inode that has.
pub(crate) fn seal_slowly(directory: &Path) -> Result<()> {
    let file = unnamed(directory, SLOW_BYTES)?;
    file.sync_all()?;
    println!("{}", file.metadata()?.ino());
    io::stdout().flush()?;
    enable_verity(&file)?;
    bail!("it was too fast")
}

/// Has fs-verity fail on an object of a new store; then others come, one of them with the same inode.
pub(crate) fn fail_in_store(cause: &str, directory: &Path) -> Result<()> {
    let location = directory.join("store");
    let store = Store::open_or_create(&location)?;
    // What comes next has the least that is free.
    let inode = unnamed(&location.join("objects"), 0)?.metadata()?.ino();
    match cause {
        "full" => {
            let blocks = LARGE_BYTES / BLOCK_BYTES + TOO_FEW_BLOCKS;
            let _ballast = Ballast::leave(directory, blocks)?;
            match add_large(&store, LARGE_BYTES) {
                Err(StoreError::NoSpace { operation, .. }) => {
                    ensure!(
                        operation == "enable fs-verity on",
                        "no space to {operation}"
                    );
                }
                other => bail!("no lack of space, but {other:?}"),
            }
        }
        "killed" => {
            let mut child = again(&["store-slowly"], &location)?;
            while !is_sealing(&location)? {
                ensure!(child.try_wait()?.is_none(), "it ended too early");
                thread::sleep(Duration::from_millis(1));
            }
            kill(&mut child)?;
        }
        other => bail!("unknown cause {other:?}"),
    }
    let transaction = store.begin(&Silent)?;
    for seed in 0..LATER_FILES {
        let bytes = content::bytes(seed, 300_000);
        let digest = compute_verity_digest(&bytes);
        transaction.add_object(&digest, bytes.len() as u64, ObjectContent::Hashed(&bytes))?;
    }
    transaction.finish()?;
    let inodes = inodes_below(&location.join("objects"))?;
    ensure!(
        inodes.contains(&inode),
        "inode {inode} is not among {inodes:?}"
    );
    Ok(())
}

/// Adds an object to a store that takes the kernel a while.
pub(crate) fn store_slowly(location: &Path) -> Result<()> {
    add_large(&Store::open(location)?, SLOW_BYTES)?;
    bail!("it was too fast")
}

fn add_large(store: &Store, size_bytes: u64) -> Result<(), StoreError> {
    let transaction = store.begin(&Silent)?;
    transaction.add_unknown(size_bytes, |out| {
        io::copy(&mut io::repeat(7).take(size_bytes), out).map(drop)
    })?;
    transaction.finish().map(drop)
}

/// Whether fs-verity is being enabled on a file for a store.
fn is_sealing(location: &Path) -> Result<bool> {
    for entry in fs::read_dir(location.join("tmp"))? {
        if entry?.file_name().as_bytes().starts_with(b"sealing-") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Prints how many of the files that came later are not what they were.
pub(crate) fn count_harmed(directory: &Path) -> Result<()> {
    let location = directory.join("store");
    if location.exists() {
        let report = check::check(&Store::open(&location)?, Depth::Full, &Silent)?;
        eprintln!("{:?}", report.findings);
        println!("{}", report.findings.len());
        return Ok(());
    }
    let mut harmed = 0;
    for number in 0..LATER_FILES {
        let path = directory.join(format!("later-{number}"));
        if let Err(error) = fs::read(&path) {
            eprintln!("{}: {error}", path.display());
            harmed += 1;
        }
    }
    println!("{harmed}");
    Ok(())
}

/// A new file without a name, open for reading.
fn unnamed(directory: &Path, size_bytes: u64) -> Result<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let writer = File::from(openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(&mut io::repeat(7).take(size_bytes), &mut &writer)?;
    Ok(File::open(proc_path(&writer))?)
}

fn proc_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn inodes_below(directory: &Path) -> Result<Vec<u64>> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            inodes.extend(inodes_below(&entry.path())?);
        } else {
            inodes.push(entry.metadata()?.ino());
        }
    }
    Ok(inodes)
}

/// A file that takes nearly all space while it is there.
struct Ballast(PathBuf);

impl Ballast {
    fn leave(directory: &Path, blocks: u64) -> Result<Self> {
        let ballast = Self(directory.join("ballast"));
        let file = File::create(&ballast.0)?;
        let mut len_bytes = 0;
        for step_bytes in [1 << 20, BLOCK_BYTES] {
            let empty = FallocateFlags::empty();
            while rustix::fs::fallocate(&file, empty, len_bytes, step_bytes).is_ok() {
                len_bytes += step_bytes;
            }
        }
        file.set_len(len_bytes.saturating_sub(blocks * BLOCK_BYTES))?;
        // What was freed is free when that is durable.
        rustix::fs::sync();
        Ok(ballast)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        rustix::fs::sync();
    }
}

/// This program once more.
fn again(words: &[&str], path: &Path) -> Result<Child> {
    let mut command = Command::new("/init");
    command.args(words).arg(path).stdout(Stdio::piped());
    command.spawn().context("starting it once more")
}

fn kill(child: &mut Child) -> Result<()> {
    thread::sleep(BEFORE_THE_KILL);
    child.kill()?;
    let status = child.wait()?;
    ensure!(status.code().is_none(), "it ended by itself: {status}");
    Ok(())
}
