// SPDX-License-Identifier: MIT OR Apache-2.0
//! Getting what a filesystem's journal holds to where it belongs, for readers that do not replay
//! journals: boot loaders.

use std::os::fd::AsFd;

use rustix::fs::FsWord;
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl, opcode};

/// `f_type` of ext2, ext3 and ext4 (`statfs(2)`).
const EXT4_SUPER_MAGIC: FsWord = 0xef53;

/// `f_type` of XFS.
const XFS_SUPER_MAGIC: FsWord = 0x5846_5342;

const EXT4_IOC_CHECKPOINT: rustix::ioctl::Opcode = opcode::write::<u32>(b'f', 43);
const FIFREEZE: rustix::ioctl::Opcode = opcode::read_write::<i32>(b'X', 119);
const FITHAW: rustix::ioctl::Opcode = opcode::read_write::<i32>(b'X', 120);

/// Writes all that is in the journal of the filesystem of `file` in its place. ext4 does it on
/// demand; XFS when it is frozen, which this does for a moment. Others need no more than `syncfs`.
///
/// The caller has synced the filesystem. Must not be called for a filesystem that the process
/// itself needs while it is frozen: nothing is written to it in between.
pub fn write_in_place(file: impl AsFd) -> Result<(), Errno> {
    match rustix::fs::fstatfs(&file)?.f_type {
        EXT4_SUPER_MAGIC => match ext4_ioc_checkpoint(&file) {
            // Without a journal, or one that this kernel does not checkpoint on demand.
            Err(Errno::NODEV | Errno::NOTTY | Errno::OPNOTSUPP) => Ok(()),
            result => result,
        },
        XFS_SUPER_MAGIC => {
            fifreeze(&file)?;
            fithaw(&file)
        }
        _ => Ok(()),
    }
}

/// `EXT4_IOC_CHECKPOINT`.
fn ext4_ioc_checkpoint(file: impl AsFd) -> Result<(), Errno> {
    let no_flags = 0_u32;
    // SAFETY: the opcode is that of EXT4_IOC_CHECKPOINT, whose argument is a u32 of flags.
    let request = unsafe { Setter::<EXT4_IOC_CHECKPOINT, u32>::new(no_flags) };
    // SAFETY: the kernel only reads the number.
    unsafe { ioctl(file, request) }
}

/// `FIFREEZE`.
fn fifreeze(file: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the opcode is that of FIFREEZE, which ignores its argument.
    let request = unsafe { Setter::<FIFREEZE, i32>::new(0) };
    // SAFETY: the kernel reads nothing.
    unsafe { ioctl(file, request) }
}

/// `FITHAW`.
fn fithaw(file: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the opcode is that of FITHAW, which ignores its argument.
    let request = unsafe { Setter::<FITHAW, i32>::new(0) };
    // SAFETY: the kernel reads nothing.
    unsafe { ioctl(file, request) }
}
