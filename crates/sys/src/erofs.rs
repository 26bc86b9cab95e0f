// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting an EROFS image that is an open file.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::loopdev::loop_configure;
use crate::mount::{FsContext, MountError};

/// A detached read-only mount, without devices and rights, of the image that `file` is: of the very
/// file, whatever has its name by now.
pub fn mount(file: BorrowedFd<'_>) -> Result<OwnedFd, MountError> {
    of_file(file).or_else(|error| {
        // What the kernel says where it mounts EROFS from block devices only, or from this kind of
        // file not. The same descriptor, and read-only, as before.
        if error.errno == Errno::NOTBLK {
            of_loop_device(file)
        } else {
            Err(error)
        }
    })
}

fn of_file(file: BorrowedFd<'_>) -> Result<OwnedFd, MountError> {
    let context = FsContext::open("erofs")?;
    context.set_fd_path("source", file)?;
    create(&context)
}

fn of_loop_device(file: BorrowedFd<'_>) -> Result<OwnedFd, MountError> {
    let (device, path) = loop_configure(file).map_err(|errno| MountError {
        call: "LOOP_CONFIGURE".to_owned(),
        filesystem: "erofs".to_owned(),
        messages: "the kernel gave no message".to_owned(),
        errno,
    })?;
    let context = FsContext::open("erofs")?;
    context.set_string("source", &path)?;
    let mount = create(&context);
    // Only now: the last user of the device frees it.
    drop(device);
    mount
}

fn create(context: &FsContext) -> Result<OwnedFd, MountError> {
    context.set_flag("ro")?;
    context.create_mount(
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )
}
