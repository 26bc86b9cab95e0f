// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that is done to a boot partition, as one trait.
//!
//! It asks little enough for FAT: no unnamed files, no links, no symbolic links, and no rename,
//! which on FAT may leave two names for the same blocks after a crash.

use std::fmt::Debug;
use std::io;
use std::path::Path;

use crate::store::{DirEntry, FileStat, StorePath};

/// What a boot partition has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSpace {
    /// Bytes that can still be written.
    pub available_bytes: u64,
    /// What every file and directory takes a multiple of.
    pub block_bytes: u64,
}

/// The operations on a boot partition.
///
/// Paths are resolved from its root without ever following a symbolic link or crossing into
/// another filesystem. Nothing is durable before a `sync_` operation said so: the content of a
/// file by [`BootIo::sync_file`], names in a directory by [`BootIo::sync_directory`], all of both
/// by [`BootIo::settle`].
pub trait BootIo: Debug + Send + Sync {
    /// An open file.
    type File: Debug + Send + Sync;

    /// Where the partition is, for messages.
    fn location(&self) -> &Path;

    /// How much room there is.
    fn space(&self) -> io::Result<BootSpace>;

    /// Opens what `path` names for reading: a regular file, or anything else that opening does
    /// not change. `ELOOP` for a symbolic link.
    fn open(&self, path: &StorePath) -> io::Result<(Self::File, FileStat)>;

    /// Reads at an offset; fewer bytes than asked for only at the end or after an interruption.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset_bytes: u64)
    -> io::Result<usize>;

    /// The names in a directory, sorted.
    fn list(&self, directory: &StorePath) -> io::Result<Vec<DirEntry>>;

    /// What a symbolic link says; `EINVAL` for anything else.
    fn read_link(&self, path: &StorePath) -> io::Result<Vec<u8>>;

    /// A new empty file, open for writing. `EEXIST` where the name is taken.
    fn create(&self, path: &StorePath) -> io::Result<Self::File>;

    /// Appends some of `bytes` to a new file, at least one.
    fn write(&self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;

    /// Changes one byte of a new file where it is: after a crash it is the old or the new one.
    fn overwrite(&self, file: &Self::File, byte: u8, offset_bytes: u64) -> io::Result<()>;

    /// Makes a directory.
    fn create_directory(&self, path: &StorePath) -> io::Result<()>;

    /// Removes the name of anything but a directory.
    fn remove_file(&self, path: &StorePath) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &StorePath) -> io::Result<()>;

    /// Makes a file's content and size durable.
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &StorePath) -> io::Result<()>;

    /// Makes everything durable, and in the place where a boot loader looks for it: loaders do
    /// not replay the journals of filesystems.
    fn settle(&self) -> io::Result<()>;
}
