// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything a store does to a filesystem, as one trait.
//!
//! No code of the store or of deployments changes anything but through [`StoreIo`]: so each
//! single operation can be made to fail, and the machine made to crash between any two. One call
//! is one operation: it happens as a whole or, with an error, not at all.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Metadata;
use sealroot_sys::verity::{EnableVerityError, MeasureVerityError};

use super::path::StorePath;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, fifo or socket.
    Special,
}

impl FileKind {
    /// The words for it in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regular => "a regular file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Special => "a device, fifo or socket",
        }
    }
}

/// What the store wants to know of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Its length.
    pub size_bytes: u64,
    /// Tells it from all other files of the store.
    pub inode: u64,
}

/// What a file takes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// How many names it has, those elsewhere counted.
    pub links: u64,
    /// What is free again when the last of them is gone, bytes.
    pub allocated_bytes: u64,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name.
    pub name: Box<[u8]>,
    /// What it names.
    pub kind: FileKind,
}

/// The kernel's keyring `.fs-verity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKeyring {
    /// The kernel verifies no built-in signatures.
    Absent,
    /// It has no certificates, and refuses every file with a signature.
    Empty,
    /// It has certificates.
    Filled,
}

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Others who read.
    Shared,
    /// Nobody.
    Exclusive,
}

/// What a rename does where the new name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTaken {
    /// The file that has the name loses it.
    Replace,
    /// `EEXIST`.
    Fail,
    /// The two change places, of whatever kind they are. `ENOENT` where it is free.
    Exchange,
}

/// Which directory a store is: until the system goes down, by whatever path it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreIdentity {
    /// The number of its filesystem.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// The operations of a store on its filesystem.
///
/// Paths are resolved from the store's directory without ever following a symbolic link or
/// crossing into another filesystem. Nothing is durable before a `sync_` operation said so: the
/// content of a file and its fs-verity by [`StoreIo::sync_file`], names in a directory by
/// [`StoreIo::sync_directory`], all of both by [`StoreIo::sync_filesystem`].
pub trait StoreIo: Debug + Send + Sync {
    /// An open file.
    type File: Debug + Send + Sync;
    /// A directory that is held open.
    type Directory: Debug + Send + Sync;
    /// A lock, held until it is dropped.
    type Lock: Debug + Send + Sync;

    /// Where the store is, for messages.
    fn location(&self) -> &Path;

    /// How many bytes can still be written.
    fn available_bytes(&self) -> io::Result<u64>;

    /// Opens what `path` names for reading: a regular file, or anything else that opening does
    /// not change. `ELOOP` for a symbolic link.
    fn open(&self, path: &StorePath) -> io::Result<(Self::File, FileStat)>;

    /// Holds a directory open, to open or name many files in it.
    fn hold(&self, directory: &StorePath) -> io::Result<Self::Directory>;

    /// Like [`StoreIo::open`], of a valid name in a directory; what it is, is not looked at.
    fn open_in(&self, directory: &Self::Directory, name: &[u8]) -> io::Result<Self::File>;

    /// Reads at an offset; fewer bytes than asked for only at the end or after an interruption.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset_bytes: u64)
    -> io::Result<usize>;

    /// The names in a directory, sorted.
    fn list(&self, directory: &StorePath) -> io::Result<Vec<DirEntry>>;

    /// What the file at `path` takes on the disk. Does not follow it.
    fn usage(&self, path: &StorePath) -> io::Result<Usage>;

    /// The digest the kernel enforces on a file, `None` if it is not of our profile's algorithm.
    fn measure_verity(&self, file: &Self::File)
    -> Result<Option<VerityDigest>, MeasureVerityError>;

    /// A new empty regular file without a name, open for writing, on the filesystem of
    /// `directory`. Vanishes when dropped unlinked.
    fn create_unnamed(&self, directory: &StorePath) -> io::Result<Self::File>;

    /// Appends some of `bytes`, at least one.
    fn write(&self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;

    /// Like [`StoreIo::write`], of content that nobody reads soon: no memory need be spent on
    /// keeping it.
    fn write_uncached(&self, file: &Self::File, bytes: &[u8]) -> io::Result<usize> {
        self.write(file, bytes)
    }

    /// The same file, open for reading only.
    fn reopen_read_only(&self, file: &Self::File) -> io::Result<Self::File>;

    /// The handle of a file that somebody else made and this process has open for reading.
    fn import(&self, file: BorrowedFd<'_>) -> io::Result<Self::File>;

    /// Gives a new empty file the content of one that this process has open for reading; both share it
    /// then. An error where the filesystem cannot do that.
    fn share(&self, _file: &Self::File, _source: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Enables fs-verity on a file nobody has open for writing. It has a name: see docs/format/store.md L6.
    fn enable_verity(&self, file: &Self::File) -> Result<(), EnableVerityError>;

    /// Like [`StoreIo::enable_verity`], with a built-in signature that the kernel verifies by its keyring
    /// then and whenever the file is opened.
    fn enable_signed_verity(
        &self,
        file: &Self::File,
        signature: &[u8],
    ) -> Result<(), EnableVerityError>;

    /// The built-in signature that a file with fs-verity has, if it has one.
    fn read_verity_signature(&self, file: &Self::File) -> io::Result<Option<Vec<u8>>>;

    /// What the kernel's keyring for built-in signatures is like.
    fn signature_keyring(&self) -> SignatureKeyring;

    /// Gives an open file, unnamed or not, a (further) name. `EEXIST` where it is taken.
    fn link(&self, file: &Self::File, path: &StorePath) -> io::Result<()>;

    /// Like [`StoreIo::link`], with a valid name in a directory.
    fn link_in(
        &self,
        file: &Self::File,
        directory: &Self::Directory,
        name: &[u8],
    ) -> io::Result<()>;

    /// Makes a directory.
    fn create_directory(&self, path: &StorePath) -> io::Result<()>;

    /// Makes a symbolic link.
    fn create_symlink(&self, path: &StorePath, target: &[u8]) -> io::Result<()>;

    /// Gives what `path` names the owner, permissions, extended attributes and time that are
    /// given; a symbolic link has no permissions. Extended attributes that it has beyond these
    /// stay. What it had before is not to be relied on after an error.
    fn set_attributes(&self, path: &StorePath, metadata: &Metadata) -> io::Result<()>;

    /// Renames anything within the store.
    fn rename(&self, from: &StorePath, to: &StorePath, on_taken: OnTaken) -> io::Result<()>;

    /// Removes the name of anything but a directory.
    fn remove_file(&self, path: &StorePath) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &StorePath) -> io::Result<()>;

    /// Makes a file's content, size and fs-verity durable.
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &StorePath) -> io::Result<()>;

    /// Makes everything durable.
    fn sync_filesystem(&self) -> io::Result<()>;

    /// Locks the file at `path`, which is made if missing; `None` if somebody else holds it.
    fn try_lock(&self, path: &StorePath, kind: LockKind) -> io::Result<Option<Self::Lock>>;

    /// The process that holds a lock of the file at `path`, for people, if that is known.
    fn lock_holder(&self, path: &StorePath) -> Option<u32>;

    /// What tells the store's directory from all others that are there at this time.
    fn identity(&self) -> io::Result<StoreIdentity>;
}
