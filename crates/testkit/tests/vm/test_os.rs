// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test OS: what the guest sees of its source disk is what was put there.

use std::time::Duration;

use anyhow::Result;
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::Worker;
use sealroot_testkit::manifest::{Comparison, Manifest};
use sealroot_testkit::release::usual_kernel;
use sealroot_testkit::{need, os_tree};

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn the_source_disk_is_the_tree() -> Result<()> {
    let (Some(kernel), true) = (usual_kernel(), need::root()) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let tree = directory.path().join("source/tree");
    std::fs::create_dir_all(&tree)?;
    os_tree::create(&tree, &Program::Guest.build()?)?;
    let image = directory.path().join("disk");
    let disk = Disk::create(&image, Filesystem::Ext4Verity, 96, tree.parent())?;
    let mut worker = Worker::new(&kernel, &[])?;
    worker.mount("source", disk.path(), "ext4");
    worker.command(["/init", "manifest", "/mnt/source/tree"]);
    let report = worker.run(Duration::from_secs(120))?;
    let seen: Manifest = serde_json::from_str(&report.commands[1].output)?;
    assert!(seen.entries.len() > 400);
    assert_eq!(seen.compare(&Manifest::read(&tree)), Comparison::default());
    Ok(())
}
