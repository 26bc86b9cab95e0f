// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bad block on the disk, behind a measurement that is right (A17), found and healed while it is mounted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::content;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::{JobReport, Worker};
use sealroot_testkit::kernel::{GuestKernel, Series};

/// The large file of the release, which is an object.
const FILE: &str = "tree/usr/bin/large";
const FILE_BYTES: usize = 100_000;

/// How the command is called in the guest.
const STORE: [&str; 3] = ["/sealroot", "--store", "/mnt/data/store"];

/// How long a guest may take.
const TIME_OUT: Duration = Duration::from_secs(400);

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_bad_block_is_healed_on_ext4() -> Result<()> {
    let Some(kernel) = GuestKernel::find(Series::V6_12) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("large");
    fs::write(&file, content::bytes(1, FILE_BYTES))?;
    let disk = Disk::create(
        &directory.path().join("disk"),
        Filesystem::Ext4Verity,
        256,
        None,
    )?;

    run(&kernel, &disk, &file, &|worker| {
        let build = [
            "build",
            "--dir",
            "/tree",
            "--os",
            "exampleos",
            "--stream",
            "stable",
        ];
        for store in ["/mnt/data/store", "/mnt/data/copy"] {
            let index = ["--index", "1"];
            worker.command(
                ["/sealroot", "--store", store]
                    .into_iter()
                    .chain(build)
                    .chain(index),
            );
        }
    })?;
    let object = object_path(&disk)?;
    let block = disk.block_of(&object, 3)?;
    disk.patch_block(block, |bytes| bytes[17] ^= 1)?;

    let healed = run(&kernel, &disk, &file, &|worker| {
        let command =
            |words: &[&'static str]| STORE.into_iter().chain(words.to_vec()).collect::<Vec<_>>();
        worker.command(command(&["repair", "--dry-run"]));
        let look = command(&["repair", "--dry-run", "--full"]);
        worker.command(["/init", "refused"].into_iter().chain(look));
        worker.command(command(&["repair", "--full", "--from", "/mnt/data/copy"]));
        worker.command(["/init", "drop-caches"]);
        worker.command(command(&["repair", "--dry-run", "--full"]));
        worker.command(command(&["check", "--full"]));
    })?;
    let said = |word: &str| {
        healed
            .commands
            .iter()
            .any(|done| done.output.contains(word))
    };
    ensure!(said("REPAIRED from /mnt/data/copy"), "{healed:?}");
    Ok(())
}

/// Runs commands where the disk is mounted and the tree is there.
fn run(
    kernel: &GuestKernel,
    disk: &Disk,
    file: &Path,
    commands: &dyn Fn(&mut Worker),
) -> Result<JobReport> {
    let mut worker = Worker::new(kernel, &[])?;
    worker.add_file("sealroot", &Program::Sealroot.build()?)?;
    worker.add_file(FILE, file)?;
    worker.mount("data", disk.path(), "ext4");
    commands(&mut worker);
    worker.command(["/init", "umount", "/mnt/data"]);
    worker.run(TIME_OUT)
}

/// The only object of the store, from the root of the disk.
fn object_path(disk: &Disk) -> Result<String> {
    let mut path = "/store/objects".to_owned();
    for _ in 0..2 {
        let listing = disk.debugfs(&format!("ls -p {path}"))?;
        // /<inode>/<mode>/<uid>/<gid>/<name>/<size>/
        let mut names = listing.lines().filter_map(|line| line.split('/').nth(5));
        let name = names.find(|name| !name.is_empty() && !name.starts_with('.'));
        path = format!("{path}/{}", name.context("an object")?);
    }
    Ok(path)
}
