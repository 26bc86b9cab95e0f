// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test program inside guests.
//!
//! As process 1 it runs the job of its initramfs (see [`sealroot_testkit::guest`]). Otherwise it
//! is a handful of commands for such jobs.

#![forbid(unsafe_code)]

mod machine;
mod verity;
mod worker;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    if rustix::process::getpid().is_init() {
        let result = worker::run();
        if let Err(error) = &result {
            println!("sealroot-guest: {error:#}");
        }
        machine::power_off();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["mount", serial, target, kind] => machine::mount_disk(serial, target, kind, false),
        ["mount-ro", serial, target, kind] => machine::mount_disk(serial, target, kind, true),
        ["umount", target] => machine::unmount(target),
        ["verity-sizes", directory] => verity::measure_sizes(directory),
        other => bail!("unknown command {other:?}"),
    }
}
