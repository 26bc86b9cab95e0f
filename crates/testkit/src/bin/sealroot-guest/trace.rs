// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process 1 of a guest that traces its boot: becomes the boot program, with strace beside it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sealroot_testkit::guest::TRACED_BOOT_PATH;

use crate::machine;

/// The report port where what the boot program mounts does not hide it.
const PORT: &str = "/report-port";

pub(crate) fn run() -> Result<()> {
    machine::mount_basics()?;
    let device = fs::metadata(machine::report_port()?)?.rdev();
    mknodat(
        CWD,
        PORT,
        FileType::CharacterDevice,
        Mode::RUSR | Mode::WUSR,
        device,
    )?;
    // With -D the tracer is another process, and this one becomes the boot program.
    let mut strace = Command::new("/usr/bin/strace");
    strace.args([
        "-D",
        "-y",
        "-s",
        "0",
        "--quiet=all",
        "-o",
        PORT,
        TRACED_BOOT_PATH,
    ]);
    Err(strace.exec()).context("starting strace")
}
