// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images and overlays mounted by the kernel of this machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount at a place of its own; unmounted when dropped.
pub(crate) struct Mount {
    directory: tempfile::TempDir,
}

impl Mount {
    fn new(arguments: &[&OsStr]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        let output = mount
            .args(arguments)
            .arg(directory.path())
            .output()
            .expect("mount runs");
        assert!(output.status.success(), "{}", output.stderr.escape_ascii());
        Self { directory }
    }

    /// An image by itself.
    pub(crate) fn erofs(image: &Path) -> Self {
        Self::new(&[
            "-t".as_ref(),
            "erofs".as_ref(),
            "-oro".as_ref(),
            image.as_ref(),
        ])
    }

    /// A pack's image with its objects, as a booted system has it; this kernel does not enforce
    /// digests.
    pub(crate) fn overlay(image: &Self, objects: &Path) -> Self {
        let mut options = OsString::from("ro,metacopy=on,redirect_dir=on,lowerdir=");
        options.push(image.root());
        options.push("::");
        options.push(objects);
        Self::new(&[
            "-t".as_ref(),
            "overlay".as_ref(),
            "overlay".as_ref(),
            "-o".as_ref(),
            &options,
        ])
    }

    /// Two directories, the first over the second.
    pub(crate) fn stack(upper: &Path, lower: &Path, more: &str) -> Self {
        let mut options = OsString::from(format!("ro{more},lowerdir="));
        options.push(upper);
        options.push(":");
        options.push(lower);
        Self::new(&[
            "-t".as_ref(),
            "overlay".as_ref(),
            "overlay".as_ref(),
            "-o".as_ref(),
            &options,
        ])
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Where a path of the tree is.
    pub(crate) fn path(&self, path: &[u8]) -> PathBuf {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        self.root().join(OsStr::from_bytes(relative))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.root()).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot unmount"
        );
    }
}
