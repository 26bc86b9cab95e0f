// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process 1 of a guest that boots as systems do whose root nobody verifies: what a verified boot is
//! compared with.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount, mount_move};
use sealroot_testkit::guest::PLAIN_BOOT_PATH;

use crate::machine;

/// Where an initramfs of ours has its modules.
const MODULES: &str = "/usr/lib/sealroot/modules";

const ROOT: &str = "/plain";

pub(crate) fn run() -> Result<()> {
    machine::mount_basics()?;
    machine::load_modules(MODULES)?;
    let serial = fs::read_to_string(PLAIN_BOOT_PATH)?;
    machine::mount_disk(serial.trim_end(), ROOT, "ext4", true)?;
    for name in ["dev", "proc", "sys", "run"] {
        mount_move(format!("/{name}"), format!("{ROOT}/{name}"))
            .with_context(|| format!("moving {name}"))?;
    }
    mount(
        "tmpfs",
        format!("{ROOT}/tmp"),
        "tmpfs",
        MountFlags::empty(),
        None,
    )?;
    std::env::set_current_dir(ROOT)?;
    mount_move(".", "/").context("moving the root")?;
    rustix::process::chroot(".").context("changing to the root")?;
    std::env::set_current_dir("/")?;
    Err(Command::new("/sbin/init").exec()).context("starting init")
}
