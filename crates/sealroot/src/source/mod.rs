// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where trees come from: a directory, read with all metadata, on all cores, each file once.
//!
//! [`read_directory`] goes in three steps, of which the first two overlap:
//!
//! * `walk`: directories are tasks of the thread pool; each lists its names, sorted, and what
//!   they are;
//! * `content`: files are read into the memory of a worker, hashed many at a time, and offered to
//!   the sink from there; only files beyond [`BUFFER_BYTES`] are streamed; `small` ones are not
//!   hashed and go to the spool;
//! * `normal`, where that is wanted: what of compressed files becomes part of the tree;
//! * `assemble`: the records become a tree, in canonical order, so that nothing depends on timing.
//!
//! All names are looked up relative to an open directory and no symlink is ever followed.

mod assemble;
mod content;
mod error;
mod listing;
mod normal;
mod small;
mod stat;
mod walk;
mod xattrs;

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::ResolveFlags;
use sealroot_format::limits;
use sealroot_format::tree::Tree;

use crate::monitor::{Monitor, Unit};
use crate::object::ObjectSink;
use crate::spool::Spool;

pub use error::SourceError;
pub use normal::NormalizeError;

/// Files up to this many bytes are hashed and offered to the sink from memory; larger ones are
/// streamed, and read a second time if the sink lacks them. Each thread has as much memory for
/// them, unless there are so many threads that it is less than that.
pub const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// The most memory for content of all threads together.
const TOTAL_BUFFER_BYTES: usize = 32 * 1024 * 1024;

/// Nothing below the root is reached by a symlink or through a mount, at any time. That nothing
/// is above it either needs no flag: no name is `..`.
const CONFINED: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_XDEV);

/// How a directory is read.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryOptions {
    /// Files up to this many bytes are part of the tree; larger ones go to the sink.
    pub threshold_bytes: u32,
    /// What becomes of device nodes.
    pub devices: Devices,
    /// What becomes of compressed modules and documentation.
    pub compressed: Compressed,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            threshold_bytes: limits::DEFAULT_THRESHOLD_BYTES,
            devices: Devices::Refuse,
            compressed: Compressed::Keep,
        }
    }
}

/// What becomes of device nodes, other than the whiteouts of overlayfs (character device 0:0),
/// which are always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// An error: an OS image needs none, `/dev` is made at boot.
    Refuse,
    /// They become part of the tree.
    Keep,
}

/// What becomes of kernel modules, manual pages and other documentation that are compressed with gzip, xz or
/// zstd, each below the directory where such things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressed {
    /// They are taken as they are.
    Keep,
    /// They are decompressed, so that a change in one of them is a small one in its content: names lose the
    /// ending that says otherwise, with them symlinks, and the lists of modules that `depmod` made.
    Normalize,
}

/// Reads the tree under `root`, which may be a symlink to a directory. The content of its small
/// files goes to `spool`, the large ones are offered to `sink`.
///
/// Everything is taken over: arbitrary names, modes, owners, times, hardlinks, symlinks, special
/// files and all extended attributes that this process may see (`trusted.*` only as root); only
/// attributes in a namespace of the filesystem itself (`btrfs.*`) are left out.
///
/// A file or directory that changes while being read, as far as its size and times tell, is an
/// error. So is a mount point inside the tree: neither what it covers nor that it should be empty
/// is for us to guess. A bind mount of the root elsewhere shows the tree without its mounts.
///
/// Runs in the current rayon thread pool. Memory: the tree without content, that of the spool, and
/// less than 40 MiB or, where that is more, a megabyte for each thread, whatever the size of the files.
pub fn read_directory(
    root: &Path,
    options: &DirectoryOptions,
    spool: &Spool<'_>,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<Tree, SourceError> {
    read_open_directory(walk::open_root(root)?, root, options, spool, sink, monitor)
}

/// Like [`read_directory`], of a directory that is open for reading and was at `path`, which is for
/// messages.
pub fn read_open_directory(
    directory: OwnedFd,
    path: &Path,
    options: &DirectoryOptions,
    spool: &Spool<'_>,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<Tree, SourceError> {
    monitor.start("reading", Unit::Bytes, None);
    let records = walk::walk(directory, path, *options, spool, sink, monitor)?;
    if options.compressed == Compressed::Normalize {
        let opened = records.opened.len();
        monitor.note(format!(
            "{opened} compressed modules and pages of documentation are taken decompressed"
        ));
    }
    assemble::assemble(path, options.compressed, records)
}
