// SPDX-License-Identifier: MIT OR Apache-2.0
//! The overlay that joins names and small files (the metadata layer) with the objects (data-only
//! layers), and the proof that the kernel enforces what it was asked.
//!
//! There is one set of options and one attempt; where the kernel lacks something, boot ends.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags};
use sealroot_format::digest::VerityDigest;
use sealroot_sys::mount::{FsContext, attach};
use sealroot_sys::overlay::{Verity, set_options};

pub(crate) use sealroot_sys::overlay::{Layers, mount};

use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::sysroot::private_directory;

/// Who checks the objects' content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// The kernel, at every open and read: `verity=require`.
    Kernel,
    /// This program, once, before the overlay is mounted: `verity=off`.
    AtBoot,
}

impl Enforcement {
    /// What is asked of overlayfs.
    pub(crate) const fn verity(self) -> Verity {
        match self {
            Self::Kernel => Verity::Require,
            Self::AtBoot => Verity::Off,
        }
    }
}

/// Refuses a kernel whose overlayfs lacks what [`mount`] asks for, before anything is mounted.
pub(crate) fn probe() -> Result<(), Refusal> {
    let expected = "overlayfs of Linux 6.6 or later (verity=require)";
    let context = FsContext::open("overlay").or_refuse(Code::Kernel, "overlayfs", expected)?;
    if context.set_flag("sealroot-probe").is_ok() {
        let found = "an overlayfs that does not look at its options";
        return Err(Refusal::new(Code::Kernel, "overlayfs", expected, found));
    }
    set_options(&context, Verity::Require).or_refuse(Code::Kernel, "overlayfs", expected)
}

/// The mount id of what a descriptor refers to.
pub(crate) fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    let stat = rustix::fs::statx(fd, c"", flags, rustix::fs::StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}

/// Refuses unless the kernel says of an attached mount that it is a read-only overlay with the
/// enforcement asked for.
pub(crate) fn read_back(root: BorrowedFd<'_>, enforcement: Enforcement) -> Result<(), Refusal> {
    let what = "the kernel's word on the mounted root";
    let expected = format!(
        "a read-only overlay with verity={}",
        enforcement.verity().option()
    );
    let id = mount_id(root).or_refuse(Code::Overlay, what, &expected)?;
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").or_refuse(Code::Overlay, what, &expected)?;
    let line = mounts
        .lines()
        .find(|line| line.split(' ').next() == Some(&id.to_string()));
    match line {
        Some(line) if is_as_asked(line, enforcement) => Ok(()),
        found => Err(Refusal::new(
            Code::Overlay,
            what,
            expected,
            found.unwrap_or("no such mount"),
        )),
    }
}

/// Whether a line of mountinfo (`proc_pid_mountinfo(5)`) shows the overlay as asked.
fn is_as_asked(line: &str, enforcement: Enforcement) -> bool {
    let Some((mount, filesystem)) = line.split_once(" - ") else {
        return false;
    };
    let has = |options: Option<&str>, wanted: &str| {
        options.is_some_and(|options| options.split(',').any(|option| option == wanted))
    };
    let mount_options = mount.split(' ').nth(5);
    let mut fields = filesystem.split(' ');
    let is_overlay = fields.next() == Some("overlay");
    let super_options = fields.nth(1);
    let enforced = match enforcement {
        Enforcement::Kernel => has(super_options, "verity=require"),
        Enforcement::AtBoot => true,
    };
    is_overlay && has(mount_options, "ro") && has(super_options, "ro") && enforced
}

/// Proves that the kernel checks digests, with an overlay beside the real one: the pack, which
/// certainly is there and has fs-verity, plays an object that is named once with its own and once
/// with another digest. The first must open, the second must not.
///
/// A missing file would give another error and prove nothing, and the store's objects are not
/// ours to choose; hence the pack.
pub(crate) fn self_test(pack_directory: BorrowedFd<'_>, pack: VerityDigest) -> Result<(), Refusal> {
    let what = "self-test of fs-verity under overlayfs";
    let expected = "to be set up";
    let place = private_directory("/selftest").or_refuse(Code::SelfTest, what, expected)?;
    let layer = FsContext::open("tmpfs")
        .and_then(|context| context.create_mount(MountAttrFlags::empty()))
        .or_refuse(Code::SelfTest, what, expected)?;
    attach(layer.as_fd(), place.as_fd()).or_refuse(Code::SelfTest, what, expected)?;
    let mut other = *pack.as_bytes();
    for byte in &mut other {
        *byte = !*byte;
    }
    for (name, digest) in [("right", *pack.as_bytes()), ("wrong", other)] {
        entry(layer.as_fd(), name, &digest, &format!("/{pack}.pack")).or_refuse(
            Code::SelfTest,
            what,
            expected,
        )?;
    }
    let layers = Layers {
        metadata: layer.as_fd(),
        data: &[pack_directory],
        verity: Verity::Require,
        upper: None,
    };
    let overlay = mount(&layers, MountAttrFlags::MOUNT_ATTR_RDONLY).or_refuse(
        Code::SelfTest,
        what,
        expected,
    )?;
    rustix::mount::unmount("/selftest", UnmountFlags::DETACH).or_refuse(
        Code::SelfTest,
        what,
        expected,
    )?;

    let open = |name: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&overlay, name, flags, Mode::empty())
    };
    open("right").or_refuse(Code::SelfTest, what, "a file with the right digest to open")?;
    let refused = "a file with a wrong digest to be refused with EIO";
    match open("wrong") {
        Err(Errno::IO) => Ok(()),
        Err(errno) => Err(errno).or_refuse(Code::SelfTest, what, refused),
        Ok(_) => Err(Refusal::new(
            Code::SelfTest,
            what,
            refused,
            "that it opens: this kernel does not enforce fs-verity",
        )),
    }
}

/// A metacopy entry of overlayfs: a file whose content is `redirect` and has the digest.
fn entry(
    layer: BorrowedFd<'_>,
    name: &str,
    digest: &[u8; 32],
    redirect: &str,
) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(layer, name, flags, Mode::RUSR)?;
    let create = XattrFlags::CREATE;
    rustix::fs::fsetxattr(
        &file,
        c"trusted.overlay.metacopy",
        &metacopy(digest),
        create,
    )?;
    let redirect = redirect.as_bytes();
    rustix::fs::fsetxattr(&file, c"trusted.overlay.redirect", redirect, create)
}

/// The value of `trusted.overlay.metacopy` (`struct ovl_metacopy` of Linux): version 0, its
/// length, no flags, SHA-256, and the fs-verity digest.
fn metacopy(digest: &[u8; 32]) -> [u8; 36] {
    let mut value = [0; 36];
    value[..4].copy_from_slice(&[0, 36, 0, 1]);
    value[4..].copy_from_slice(digest);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_read_only_overlay_with_verity_is_as_asked() {
        let good = "36 1 0:31 / /newroot ro,nodev shared:1 - overlay sealroot \
            ro,lowerdir=a::b,redirect_dir=on,metacopy=on,verity=require";
        assert!(is_as_asked(good, Enforcement::Kernel));
        for (from, to) in [
            ("verity=require", "verity=on"),
            ("verity=require", "verity=required"),
            ("- overlay", "- tmpfs"),
            ("/newroot ro,", "/newroot rw,"),
            ("sealroot ro,", "sealroot rw,"),
            (" - ", " "),
        ] {
            assert!(
                !is_as_asked(&good.replace(from, to), Enforcement::Kernel),
                "{to}"
            );
        }
        let unchecked = good.replace(",verity=require", "");
        assert!(!is_as_asked(&unchecked, Enforcement::Kernel));
        assert!(is_as_asked(&unchecked, Enforcement::AtBoot));
    }
}
