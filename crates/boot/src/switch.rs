// SPDX-License-Identifier: MIT OR Apache-2.0
//! Leaving the initramfs: its mounts move into the verified root, its files go, and `init` takes
//! over.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::overlay::mount_id;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::state::mount_point;
use crate::system::kernel_filesystem_places;

/// Where an OS keeps its first program.
const INITS: [&str; 3] = [
    "/sbin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
];

/// The init of the verified root: looked for on that filesystem alone, so that nothing mounted
/// over it later can give another.
pub(crate) fn find_init(root: BorrowedFd<'_>) -> Result<&'static str, Refusal> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let is_file = |path: &&str| {
        rustix::fs::openat2(root, *path, flags, Mode::empty(), resolve)
            .and_then(rustix::fs::fstat)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    INITS.into_iter().find(is_file).ok_or_else(|| {
        let expected = format!("one of {}", INITS.join(" "));
        Refusal::new(Code::Init, "init of the release", expected, "none")
    })
}

/// Moves `/dev`, `/proc`, `/sys` and `/run` into the root.
pub(crate) fn move_kernel_filesystems(root: BorrowedFd<'_>) -> Result<(), Refusal> {
    for place in kernel_filesystem_places() {
        let directory = mount_point(root, place.trim_start_matches('/'))?;
        rustix::mount::move_mount(
            rustix::fs::CWD,
            place,
            directory.as_fd(),
            c"",
            rustix::mount::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )
        .or_refuse(Code::System, place, "to move into the verified root")?;
    }
    Ok(())
}

/// Makes the root `/` and starts its init. Gives back only why that failed.
pub(crate) fn switch(root: &OwnedFd, place: &str, init: &str) -> Refusal {
    match enter(root, place) {
        Ok(()) => start(init),
        Err(refusal) => refusal,
    }
}

fn enter(root: &OwnedFd, place: &str) -> Result<(), Refusal> {
    let expected = "to become the root";
    let code = Code::System;
    let id = mount_id(root.as_fd()).or_refuse(code, place, expected)?;
    let on_top = rustix::fs::openat(
        rustix::fs::CWD,
        place,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|directory| mount_id(directory.as_fd()))
    .or_refuse(code, place, expected)?;
    if on_top != id {
        let expected = format!("the mount {id} that was verified");
        return Err(Refusal::new(code, place, expected, on_top));
    }
    empty_initramfs().or_refuse(code, "initramfs", "to be emptied")?;
    rustix::process::fchdir(root).or_refuse(code, place, expected)?;
    rustix::mount::mount_move(".", "/").or_refuse(code, place, expected)?;
    rustix::process::chroot(".").or_refuse(code, place, expected)?;
    rustix::process::chdir("/").or_refuse(code, place, expected)
}

/// Frees the memory of the initramfs: removes all that is on its filesystem and no other.
fn empty_initramfs() -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let device = rustix::fs::fstat(&root)?.st_dev;
    empty(&root, device)
}

fn empty(directory: &OwnedFd, device: u64) -> Result<(), Errno> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let child = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        if rustix::fs::fstat(&child)?.st_dev == device {
            empty(&child, device)?;
            rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

/// Starts init with the arguments the kernel gave and an environment that says nothing but what
/// kind of terminal there is: the kernel puts unknown parameters of its command line there, and
/// some of them would be orders to every program.
fn start(init: &str) -> Refusal {
    let mut arguments = vec![OsString::from(init)];
    arguments.extend(std::env::args_os().skip(1));
    let mut terminal = OsString::from("TERM=");
    terminal.push(
        std::env::var_os("TERM")
            .as_deref()
            .unwrap_or("linux".as_ref()),
    );
    crate::system::restore_mask();
    let environment = [terminal, "HOME=/".into()];
    let errno = sealroot_sys::process::execve(init.as_ref(), &arguments, &environment);
    Refusal::new(Code::Init, init, "to start", errno)
}
