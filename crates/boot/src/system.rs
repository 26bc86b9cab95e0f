// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine before there is a root: its kernel filesystems, and the switches set before
//! anything is mounted.

use std::fs;
use std::os::fd::AsFd as _;

use rustix::fs::{CWD, Mode};
use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use sealroot_sys::mount::FsContext;

use crate::overlay::mount_id;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::sysroot::{open_directory, private_directory};

const PSEUDO: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Filesystems in memory (`linux/magic.h`).
const RAMFS_MAGIC: u32 = 0x8584_58F6;
const TMPFS_MAGIC: u32 = 0x0102_1994;

/// What an initramfs has by convention (systemd, dracut, mkinitcpio).
const INITRAMFS_MARK: &str = "/etc/initrd-release";

/// A filesystem of the kernel's that the verified root gets too.
struct KernelFilesystem {
    place: &'static str,
    filesystem: &'static str,
    has_mode: bool,
    attributes: MountAttrFlags,
}

const KERNEL_FILESYSTEMS: [KernelFilesystem; 4] = [
    KernelFilesystem {
        place: "/dev",
        filesystem: "devtmpfs",
        has_mode: true,
        attributes: MountAttrFlags::MOUNT_ATTR_NOSUID,
    },
    KernelFilesystem {
        place: "/proc",
        filesystem: "proc",
        has_mode: false,
        attributes: PSEUDO,
    },
    KernelFilesystem {
        place: "/sys",
        filesystem: "sysfs",
        has_mode: false,
        attributes: PSEUDO,
    },
    KernelFilesystem {
        place: "/run",
        filesystem: "tmpfs",
        has_mode: true,
        attributes: MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV),
    },
];

/// The places of [`mount_kernel_filesystems`], for those who move them to the verified root.
pub(crate) fn kernel_filesystem_places() -> impl Iterator<Item = &'static str> {
    KERNEL_FILESYSTEMS.iter().map(|one| one.place)
}

/// Mounts `/dev`, `/proc`, `/sys` and `/run`.
pub(crate) fn mount_kernel_filesystems() -> Result<(), Refusal> {
    for one in KERNEL_FILESYSTEMS {
        let place = one.place;
        // The archive has these directories; one that is there is as good as one that is made.
        let _ = rustix::fs::mkdirat(CWD, place, Mode::from_raw_mode(0o755));
        let mount = FsContext::open(one.filesystem)
            .and_then(|context| {
                context.set_string("source", one.filesystem)?;
                if one.has_mode {
                    context.set_string("mode", "755")?;
                }
                context.create_mount(one.attributes)
            })
            .or_refuse(Code::System, place, "a mount")?;
        let directory = open_directory(place).or_refuse(Code::System, place, "a directory")?;
        sealroot_sys::mount::attach(mount.as_fd(), directory.as_fd()).or_refuse(
            Code::System,
            place,
            "a place to mount",
        )?;
    }
    Ok(())
}

/// Whether the program runs in an initramfs: on a root in memory, and not in a system that only
/// looks like one to a careless caller.
pub fn is_initramfs() -> bool {
    let is_in_memory = rustix::fs::statfs("/").is_ok_and(|root| {
        u32::try_from(root.f_type).is_ok_and(|magic| matches!(magic, RAMFS_MAGIC | TMPFS_MAGIC))
    });
    is_in_memory && fs::exists(INITRAMFS_MARK).unwrap_or(false)
}

/// Makes an initramfs of another maker fit: nothing is mounted at `place`, and mounts can be moved
/// about, which they cannot where the parent is shared. The init makes them so again.
pub(crate) fn prepare_anothers_initramfs(place: &str) -> Result<(), Refusal> {
    let expected = "an empty directory of the initramfs";
    let code = Code::System;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).or_refuse(code, "/", "private mounts")?;
    let ids = private_directory(place)
        .and_then(|directory| Ok((mount_id(directory.as_fd())?, open_directory("/")?)))
        .and_then(|(id, root)| Ok((id, mount_id(root.as_fd())?)));
    let (id, root_id) = ids.or_refuse(code, place, expected)?;
    if id == root_id {
        return Ok(());
    }
    let found = "a filesystem that is mounted there";
    Err(Refusal::new(code, place, expected, found))
}

/// Sets what must hold while the root is being verified.
///
/// `no_new_privs` is not among it: it cannot be taken back and would disable setuid programs for
/// the whole of the OS.
pub(crate) fn harden() {
    // Whatever is made from here on is for root alone; `init` gets the usual mask back.
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// The file mask `init` starts with.
pub(crate) fn restore_mask() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
}
