// SPDX-License-Identifier: MIT OR Apache-2.0
//! The metadata layer: all names, attributes and small files, from one authenticated pack.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags};
use sealroot_sys::loopdev::loop_configure;
use sealroot_sys::mount::{FsContext, MountError, attach};

use crate::pack::Pack;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::sysroot::private_directory;

/// Where the layer is while it is being joined: overlayfs takes only what is mounted somewhere
/// (since Linux 6.15 a detached mount will do).
const PLACE: &str = "/metadata";

/// The metadata layer, mounted where only this program looks.
#[derive(Debug)]
pub(crate) struct Metadata {
    mount: OwnedFd,
    place: &'static str,
}

impl Metadata {
    /// Its root directory.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// Takes its place away. The overlays made of it live on.
    pub(crate) fn detach(self) -> Result<(), Refusal> {
        rustix::mount::unmount(self.place, UnmountFlags::DETACH).or_refuse(
            Code::Metadata,
            self.place,
            "to be unmounted",
        )
    }
}

fn place(mount: OwnedFd) -> Result<Metadata, Refusal> {
    let expected = "a place to mount";
    let place = private_directory(PLACE).or_refuse(Code::Metadata, PLACE, expected)?;
    attach(mount.as_fd(), place.as_fd()).or_refuse(Code::Metadata, PLACE, expected)?;
    Ok(Metadata {
        mount,
        place: PLACE,
    })
}

/// Mounts the pack, which is an EROFS image.
pub(crate) fn mount_erofs(pack: &Pack) -> Result<Metadata, Refusal> {
    let mount = erofs_of_file(pack)
        .or_else(|error| {
            // What the kernel says where it mounts EROFS from block devices only, or from this
            // kind of file not. The same descriptor, and read-only, as before.
            if error.errno == Errno::NOTBLK {
                erofs_of_loop(pack)
            } else {
                Err(error)
            }
        })
        .or_refuse(Code::Metadata, "pack", "to be mounted")?;
    place(mount)
}

fn erofs_of_file(pack: &Pack) -> Result<OwnedFd, MountError> {
    let context = FsContext::open("erofs")?;
    context.set_fd_path("source", pack.fd())?;
    erofs(&context)
}

fn erofs_of_loop(pack: &Pack) -> Result<OwnedFd, MountError> {
    let (device, path) = loop_configure(pack.fd()).map_err(|errno| MountError {
        call: "LOOP_CONFIGURE".to_owned(),
        filesystem: "erofs".to_owned(),
        messages: "the kernel gave no message".to_owned(),
        errno,
    })?;
    let context = FsContext::open("erofs")?;
    context.set_string("source", &path)?;
    let mount = erofs(&context);
    // Only now: the last user of the device frees it.
    drop(device);
    mount
}

fn erofs(context: &FsContext) -> Result<OwnedFd, MountError> {
    context.set_flag("ro")?;
    context.create_mount(
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )
}
