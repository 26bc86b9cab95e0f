// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store's own tests once more, where the kernel has fs-verity.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_testkit::binaries::cargo;
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
    worker.add_file("store-tests", &test_program()?)?;
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

/// The store's tests as a static program.
fn test_program() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let output = cargo()
        .args([
            "test",
            "--quiet",
            "--package",
            "sealroot",
            "--test",
            "store",
        ])
        .args(["--no-run", "--message-format=json", "--profile", "guest"])
        .args(["--target", TARGET, "--target-dir", "target/static"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "building the tests: {errors}");
    let messages = String::from_utf8(output.stdout)?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_tests = message["target"]["name"] == "store";
        let path = message["executable"].as_str().filter(|_| is_tests)?;
        Some(Path::new(path).to_owned())
    });
    programs.next_back().context("cargo names no program")
}
