// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `/etc` that there is, read from its directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::{InlineContent, Tree};

use super::error::EtcError;
use crate::monitor::Monitor;
use crate::object::{Discard, ObjectContent, ObjectSink};
use crate::source::{Compressed, Devices, DirectoryOptions, SourceError, read_open_directory};
use crate::spool::Spool;

/// How often a directory is read that changes while it is.
const MAX_ATTEMPTS: u32 = 5;

/// Everything is read in this way: what is not carried over is told by name, not refused.
const OPTIONS: DirectoryOptions = DirectoryOptions {
    threshold_bytes: sealroot_format::limits::DEFAULT_THRESHOLD_BYTES,
    devices: Devices::Keep,
    compressed: Compressed::Keep,
};

/// A directory that holds an `/etc`.
#[derive(Debug)]
pub struct EtcDirectory {
    directory: OwnedFd,
    path: PathBuf,
}

impl EtcDirectory {
    /// The directory at `path`, which is not a symlink. What is above it is trusted as given.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self::from_open(directory, path))
    }

    /// A directory that is open for reading; its path is for messages.
    pub fn from_open(directory: OwnedFd, path: &Path) -> Self {
        Self {
            directory,
            path: path.into(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, to be compared: the content of large files is not kept.
    pub fn tree(&self, monitor: &dyn Monitor) -> Result<Tree, EtcError> {
        self.read(&Discard, monitor)
    }

    /// All that is in it.
    pub fn read_whole(&self, monitor: &dyn Monitor) -> Result<Current, EtcError> {
        let large = LargeFiles::default();
        let tree = self.read(&large, monitor)?;
        let large = large.files.into_inner();
        Ok(Current {
            tree,
            large: large.unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Reads it until it stands still, within bounds: programs may be writing in it.
    fn read(&self, sink: &dyn ObjectSink, monitor: &dyn Monitor) -> Result<Tree, EtcError> {
        let mut attempts = 1;
        loop {
            let spool = Spool::in_temporary_directory();
            // Opened anew: a descriptor that has been read from is at its end.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&self.directory, ".", flags, Mode::empty());
            let directory = opened.map_err(|errno| SourceError::Io {
                action: "open",
                path: self.path.clone(),
                source: errno.into(),
            })?;
            match read_open_directory(directory, &self.path, &OPTIONS, &spool, sink, monitor) {
                Err(SourceError::Changed { .. }) if attempts < MAX_ATTEMPTS => attempts += 1,
                result => return Ok(result?),
            }
        }
    }
}

/// An `/etc` with the content of all its files.
#[derive(Debug)]
pub struct Current {
    /// What is in it.
    pub tree: Tree,
    large: HashMap<VerityDigest, InlineContent>,
}

impl Current {
    /// An `/etc` whose large files, if any, are objects of the store.
    pub fn of_tree(tree: Tree) -> Self {
        Self {
            tree,
            large: HashMap::new(),
        }
    }

    pub(super) fn large(&self, digest: &VerityDigest) -> Option<&InlineContent> {
        self.large.get(digest)
    }
}

/// Puts large files aside in a file without a name.
#[derive(Debug, Default)]
struct LargeFiles {
    files: Mutex<HashMap<VerityDigest, InlineContent>>,
}

impl ObjectSink for LargeFiles {
    fn has(&self, digest: &VerityDigest, _size_bytes: u64) -> io::Result<bool> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(files.contains_key(digest))
    }

    fn add(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: ObjectContent<'_>,
    ) -> io::Result<()> {
        let mut file = scratch_file()?;
        let copied = match content {
            ObjectContent::Hashed(bytes) => {
                file.write_all(bytes)?;
                bytes.len() as u64
            }
            ObjectContent::Stream(reader) => io::copy(&mut reader.take(size_bytes), &mut file)?,
        };
        if copied != size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(0))?;
        let content = InlineContent::new(Arc::new(file), 0..size_bytes);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(*digest, content);
        Ok(())
    }
}

fn scratch_file() -> io::Result<File> {
    let directory = std::env::var_os("TMPDIR").unwrap_or_else(|| "/var/tmp".into());
    tempfile::tempfile_in(directory)
}
