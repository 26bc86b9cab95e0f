// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several boots on one machine: for each disk the initramfs is copied into new namespaces, and
//! its `/init` started there as process 1, as the kernel would.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, mount, mount_move};
use sealroot_format::policy::POLICY_PATH;
use sealroot_testkit::guest::{
    EXT4_MAGIC_AT, POLICIES_PATH, REQUIRE_SIGNATURES, TRIES_PATH, TRIES_PROGRAM, TRY_MARKER,
};

use crate::machine;

/// Where the boot program's modules lie.
const MODULES: &str = "/usr/lib/sealroot/modules";

/// Where a copy of the initramfs is made.
const PLACE: &str = "/mnt";

/// How often, every 10 ms, a disk is looked at before it counts as still in use.
const RELEASE_TRIES: u32 = 1000;

/// What power-off does to process 1 of a namespace that is not the machine's.
const SIGINT: i32 = 2;

/// Tries each disk of the list.
pub(crate) fn run() -> Result<()> {
    machine::mount_basics()?;
    machine::load_modules(MODULES)?;
    let serials = fs::read(TRIES_PATH).with_context(|| format!("reading {TRIES_PATH}"))?;
    let serials: Vec<String> = serde_json::from_slice(&serials).context("parsing the list")?;
    for serial in &serials {
        let marker = format!("{TRY_MARKER}{serial}\n");
        print!("\n{marker}");
        machine::report(marker.as_bytes())?;
        toggle_magic(serial)?;
        require_signatures()?;
        let status = Command::new(TRIES_PROGRAM).args(["try", serial]).status();
        machine::report(b"\n")?;
        println!("\nsealroot-guest: {serial} ended with {status:?}");
        toggle_magic(serial)?;
    }
    Ok(())
}

/// Leaves the kernel as root may leave it, or a kernel parameter: no file with fs-verity opens that has
/// no signature. Every boot must get by with that.
fn require_signatures() -> Result<()> {
    fs::write(REQUIRE_SIGNATURES, "1").context(REQUIRE_SIGNATURES)
}

/// Shows a hidden disk, or hides it, as soon as nothing uses it.
fn toggle_magic(serial: &str) -> Result<()> {
    /// Refused while the disk is mounted.
    const O_EXCL: i32 = 0o200;
    let path = machine::wait_for(|| machine::find_disk(serial)).context("no such disk")?;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(O_EXCL);
    let mut left = RELEASE_TRIES;
    let disk = loop {
        match options.open(&path) {
            Ok(disk) => break disk,
            Err(error) if left == 0 => {
                return Err(error).with_context(|| format!("{serial} is still in use"));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
        left -= 1;
    };
    let mut magic = [0; 2];
    disk.read_exact_at(&mut magic, EXT4_MAGIC_AT)?;
    disk.write_all_at(&magic.map(|byte| !byte), EXT4_MAGIC_AT)?;
    Ok(disk.sync_all()?)
}

/// Boots in namespaces of its own, with the disk's policy where it has one.
pub(crate) fn attempt(serial: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).context("new namespaces")?;
    mount("tmpfs", PLACE, "tmpfs", MountFlags::empty(), None).context("a tmpfs")?;
    for name in ["dev", "proc", "run", "sys"] {
        fs::create_dir(Path::new(PLACE).join(name))?;
    }
    for name in ["init", "etc", "usr"] {
        let from = Path::new("/").join(name);
        copy(&from, &Path::new(PLACE).join(name))
            .with_context(|| format!("copying {}", from.display()))?;
    }
    let policy = Path::new(POLICIES_PATH).join(serial);
    if policy.exists() {
        let place = Path::new(PLACE).join(POLICY_PATH);
        fs::copy(&policy, place).context("copying the policy")?;
    }
    rustix::process::chdir(PLACE)?;
    mount_move(".", "/").context("moving the copy to /")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    let status = Command::new("/init")
        .env_clear()
        .envs([("HOME", "/"), ("TERM", "linux")])
        .status()
        .context("starting /init")?;
    ensure!(status.signal() == Some(SIGINT), "/init ended with {status}");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return Ok(());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
