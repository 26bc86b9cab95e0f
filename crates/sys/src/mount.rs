// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystem contexts: `fsopen`, `fsconfig`, `fsmount` with the kernel's messages in the errors,
//! and `mount_setattr`.
//!
//! Mounts are file descriptors until [`attach`] gives them a place.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
};

/// Most messages read from one context: the kernel keeps eight.
const MAX_MESSAGES: usize = 16;

/// A step of making or changing a mount that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{call} for {filesystem}: {messages}")]
pub struct MountError {
    /// The call and its argument, such as `fsconfig verity=require`.
    pub call: String,
    /// The type of the filesystem.
    pub filesystem: String,
    /// What the kernel said in words, `; ` between messages, or that it said nothing.
    pub messages: String,
    /// The error number.
    #[source]
    pub errno: Errno,
}

/// A filesystem being configured.
pub struct FsContext {
    fd: OwnedFd,
    filesystem: String,
}

impl fmt::Debug for FsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FsContext({})", self.filesystem)
    }
}

impl FsContext {
    /// A new filesystem of a type the kernel knows: `fsopen`.
    pub fn open(filesystem: &str) -> Result<Self, MountError> {
        match rustix::mount::fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(fd) => Ok(Self {
                fd,
                filesystem: filesystem.to_owned(),
            }),
            Err(errno) => Err(silent("fsopen", filesystem, errno)),
        }
    }

    /// The filesystem of a mount, to change its options: `fspick`.
    pub fn pick(mount: BorrowedFd<'_>) -> Result<Self, MountError> {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        match rustix::mount::fspick(mount, c"", flags) {
            Ok(fd) => Ok(Self {
                fd,
                filesystem: "a mounted filesystem".to_owned(),
            }),
            Err(errno) => Err(silent("fspick", "a mounted filesystem", errno)),
        }
    }

    /// Sets an option without a value.
    pub fn set_flag(&self, key: &str) -> Result<(), MountError> {
        rustix::mount::fsconfig_set_flag(&self.fd, key)
            .map_err(|errno| self.error(format!("fsconfig {key}"), errno))
    }

    /// Sets an option to a value.
    pub fn set_string(&self, key: &str, value: &str) -> Result<(), MountError> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value)
            .map_err(|errno| self.error(format!("fsconfig {key}={value}"), errno))
    }

    /// Sets an option to whatever a file descriptor refers to, through `/proc/self/fd`: the one
    /// spelling that every kernel with the mount API takes. Needs `/proc`.
    pub fn set_fd_path(&self, key: &str, fd: BorrowedFd<'_>) -> Result<(), MountError> {
        self.set_string(key, &fd_path(fd))
    }

    /// Makes the superblock. It is not mounted yet.
    pub fn create(&self) -> Result<(), MountError> {
        rustix::mount::fsconfig_create(&self.fd)
            .map_err(|errno| self.error("fsconfig create".to_owned(), errno))
    }

    /// Applies the options set since [`FsContext::pick`].
    pub fn reconfigure(&self) -> Result<(), MountError> {
        rustix::mount::fsconfig_reconfigure(&self.fd)
            .map_err(|errno| self.error("fsconfig reconfigure".to_owned(), errno))
    }

    /// A detached mount of the filesystem made by [`FsContext::create`]; gone when closed, unless
    /// attached.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
        rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| self.error("fsmount".to_owned(), errno))
    }

    /// [`FsContext::create`], then [`FsContext::mount`].
    pub fn create_mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
        self.create()?;
        self.mount(attributes)
    }

    fn error(&self, call: String, errno: Errno) -> MountError {
        let mut messages = Vec::new();
        let mut buffer = [0; 512];
        while messages.len() < MAX_MESSAGES {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(len @ 1..) => messages.push(
                    String::from_utf8_lossy(buffer.get(..len).unwrap_or_default())
                        .trim_end()
                        .to_owned(),
                ),
                _ => break,
            }
        }
        MountError {
            call,
            filesystem: self.filesystem.clone(),
            messages: if messages.is_empty() {
                "the kernel gave no message".to_owned()
            } else {
                messages.join("; ")
            },
            errno,
        }
    }
}

fn silent(call: &str, filesystem: &str, errno: Errno) -> MountError {
    MountError {
        call: call.to_owned(),
        filesystem: filesystem.to_owned(),
        messages: "the kernel gave no message".to_owned(),
        errno,
    }
}

/// The path by which the kernel reopens exactly what a file descriptor refers to.
pub fn fd_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Attaches a detached mount on the directory or file a descriptor refers to.
pub fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::mount::move_mount(
        mount,
        c"",
        place,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// A detached mount of the subtree a descriptor refers to, without what is mounted below it.
pub fn clone_subtree(directory: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(
        directory,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH,
    )
}

/// `struct mount_attr` of `linux/mount.h`, version 0.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const _: () = assert!(size_of::<MountAttr>() == 32);

/// Sets and clears attributes of one mount: `mount_setattr`.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    set: MountAttrFlags,
    clear: MountAttrFlags,
) -> Result<(), Errno> {
    let attr = MountAttr {
        attr_set: u64::from(set.bits()),
        attr_clr: u64::from(clear.bits()),
        propagation: 0,
        userns_fd: 0,
    };
    let empty: &CStr = c"";
    // SAFETY: int mount_setattr(int, const char *, unsigned, struct mount_attr *, size_t): the
    // path is NUL-terminated, the struct is as long as said; the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Whether the filesystem with this device number, as `stat` gives it, is certainly gone: unmounted
/// in every namespace, and no longer held open by anybody.
///
/// Asked of the kernel by `ustat`, the one call that looks for a filesystem by its number wherever
/// it is mounted. Where there is no such call the answer is always no.
#[cfg(target_arch = "x86_64")]
pub fn is_filesystem_gone(device: u64) -> bool {
    /// Larger than `struct ustat` of `linux/types.h`, and aligned like it.
    #[repr(C, align(8))]
    struct Ustat([u8; 64]);

    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    if major >= 1 << 12 || minor >= 1 << 20 {
        return false;
    }
    // The kernel's own 32-bit form of a device number (`new_decode_dev` of linux/kdev_t.h).
    let encoded = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    let mut found = Ustat([0; 64]);
    // SAFETY: int ustat(dev_t, struct ustat *): the kernel writes one struct ustat, for which there
    // is room.
    let result = unsafe { libc::syscall(libc::SYS_ustat, encoded, &raw mut found) };
    result != 0 && last_errno() == Errno::INVAL
}

/// See above.
#[cfg(not(target_arch = "x86_64"))]
pub fn is_filesystem_gone(_device: u64) -> bool {
    false
}

/// The error number the last failed call of this thread left.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Loads a kernel module from an open file: `finit_module`. `compressed` says that the kernel is
/// to decompress it.
pub fn finit_module(file: impl AsFd, compressed: bool) -> Result<(), Errno> {
    /// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`.
    const COMPRESSED: std::ffi::c_int = 4;
    let parameters = CString::default();
    rustix::system::finit_module(file, &parameters, if compressed { COMPRESSED } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_call_and_the_errno() {
        let error = FsContext::open("no-such-filesystem").expect_err("there is none");
        // EPERM without the rights, ENODEV with them.
        assert!(matches!(error.errno, Errno::NODEV | Errno::PERM), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("fsopen for no-such-filesystem")
        );
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_filesystem_is_gone_when_nobody_has_it() {
        use std::os::unix::fs::MetadataExt as _;
        let here = std::fs::metadata("/").expect("there is a root").dev();
        assert!(!is_filesystem_gone(here));
        let proc = std::fs::metadata("/proc").expect("there is /proc").dev();
        assert!(!is_filesystem_gone(proc));
        assert!(is_filesystem_gone(rustix::fs::makedev(0, 0xf_fffe)));
        assert!(!is_filesystem_gone(u64::MAX), "no number the kernel has");
    }

    #[test]
    fn a_descriptor_has_a_path() {
        let file = std::fs::File::open("/").expect("the root opens");
        let path = fd_path(file.as_fd());
        assert_eq!(
            std::fs::read_link(path).expect("it is a link").as_os_str(),
            "/"
        );
    }
}
