// SPDX-License-Identifier: MIT OR Apache-2.0
//! What reading and changing single files have in common: retries and context for errors.

use std::io;

use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_sys::verity::MeasureVerityError;

use super::create::write_unnamed;
use super::error::StoreError;
use super::io::{FileKind, OnTaken, StoreIo};
use super::path::{StoreDir, StorePath};
use super::presence::{StoredFile, kind_of_unopenable};
use super::{Store, path};

/// How often an interrupted operation is tried again.
const MAX_INTERRUPTIONS: u32 = 100;

/// How many names are tried for one thing on its way into the trash.
const MAX_TRASH_NAMES: u32 = 10_000;

/// Deepest nesting of directories that is cleared away.
const MAX_LEFTOVER_DEPTH: u32 = 32;

/// Calls again what was only interrupted, within bounds.
pub(crate) fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut interruptions = 0;
    loop {
        match call() {
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted
                    && interruptions < MAX_INTERRUPTIONS =>
            {
                interruptions += 1;
            }
            result => return result,
        }
    }
}

/// Measures, again if only interrupted.
pub(crate) fn measure<I: StoreIo>(
    io: &I,
    file: &I::File,
) -> Result<Option<VerityDigest>, MeasureVerityError> {
    let mut interruptions = 0;
    loop {
        match io.measure_verity(file) {
            Err(MeasureVerityError::Other(Errno::INTR)) if interruptions < MAX_INTERRUPTIONS => {
                interruptions += 1;
            }
            result => return result,
        }
    }
}

/// Appends all of `bytes` to a new file, by `write`, which takes as many as it likes.
pub(crate) fn write_all(
    bytes: &[u8],
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match again(|| write(rest))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => rest = &rest[written..],
        }
    }
    Ok(())
}

/// Gives an [`io::Error`] its context.
pub(crate) fn failed<I: StoreIo>(
    io: &I,
    operation: &'static str,
    path: &StorePath,
) -> impl FnOnce(io::Error) -> StoreError {
    failed_needing(io, operation, path, None)
}

/// Like [`failed`], for an operation that needs that much space.
pub(super) fn failed_needing<I: StoreIo>(
    io: &I,
    operation: &'static str,
    path: &StorePath,
    needed_bytes: Option<u64>,
) -> impl FnOnce(io::Error) -> StoreError {
    move |source| {
        let path = full_path(io, path);
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace {
                operation,
                path,
                needed_bytes,
                available_bytes: io.available_bytes().ok(),
                source,
            },
            _ => StoreError::Io {
                operation,
                path,
                source,
            },
        }
    }
}

/// A path as a person finds it.
pub(crate) fn full_path<I: StoreIo>(io: &I, path: &StorePath) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    io.location()
        .join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

impl<I: StoreIo> Store<I> {
    /// Moves what is wrong out of the way; gives its new place.
    pub(crate) fn move_to_trash(&self, path: &StorePath) -> Result<StorePath, StoreError> {
        self.move_to_trash_as(path, path)
    }

    /// Like [`Store::move_to_trash`], of what had another path before: it is found by that.
    pub(super) fn move_to_trash_as(
        &self,
        path: &StorePath,
        before: &StorePath,
    ) -> Result<StorePath, StoreError> {
        let flat = before.to_string().replace('/', "-");
        for n in 0..MAX_TRASH_NAMES {
            let trash = path::known(&format!("{}/{flat}.{n}", StoreDir::Trash.name()));
            match again(|| self.io.rename(path, &trash, OnTaken::Fail)) {
                Ok(()) => return Ok(trash),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&self.io, "move to trash", path)(error)),
            }
        }
        let full = io::Error::other("the trash is full of files with this name; empty it");
        Err(failed(&self.io, "move to trash", path)(full))
    }

    /// Reads a small file whole; `None` if it is not there.
    pub(crate) fn read_small(
        &self,
        path: &StorePath,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        read_small_on(&self.io, path, max_bytes)
    }

    /// A new small file, not durable yet.
    pub(crate) fn create_small(&self, path: &StorePath, bytes: &[u8]) -> Result<(), StoreError> {
        let file = write_unnamed(&self.io, path, bytes)?;
        again(|| self.io.link(&file, path)).map_err(failed(&self.io, "create", path))
    }

    /// Makes durable and clears away what an unfinished transaction left (store.md L3).
    pub(super) fn clear_leftovers(&self) -> Result<(), StoreError> {
        let tmp = StoreDir::Tmp.path();
        let entries = again(|| self.io.list(&tmp)).map_err(failed(&self.io, "list", &tmp))?;
        if entries.is_empty() {
            return Ok(());
        }
        self.sync_all()?;
        self.note_unswept()?;
        self.remove_content(&tmp, MAX_LEFTOVER_DEPTH)
    }

    /// Removes everything in a directory.
    fn remove_content(&self, directory: &StorePath, depth: u32) -> Result<(), StoreError> {
        let io = &self.io;
        for entry in again(|| io.list(directory)).map_err(failed(io, "list", directory))? {
            let too_deep = || io::Error::from(Errno::NAMETOOLONG);
            let path = directory.join(&entry.name).filter(|_| depth > 0);
            let path = path.ok_or_else(|| failed(io, "clear", directory)(too_deep()))?;
            if entry.kind == FileKind::Directory {
                self.remove_content(&path, depth - 1)?;
                again(|| io.remove_directory(&path)).map_err(failed(io, "remove", &path))?;
            } else {
                again(|| io.remove_file(&path)).map_err(failed(io, "remove", &path))?;
            }
        }
        Ok(())
    }
}

/// See [`Store::read_small`].
pub(crate) fn read_small_on<I: StoreIo>(
    io: &I,
    path: &StorePath,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let not_regular = |found| StoreError::NotRegular {
        path: full_path(io, path),
        found,
    };
    let (file, stat) = match again(|| io.open(path)) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(match kind_of_unopenable(&error) {
                Some(found) => not_regular(found),
                None => failed(io, "open", path)(error),
            });
        }
    };
    if stat.kind != FileKind::Regular {
        return Err(not_regular(stat.kind));
    }
    if stat.size_bytes > max_bytes {
        return Err(StoreError::TooLarge {
            path: full_path(io, path),
            found_bytes: stat.size_bytes,
            max_bytes,
        });
    }
    let stored = StoredFile::new(io, path.clone(), (file, stat));
    let len = usize::try_from(stored.size_bytes()).expect("bounded by max_bytes");
    let mut bytes = vec![0; len];
    let read = stored.read_exact_at(&mut bytes, 0);
    read.map_err(failed(io, "read", path))?;
    Ok(Some(bytes))
}
