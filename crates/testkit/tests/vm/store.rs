// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store's own tests once more, where the kernel has fs-verity.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::Worker;
use sealroot_testkit::kernel::{GuestKernel, Series};

/// Those that use the kernel and need no other program.
const TESTS: [&str; 6] = [
    "objects::",
    "deployments::",
    "check::",
    "hostile::",
    "processes::",
    "foreign::",
];

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn the_store_keeps_its_promises_with_verity_on_ext4() -> Result<()> {
    run(Filesystem::Ext4Verity, "ext4", &[])
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn the_store_keeps_its_promises_with_verity_on_btrfs() -> Result<()> {
    run(Filesystem::Btrfs, "btrfs", &["btrfs"])
}

fn run(filesystem: Filesystem, kind: &str, modules: &[&str]) -> Result<()> {
    let Some(kernel) = GuestKernel::find(Series::V6_12) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let disk = Disk::create(&directory.path().join("disk"), filesystem, 512, None)?;
    let mut worker = Worker::new(&kernel, modules)?;
    worker.add_file("store-tests", &Program::StoreTests.build()?)?;
    worker.mount("data", disk.path(), kind);
    // Once more, where temporary files go.
    worker.command(["/init", "mount", "data", "/tmp", kind]);
    let options = ["--include-ignored", "--nocapture", "--test-threads=2"];
    worker.command(["/store-tests"].into_iter().chain(TESTS).chain(options));
    let report = worker.run(Duration::from_secs(900))?;
    let tests = report.commands.last().context("the tests")?;
    let said = format!("{}\n{}", tests.output, tests.errors);
    ensure!(said.contains("test result: ok"), "{said}");
    Ok(())
}
