// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images and overlays mounted by the kernel of this machine.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use sealroot_sys::mount::{FsContext, attach};
use sealroot_testkit::need;

/// The first kernel that mounts an EROFS image from a file.
const KERNEL: (u32, u32) = (6, 12);

/// Whether what these tests need is there; [`need::missing`] is told if not.
pub(crate) fn possible() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < KERNEL {
        need::missing(&format!("a kernel of at least 6.12 (this is {release})"));
        return false;
    }
    need::root()
}

/// A mount at a place of its own; unmounted when dropped.
pub(crate) struct Mount {
    directory: tempfile::TempDir,
}

impl Mount {
    fn new(filesystem: &str, options: &[(&str, &Path)], flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let context = FsContext::open(filesystem).expect("the kernel has it");
        for (key, path) in options {
            let path = path.to_str().expect("temporary paths are plain");
            context.set_string(key, path).expect("an option");
        }
        for flag in flags {
            match flag.split_once('=') {
                Some((key, value)) => context.set_string(key, value).expect("an option"),
                None => context.set_flag(flag).expect("a flag"),
            }
        }
        let mount = context
            .create_mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
            .expect("mounted");
        let place = File::open(directory.path()).expect("the directory");
        attach(mount.as_fd(), place.as_fd()).expect("attached");
        Self { directory }
    }

    /// An image by itself.
    pub(crate) fn erofs(image: &Path) -> Self {
        Self::new("erofs", &[("source", image)], &["ro"])
    }

    /// A pack's image with its objects, as a booted system has it, but that digests are not
    /// enforced.
    pub(crate) fn overlay(image: &Self, objects: &Path) -> Self {
        let layers = [("lowerdir+", image.root()), ("datadir+", objects)];
        Self::new(
            "overlay",
            &layers,
            &["ro", "metacopy=on", "redirect_dir=on"],
        )
    }

    /// Two directories, the first over the second.
    pub(crate) fn stack(upper: &Path, lower: &Path, flags: &[&str]) -> Self {
        let flags = [&["ro"], flags].concat();
        Self::new(
            "overlay",
            &[("lowerdir+", upper), ("lowerdir+", lower)],
            &flags,
        )
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
        let unmounted = unmount(self.root(), UnmountFlags::DETACH);
        assert!(
            unmounted.is_ok() || std::thread::panicking(),
            "{unmounted:?}"
        );
    }
}
