// SPDX-License-Identifier: MIT OR Apache-2.0
//! The metadata layer: all names, attributes and small files, from one authenticated pack.

mod node;
#[cfg(test)]
mod tests;
mod unpack;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::mount::{MountAttrFlags, UnmountFlags};
use sealroot_sys::mount::{FsContext, MountError, attach};

use sealroot_format::digest::TreeDigest;
use sealroot_format::pack::Pack as PackReader;
use sealroot_format::tree::dump;

use crate::pack::{Pack, check_memory};
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::sysroot::private_directory;

/// Where the layer is while it is being joined: overlayfs takes only what is mounted somewhere
/// (since Linux 6.15 a detached mount will do).
const PLACE: &str = "/metadata";

/// What an inode of a tmpfs takes of the memory, roughly: the kernel's own figure
/// (`BOGO_INODE_SIZE`).
const INODE_BYTES: u64 = 1024;

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

    /// Takes its place away. The overlays made of it live on, and what is given back.
    pub(crate) fn detach(self) -> Result<OwnedFd, Refusal> {
        rustix::mount::unmount(self.place, UnmountFlags::DETACH).or_refuse(
            Code::Metadata,
            self.place,
            "to be unmounted",
        )?;
        Ok(self.mount)
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
    place(mount_detached(pack)?)
}

/// Mounts the pack, nowhere yet.
pub(crate) fn mount_detached(pack: &Pack) -> Result<OwnedFd, Refusal> {
    sealroot_sys::erofs::mount(pack.fd()).or_refuse(Code::Metadata, "pack", "to be mounted")
}

/// Unpacks the pack into a tmpfs that is never written to swap, takes no more memory than the
/// plan allows and is read-only from then on. Refuses it unless it is the stated tree, where one
/// is stated.
pub(crate) fn unpack_into_tmpfs(
    pack: &Pack,
    limit_bytes: u64,
    stated: Option<TreeDigest>,
) -> Result<Metadata, Refusal> {
    let malformed = |error| Refusal::of(Code::Metadata, &error);
    let reader = PackReader::open(pack.file()).map_err(malformed)?;
    // Content is stored at least as dense in the pack as in pages of memory.
    let inode_bytes = reader.entries().saturating_mul(INODE_BYTES);
    check_memory(
        "pack",
        inode_bytes.saturating_add(reader.size_bytes()),
        limit_bytes,
    )?;
    let content_bytes = limit_bytes.saturating_sub(inode_bytes);
    let metadata = tmpfs(content_bytes, reader.entries())
        .or_refuse(Code::Metadata, "tmpfs", "to be mounted")
        .and_then(place)?;
    let tree = unpack::unpack(&reader, metadata.root()).map_err(|error| {
        let code = if error.is_full() {
            Code::Memory
        } else {
            Code::Metadata
        };
        Refusal::of(code, &error)
    })?;
    if let Some(expected) = stated {
        let found = dump::digest(&tree).or_refuse(Code::Metadata, "tree", "readable content")?;
        if found != expected {
            let expected = format!("the digest {expected}");
            return Err(Refusal::new(Code::Metadata, "tree", expected, found));
        }
    }
    make_read_only(metadata.root()).or_refuse(Code::Metadata, "tmpfs", "to become read-only")?;
    Ok(metadata)
}

fn tmpfs(content_bytes: u64, entries: u64) -> Result<OwnedFd, MountError> {
    let context = FsContext::open("tmpfs")?;
    context.set_string("source", "sealroot")?;
    context.set_string("size", &content_bytes.to_string())?;
    // User xattrs count as inodes too, one for each KiB.
    let inodes = (entries.saturating_mul(2))
        .saturating_add(content_bytes / 1024)
        .saturating_add(64);
    context.set_string("nr_inodes", &inodes.to_string())?;
    context.set_string("mode", "755")?;
    context.set_flag("noswap")?;
    context.create_mount(MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)
}

/// Makes the filesystem read-only, not only the mount.
fn make_read_only(mount: BorrowedFd<'_>) -> Result<(), MountError> {
    let context = FsContext::pick(mount)?;
    // The kernel takes an option that is left out for a wish to swap.
    context.set_flag("noswap")?;
    context.set_flag("ro")?;
    context.reconfigure()
}
