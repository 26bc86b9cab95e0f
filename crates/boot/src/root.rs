// SPDX-License-Identifier: MIT OR Apache-2.0
//! The physical root filesystem, which nobody vouches for: mounted read-only and without power,
//! and the directories of the store on it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::Stat;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use sealroot_sys::mount::{FsContext, attach};

use crate::device::Found;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::release::Release;
use crate::sysroot::{open_directory_beneath, private_directory};

/// Nothing on it is started, gives rights or is a device.
pub(crate) const POWERLESS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// The magic numbers of the filesystems with fs-verity (`linux/magic.h`). What else claims to be
/// a filesystem may serve any content for any file.
const MAGICS: [(u32, &str); 3] = [
    (0xEF53, "ext4"),
    (0x9123_683E, "btrfs"),
    (0xF2F5_2010, "f2fs"),
];

pub(crate) const STORE: &str = "ostree/verity";

/// Where the physical root is until the verified root has a place for it.
pub(crate) const PLACE: &str = "/physical";

/// Mounts the root device.
pub(crate) fn mount(device: &Found) -> Result<OwnedFd, Refusal> {
    let code = Code::RootFilesystem;
    let mount = FsContext::open(device.filesystem)
        .and_then(|context| {
            context.set_string("source", &device.path)?;
            context.set_flag("ro")?;
            if device.filesystem == "ext4" {
                context.set_string("errors", "remount-ro")?;
            }
            context.create_mount(POWERLESS)
        })
        .or_refuse(code, &device.path, "to be mounted")?;
    check_magic(mount.as_fd(), &device.path)?;
    let place = private_directory(PLACE).or_refuse(code, PLACE, "a place to mount")?;
    attach(mount.as_fd(), place.as_fd()).or_refuse(code, PLACE, "a place to mount")?;
    Ok(mount)
}

fn check_magic(directory: BorrowedFd<'_>, what: &str) -> Result<(), Refusal> {
    let expected = "an ext4, btrfs or f2fs filesystem";
    let found = rustix::fs::fstatfs(directory).or_refuse(Code::RootFilesystem, what, expected)?;
    // The kernel's type is signed and of a machine word.
    let magic = u32::try_from(found.f_type).ok();
    if MAGICS.iter().any(|(known, _)| Some(*known) == magic) {
        return Ok(());
    }
    let found = format!("the magic number {:#x}", found.f_type);
    Err(Refusal::new(Code::RootFilesystem, what, expected, found))
}

/// The directories of the store, all on one filesystem.
#[derive(Debug)]
pub(crate) struct Store {
    directory: OwnedFd,
    device: u64,
}

impl Store {
    /// Opens `ostree/verity` on the physical root.
    pub(crate) fn open(root: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let directory = open_directory_beneath(root, STORE).or_refuse(
            Code::Store,
            STORE,
            "a directory, on the root filesystem and through no symlink",
        )?;
        let device = stat(directory.as_fd(), STORE)?.st_dev;
        Ok(Self { directory, device })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// A directory of the store.
    pub(crate) fn directory(&self, path: &str) -> Result<OwnedFd, Refusal> {
        self.find(path)?.ok_or_else(|| {
            let what = format!("{STORE}/{path}");
            Refusal::new(Code::Store, what, "a directory", "nothing")
        })
    }

    /// A directory of the store, if it is there. On btrfs a subvolume has another device number
    /// and is refused.
    fn find(&self, path: &str) -> Result<Option<OwnedFd>, Refusal> {
        let what = format!("{STORE}/{path}");
        let expected = "a directory, on the same filesystem and through no symlink";
        let directory = match open_directory_beneath(self.as_fd(), path) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.or_refuse(Code::Store, &what, expected)?,
        };
        check_magic(directory.as_fd(), &what)?;
        let device = stat(directory.as_fd(), &what)?.st_dev;
        if device == self.device {
            return Ok(Some(directory));
        }
        let found = format!("one on device {device:#x}");
        Err(Refusal::new(Code::Store, what, expected, found))
    }

    /// The data layers of a release: the deployment's own objects where one is named, and behind
    /// them those of all.
    pub(crate) fn data_layers(&self, release: &Release) -> Result<Vec<OwnedFd>, Refusal> {
        let mut layers = Vec::new();
        if let Some(name) = release.deployment {
            let path = format!("deploy/{name}/objects");
            layers.extend(self.find(&path)?);
        }
        layers.push(self.directory("objects")?);
        Ok(layers)
    }
}

fn stat(directory: BorrowedFd<'_>, what: &str) -> Result<Stat, Refusal> {
    rustix::fs::fstat(directory).or_refuse(Code::Store, what, "a directory")
}
