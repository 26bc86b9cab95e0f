// SPDX-License-Identifier: MIT OR Apache-2.0
//! A full filesystem: the error says how much was needed, nothing incomplete is visible, and with
//! more space the same ends as if nothing had happened.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealroot::check::{self, Depth, Severity};
use sealroot::deploy::DeployError;
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreError};
use sealroot_format::policy::Mode;
use sealroot_testkit::need;

use crate::support::{Release, content};

/// A small filesystem of its own, unmounted at the end.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// A tmpfs with room for that many blocks of 4096 bytes.
    fn tmpfs(blocks: u64) -> Self {
        let disk = Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
        };
        let options = format!("size={}", blocks * 4096);
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs"],
            &disk.mount_point(),
        );
        disk
    }

    /// An ext4 in a file of that many MiB.
    fn ext4(mebibytes: u64) -> Self {
        let disk = Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
        };
        let image = disk.directory.path().join("image");
        let file = fs::File::create(&image).expect("created");
        file.set_len(mebibytes << 20).expect("sized");
        run(
            "mkfs.ext4",
            &["-q", "-F", "-O", "verity", "-m", "0"],
            &image,
        );
        let image = image.to_str().expect("plain").to_owned();
        run("mount", &["-o", "loop", &image], &disk.mount_point());
        disk
    }

    fn mount_point(&self) -> PathBuf {
        let path = self.directory.path().join("mounted");
        fs::create_dir_all(&path).expect("made");
        path
    }

    fn grow(&self, blocks: u64) {
        let options = format!("remount,size={}", blocks * 4096);
        run("mount", &["-o", &options], &self.mount_point());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.mount_point()).status();
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let program = need::find_tool(program).expect("part of every Debian");
    let status = Command::new(program).args(arguments).arg(path).status();
    assert!(status.expect("it runs").success());
}

fn release() -> Release {
    Release::new(1, (0..8).map(|i| content(i, 9000)).collect())
}

/// Builds and deploys in the store `location`.
fn attempt(location: &Path, release: &Release) -> Result<(), DeployError> {
    let store = Store::open_or_create(location)?;
    release.build(&store)?;
    release.deploy(&store, Mode::Integrity, &Silent)?;
    Ok(())
}

fn assert_clean(location: &Path, when: &str) {
    if let Ok(store) = Store::open(location) {
        let report = check::check(&store, Depth::Full, &Silent).expect("checked");
        let worst = report.worst();
        assert!(
            worst <= Some(Severity::Leftover),
            "{when}: {:?}",
            report.findings
        );
    }
}

/// Whether an error is about space and says how much was needed.
fn is_full(error: &DeployError) -> bool {
    match error {
        DeployError::Store(StoreError::NoSpace {
            operation,
            needed_bytes,
            available_bytes,
            ..
        }) => {
            assert!(available_bytes.is_some());
            assert!(*operation != "write" || needed_bytes.is_some());
            true
        }
        _ => false,
    }
}

// Rules: O6, L5
#[test]
fn space_may_end_at_every_block() {
    if !need::root() {
        return;
    }
    let release = release();
    let mut full = 0;
    for blocks in (8..).step_by(2) {
        let disk = SmallDisk::tmpfs(blocks);
        let location = disk.mount_point().join("store");
        let when = format!("{blocks} blocks");
        match attempt(&location, &release) {
            Ok(()) => {
                assert_clean(&location, &when);
                break;
            }
            Err(error) => assert!(is_full(&error), "{when}: {error}"),
        }
        full += 1;
        assert_clean(&location, &when);
        disk.grow(1000);
        attempt(&location, &release).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_clean(&location, &when);
    }
    assert!(full > 5, "{full}");
}

#[test]
fn a_full_ext4_is_survived() {
    if !need::root() {
        return;
    }
    let disk = SmallDisk::ext4(8);
    let location = disk.mount_point().join("store");
    let small = release();
    attempt(&location, &small).expect("there is room for a small release");
    let large = Release::new(2, (0..40).map(|i| content(i, 700_000)).collect());
    let error = attempt(&location, &large).expect_err("28 MB do not fit into 8");
    assert!(is_full(&error), "{error}");
    assert!(
        error.to_string().contains(" 700000 bytes needed"),
        "{error}"
    );
    assert_clean(&location, "full");
    attempt(&location, &small).expect("what was there is still there");
}
