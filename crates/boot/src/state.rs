// SPDX-License-Identifier: MIT OR Apache-2.0
//! What may change: `/etc`, `/var` and `/tmp` of the verified root, and the physical root's place
//! in it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags};
use sealroot_format::policy::{DeploymentName, Var};
use sealroot_format::text::Name;
use sealroot_sys::mount::{FsContext, MountError, attach, clone_subtree, mount_setattr};

use crate::overlay::{self, Layers};
use crate::plan::BootPlan;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::root::{PLACE as PHYSICAL_PLACE, STORE};
use crate::sysroot::{open_directory_beneath, private_directory};

/// State gives no rights and is no device.
const STATE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Most bytes of xattr names on one inode, and of one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_LIST_BYTES: usize = 65_536;
const XATTR_VALUE_BYTES: usize = 65_536;

/// Where the writable half of `/etc` is while it is being joined.
const ETC_PLACE: &str = "/etc-changes";

/// A directory of the verified root, which is there because the vendor's tree has it.
pub(crate) fn mount_point(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Refusal> {
    open_directory_beneath(root, name).or_refuse(
        Code::Tree,
        format!("/{name} of the release"),
        "a directory to mount on",
    )
}

fn place(root: BorrowedFd<'_>, name: &str, mount: BorrowedFd<'_>) -> Result<(), Refusal> {
    let directory = mount_point(root, name)?;
    let what = format!("/{name}");
    attach(mount, directory.as_fd()).or_refuse(Code::State, what, "a place to mount")
}

fn tmpfs(mode: &str, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
    let context = FsContext::open("tmpfs")?;
    context.set_string("source", "tmpfs")?;
    context.set_string("mode", mode)?;
    context.create_mount(attributes)
}

/// `/etc` as the release has it, with a tmpfs for changes, which end with this boot.
///
/// The release's files are `/usr/etc` where there is such a directory with something in it (the
/// OSTree layout), otherwise `/etc`. The overlay is made of the same layers as the root itself
/// rather than of the root: kernels stack overlays only two deep, and the verified bytes are the
/// same.
pub(crate) fn mount_transient_etc(
    root: BorrowedFd<'_>,
    metadata: BorrowedFd<'_>,
    layers: &Layers<'_>,
) -> Result<OwnedFd, Refusal> {
    let expected = "a writable overlay";
    let code = Code::State;
    let release_etc = match populated(metadata, "usr/etc").or_refuse(code, "/usr/etc", expected)? {
        Some(directory) => directory,
        None => mount_point(metadata, "etc")?,
    };
    let changes = tmpfs("755", STATE).or_refuse(code, "/etc", expected)?;
    let directory = private_directory(ETC_PLACE).or_refuse(code, "/etc", expected)?;
    attach(changes.as_fd(), directory.as_fd()).or_refuse(code, "/etc", expected)?;
    let make = |name| -> Result<OwnedFd, Errno> {
        rustix::fs::mkdirat(&changes, name, Mode::RWXU)?;
        open_readable(changes.as_fd(), name)
    };
    let upper = make("upper").or_refuse(code, "/etc", expected)?;
    // The upper directory is what shows as /etc itself.
    open_readable(release_etc.as_fd(), ".")
        .and_then(|release| copy_attributes(&release, &upper))
        .or_refuse(code, "/etc", "the attributes of the release")?;
    let work = make("work").or_refuse(code, "/etc", expected)?;
    let layers = Layers {
        metadata: release_etc.as_fd(),
        upper: Some([upper.as_fd(), work.as_fd()]),
        ..*layers
    };
    let etc = overlay::mount(&layers, STATE).or_refuse(code, "/etc", expected)?;
    rustix::mount::unmount(ETC_PLACE, UnmountFlags::DETACH).or_refuse(code, "/etc", expected)?;
    place(root, "etc", etc.as_fd())?;
    Ok(etc)
}

/// `/etc` as the deployment keeps it, writable. It was made when the deployment was; a boot makes
/// none, since that would be one without the changes that the machine had.
pub(crate) fn mount_kept_etc(
    root: BorrowedFd<'_>,
    physical: BorrowedFd<'_>,
    deployment: &DeploymentName,
) -> Result<(), Refusal> {
    let path = format!("{STORE}/deploy/{deployment}/etc");
    let expected = "the /etc of the deployment, a directory through no symlink; without it boot \
                    another deployment and deploy this one again";
    let directory =
        open_directory_beneath(physical, &path).or_refuse(Code::State, &path, expected)?;
    make_writable(physical).or_refuse(Code::State, &path, WRITABLE)?;
    let etc = writable_view(directory.as_fd(), STATE).or_refuse(Code::State, &path, WRITABLE)?;
    place(root, "etc", etc.as_fd())
}

fn open_readable(base: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(base, name, flags, Mode::empty())
}

/// Gives one inode the owner, mode and xattrs of another, but for what is overlayfs's own.
pub(crate) fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(owner), Some(group))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    let mut names = Vec::with_capacity(XATTR_LIST_BYTES);
    rustix::fs::flistxattr(from, spare_capacity(&mut names))?;
    for name in names.split(|byte| *byte == 0) {
        let is_own = name.starts_with(b"trusted.overlay.");
        // What the payload itself had under such a name has the prefix twice.
        let is_payload = name.starts_with(b"trusted.overlay.overlay.");
        if name.is_empty() || (is_own && !is_payload) {
            continue;
        }
        let mut value = Vec::with_capacity(XATTR_VALUE_BYTES);
        rustix::fs::fgetxattr(from, name, spare_capacity(&mut value))?;
        rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// The directory at `path`, if there is one with an entry in it.
fn populated(base: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>, Errno> {
    let directory = match open_directory_beneath(base, path) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let readable = open_readable(directory.as_fd(), ".")?;
    for entry in rustix::fs::Dir::read_from(&readable)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// `/var`, which is given back, and `/tmp`.
pub(crate) fn mount_var_and_tmp(
    root: BorrowedFd<'_>,
    physical: BorrowedFd<'_>,
    plan: &BootPlan,
) -> Result<OwnedFd, Refusal> {
    let no_programs = if plan.var_may_execute {
        MountAttrFlags::empty()
    } else {
        MountAttrFlags::MOUNT_ATTR_NOEXEC
    };
    let var = match &plan.var {
        Var::Volatile => {
            tmpfs("755", STATE | no_programs).or_refuse(Code::State, "/var", "a tmpfs")?
        }
        Var::Stateroot(stateroot) => stateroot_var(physical, stateroot, STATE | no_programs)?,
    };
    place(root, "var", var.as_fd())?;
    let tmp = tmpfs("1777", STATE | no_programs).or_refuse(Code::State, "/tmp", "a tmpfs")?;
    place(root, "tmp", tmp.as_fd())?;
    Ok(var)
}

/// The `var` that all deployments of a stateroot share, writable; made where it is missing.
fn stateroot_var(
    physical: BorrowedFd<'_>,
    stateroot: &Name,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Refusal> {
    let path = format!("ostree/deploy/{stateroot}/var");
    let expected = "a writable directory, through no symlink";
    let code = Code::State;
    make_writable(physical).or_refuse(code, &path, WRITABLE)?;
    let directory = match open_directory_beneath(physical, &path) {
        Err(Errno::NOENT) => make_directories(physical, &path),
        other => other,
    }
    .or_refuse(code, &path, expected)?;
    writable_view(directory.as_fd(), attributes).or_refuse(code, &path, expected)
}

const WRITABLE: &str = "a filesystem that can be written to";

/// Lets the physical root's filesystem be written to, through mounts that allow it.
fn make_writable(physical: BorrowedFd<'_>) -> Result<(), MountError> {
    let context = FsContext::pick(physical)?;
    context.set_flag("rw")?;
    context.reconfigure()
}

/// A writable mount of a directory of the physical root, with these attributes.
fn writable_view(directory: BorrowedFd<'_>, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let view = clone_subtree(directory)?;
    let inherited = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_setattr(view.as_fd(), attributes, inherited.difference(attributes))?;
    Ok(view)
}

/// Makes the directories of a path that are not there, each beneath the one before.
fn make_directories(physical: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    // The mount the path is looked at through stays read-only; this one ends with the function.
    let writable = clone_subtree(physical)?;
    let none = MountAttrFlags::empty();
    mount_setattr(writable.as_fd(), none, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    let mut directory = writable;
    for name in path.split('/') {
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let mode = Mode::from_raw_mode(0o755);
                let flags = rustix::fs::AtFlags::empty();
                // The file mask of this program took most of the mode away.
                rustix::fs::chmodat(&directory, name, mode, flags)?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        directory = open_directory_beneath(directory.as_fd(), name)?;
    }
    open_directory_beneath(physical, path)
}

/// Gives the physical root its place in the verified one, read-only and powerless, or none where
/// the tree has no `/sysroot`.
pub(crate) fn move_physical(root: BorrowedFd<'_>, physical: BorrowedFd<'_>) -> Result<(), Refusal> {
    match open_directory_beneath(root, "sysroot") {
        Ok(directory) => attach(physical, directory.as_fd()),
        Err(Errno::NOENT) => rustix::mount::unmount(PHYSICAL_PLACE, UnmountFlags::DETACH),
        Err(errno) => Err(errno),
    }
    .or_refuse(Code::State, "/sysroot", "a place to mount")
}
