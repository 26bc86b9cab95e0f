// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity digests: the kernel's, the `fsverity` tool's and ours are the same (A19).

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sealroot_format::digest::compute_verity_digest;
use sealroot_testkit::attack::tally::Tally;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::Worker;
use sealroot_testkit::kernel::{GuestKernel, Series};
use sealroot_testkit::{content, need};

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn digests_are_those_of_the_kernel_on_ext4() -> Result<()> {
    compare(Filesystem::Ext4Verity, "ext4", &[])
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn digests_are_those_of_the_kernel_on_btrfs() -> Result<()> {
    compare(Filesystem::Btrfs, "btrfs", &["btrfs"])
}

fn compare(filesystem: Filesystem, kind: &str, modules: &[&str]) -> Result<()> {
    let (Some(kernel), Some(fsverity)) = (GuestKernel::find(Series::V6_12), need::tool("fsverity"))
    else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("disk");
    let disk = Disk::create(&image, filesystem, 512, None)?;
    let mut worker = Worker::new(&kernel, modules)?;
    worker.mount("data", disk.path(), kind);
    worker.command(["/init", "verity-sizes", "/mnt/data"]);
    let report = worker.run(Duration::from_secs(400))?;
    let mut compared = 0;
    let file = directory.path().join("file");
    for line in report.commands[1].output.lines() {
        let (size, kernels) = line.split_once(' ').context("a line of two words")?;
        let size_bytes: u64 = size.parse()?;
        let bytes = content::bytes(size_bytes, usize::try_from(size_bytes)?);
        let ours = compute_verity_digest(&bytes).to_hex();
        assert_eq!(kernels, ours, "{size_bytes} bytes, our digest");
        fs::write(&file, &bytes)?;
        let tool = Command::new(&fsverity)
            .args(["digest", "--compact"])
            .arg(&file)
            .output()?;
        let tool = String::from_utf8(tool.stdout)?;
        assert_eq!(
            kernels,
            tool.trim_end(),
            "{size_bytes} bytes, the fsverity tool"
        );
        compared += 1;
    }
    assert!(compared >= 500, "only {compared} sizes");
    Tally::write_one(&format!("digests-{kind}"), "A19", "-", false)
}
