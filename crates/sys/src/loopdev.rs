// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loop devices: a file as a read-only block device.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// `LOOP_CTL_GET_FREE` of `linux/loop.h`.
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
/// `LOOP_CONFIGURE` of `linux/loop.h`.
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
/// `LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR` of `linux/loop.h`.
const READ_ONLY_AUTOCLEAR: u32 = 1 | 4;
/// Another process may take the free device first; after this many times something else is wrong.
const ATTEMPTS: usize = 16;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo64>() == 232);
const _: () = assert!(size_of::<LoopConfig>() == 304);

/// A read-only loop device over an open file. The kernel frees the device after its last user, so
/// the descriptor must be held until the device is mounted.
pub fn loop_configure(file: BorrowedFd<'_>) -> Result<(OwnedFd, String), Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::open("/dev/loop-control", flags, Mode::empty())?;
    let mut result = Err(Errno::BUSY);
    for _ in 0..ATTEMPTS {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns the number of a device.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(crate::mount::last_errno());
        }
        let path = format!("/dev/loop{number}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let device = rustix::fs::open(&path, flags, Mode::empty())?;
        result = configure(&device, file).map(|()| (device, path));
        if !matches!(result, Err(Errno::BUSY)) {
            break;
        }
    }
    result
}

fn configure(device: &OwnedFd, file: BorrowedFd<'_>) -> Result<(), Errno> {
    let config = LoopConfig {
        fd: u32::try_from(file.as_raw_fd()).map_err(|_| Errno::BADF)?,
        block_size: 4096,
        info: LoopInfo64 {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            sizelimit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: READ_ONLY_AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one struct loop_config, which lives until the call returns.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result == 0 {
        Ok(())
    } else {
        Err(crate::mount::last_errno())
    }
}
