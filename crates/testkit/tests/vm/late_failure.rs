// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity that fails when most of it is done: ext4 then damages another file at the next mount, unless the
//! file had a name.

use std::time::Duration;

use anyhow::{Result, ensure};
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::Worker;
use sealroot_testkit::kernel::{GuestKernel, Series};

/// What fails, and how many files are harmed.
const CASES: [(&str, &str, &str, &str); 5] = [
    ("refused", "fail-unnamed", "refused", "1"),
    ("full", "fail-unnamed", "full", "1"),
    ("killed", "fail-unnamed", "killed", "1"),
    ("store-full", "fail-in-store", "full", "0"),
    ("store-killed", "fail-in-store", "killed", "0"),
];

// Rules: L6
#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn what_fails_late_in_a_store_harms_no_other_file() -> Result<()> {
    let Some(kernel) = GuestKernel::find(Series::V6_12) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let mut worker = Worker::new(&kernel, &[])?;
    for (disk, command, cause, _) in CASES {
        let image = directory.path().join(disk);
        Disk::create(&image, Filesystem::Ext4Verity, 256, None)?;
        worker.mount(disk, &image, "ext4");
        let point = format!("/mnt/{disk}");
        worker.command(["/init", command, cause, &point]);
        worker.command(["/init", "umount", &point]);
        worker.command(["/init", "mount", disk, &point, "ext4"]);
        worker.command(["/init", "count-harmed", &point]);
    }
    let report = worker.run(Duration::from_secs(300))?;
    let mut counts = (report.commands.iter())
        .filter(|done| done.command.iter().any(|word| word == "count-harmed"));
    for (disk, .., expected) in CASES {
        let done = counts.next().map(|done| (done.output.trim(), &done.errors));
        let is_expected = done.is_some_and(|(harmed, _)| harmed == expected);
        ensure!(is_expected, "{disk}: {done:?}, expected {expected}");
    }
    Ok(())
}
