// SPDX-License-Identifier: MIT OR Apache-2.0
//! What reading and changing single files have in common: retries, context for errors, and
//! whether a file that is there can be trusted.

use std::io;

use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_sys::verity::MeasureVerityError;

use super::config::VeritySupport;
use super::create::write_unnamed;
use super::error::StoreError;
use super::io::{FileKind, FileStat, OnTaken, StoreIo};
use super::path::{StoreDir, StorePath, object_path, pack_path};
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

/// Appends all of `bytes` to a new file.
pub(super) fn write_all<I: StoreIo>(io: &I, file: &I::File, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match again(|| io.write(file, rest))? {
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

/// What is in the place of an object or pack.
#[derive(Debug)]
pub(crate) enum Presence<F> {
    /// Nothing.
    Absent,
    /// The right thing, as far as the store can promise.
    Trusted(F),
    /// Something that must not be used, and why.
    Wrong(String),
}

/// An object or pack of a store, open for reading.
///
/// In a store with fs-verity it was measured: reading gives the right bytes or an error. In one
/// without, name and size are right and the bytes are whatever is on the disk.
#[derive(Debug)]
pub struct StoredFile<'s, I: StoreIo = super::KernelIo> {
    io: &'s I,
    file: I::File,
    path: StorePath,
    size_bytes: u64,
}

impl<I: StoreIo> StoredFile<'_, I> {
    /// The length.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads exactly `buffer.len()` bytes.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let offset = offset_bytes.saturating_add(done as u64);
            match again(|| self.io.read_at(&self.file, &mut buffer[done..], offset))? {
                0 => {
                    let path = full_path(self.io, &self.path);
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("{} ends at byte {offset}", path.display()),
                    ));
                }
                read => done += read,
            }
        }
        Ok(())
    }

    /// The file itself.
    pub fn into_file(self) -> I::File {
        self.file
    }
}

impl<I: StoreIo> io::Read for SequentialReader<'_, '_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let StoredFile { io, file, .. } = self.file;
        let read = again(|| io.read_at(file, buffer, self.offset_bytes))?;
        self.offset_bytes += read as u64;
        Ok(read)
    }
}

/// Reads a [`StoredFile`] from its start.
#[derive(Debug)]
pub struct SequentialReader<'f, 's, I: StoreIo> {
    file: &'f StoredFile<'s, I>,
    offset_bytes: u64,
}

impl<'s, I: StoreIo> StoredFile<'s, I> {
    /// Reads it from the start.
    pub fn reader(&self) -> SequentialReader<'_, 's, I> {
        SequentialReader {
            file: self,
            offset_bytes: 0,
        }
    }
}

impl<I: StoreIo> Store<I> {
    /// Opens an object.
    pub fn open_object(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
    ) -> Result<StoredFile<'_, I>, StoreError> {
        self.open_trusted(object_path(digest), digest, Some(size_bytes))
    }

    /// Opens a pack. Its size is the caller's to compare where it knows one.
    pub fn open_pack(&self, digest: &VerityDigest) -> Result<StoredFile<'_, I>, StoreError> {
        self.open_trusted(pack_path(digest), digest, None)
    }

    fn open_trusted(
        &self,
        path: StorePath,
        digest: &VerityDigest,
        size_bytes: Option<u64>,
    ) -> Result<StoredFile<'_, I>, StoreError> {
        match self.presence(&path, digest, size_bytes)? {
            Presence::Trusted((file, stat)) => Ok(StoredFile {
                io: &self.io,
                file,
                path,
                size_bytes: stat.size_bytes,
            }),
            Presence::Absent => Err(StoreError::NotFound {
                path: full_path(&self.io, &path),
            }),
            Presence::Wrong(reason) => Err(StoreError::Damaged {
                path: full_path(&self.io, &path),
                reason,
            }),
        }
    }

    /// Looks at what is in the place of an object or pack (store.md 5.3).
    pub(crate) fn presence(
        &self,
        path: &StorePath,
        digest: &VerityDigest,
        size_bytes: Option<u64>,
    ) -> Result<Presence<(I::File, FileStat)>, StoreError> {
        let (file, stat) = match again(|| self.io.open(path)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Presence::Absent),
            Err(error) => {
                return match unusable(&error) {
                    Some(reason) => Ok(Presence::Wrong(reason)),
                    None => Err(failed(&self.io, "open", path)(error)),
                };
            }
        };
        if stat.kind != FileKind::Regular {
            return Ok(Presence::Wrong(format!(
                "it is {}, expected a regular file",
                stat.kind.name()
            )));
        }
        if let Some(expected) = size_bytes
            && stat.size_bytes != expected
        {
            let found = stat.size_bytes;
            return Ok(Presence::Wrong(format!(
                "it has {found} bytes, expected {expected}"
            )));
        }
        if self.verity == VeritySupport::None {
            return Ok(Presence::Trusted((file, stat)));
        }
        Ok(match self.measure(path, &file)? {
            Measured::Digest(found) if found == *digest => Presence::Trusted((file, stat)),
            Measured::Digest(found) => Presence::Wrong(format!(
                "it has the fs-verity digest {found}, expected {digest}"
            )),
            Measured::OtherAlgorithm => {
                Presence::Wrong("its fs-verity digest is not SHA-256".into())
            }
            Measured::NotEnabled => Presence::Wrong("it does not have fs-verity enabled".into()),
        })
    }

    /// What the kernel enforces on a file of a store with fs-verity.
    pub(super) fn measure(&self, path: &StorePath, file: &I::File) -> Result<Measured, StoreError> {
        match self.io.measure_verity(file) {
            Ok(Some(digest)) => Ok(Measured::Digest(digest)),
            Ok(None) | Err(MeasureVerityError::DigestTooLong) => Ok(Measured::OtherAlgorithm),
            Err(MeasureVerityError::NotEnabled) => Ok(Measured::NotEnabled),
            Err(error) if error.is_unsupported() => Err(StoreError::VerityLost {
                location: self.location().into(),
            }),
            Err(source) => Err(StoreError::MeasureVerity {
                path: full_path(&self.io, path),
                source,
            }),
        }
    }

    /// Moves what is wrong out of the way; gives its new place.
    pub(super) fn move_to_trash(&self, path: &StorePath) -> Result<StorePath, StoreError> {
        let flat = path.to_string().replace('/', "-");
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

    /// Makes durable and clears away what an unfinished transaction left (store.md 4.3).
    pub(super) fn clear_leftovers(&self) -> Result<(), StoreError> {
        let tmp = StoreDir::Tmp.path();
        let entries = again(|| self.io.list(&tmp)).map_err(failed(&self.io, "list", &tmp))?;
        if entries.is_empty() {
            return Ok(());
        }
        again(|| self.io.sync_filesystem()).map_err(failed(
            &self.io,
            "sync",
            &StorePath::root(),
        ))?;
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

/// What measuring a file gave.
#[derive(Debug)]
pub(super) enum Measured {
    Digest(VerityDigest),
    OtherAlgorithm,
    NotEnabled,
}

/// See [`Store::read_small`].
pub(super) fn read_small_on<I: StoreIo>(
    io: &I,
    path: &StorePath,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (file, stat) = match again(|| io.open(path)) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(io, "open", path)(error)),
    };
    if stat.kind != FileKind::Regular {
        return Err(StoreError::NotRegular {
            path: full_path(io, path),
            found: stat.kind,
        });
    }
    if stat.size_bytes > max_bytes {
        return Err(StoreError::TooLarge {
            path: full_path(io, path),
            found_bytes: stat.size_bytes,
            max_bytes,
        });
    }
    let stored = StoredFile {
        io,
        file,
        path: path.clone(),
        size_bytes: stat.size_bytes,
    };
    let len = usize::try_from(stat.size_bytes).expect("bounded by max_bytes");
    let mut bytes = vec![0; len];
    let read = stored.read_exact_at(&mut bytes, 0);
    read.map_err(failed(io, "read", path))?;
    Ok(Some(bytes))
}

/// The reason if a file that is there can never be opened as it is: it is no file, or the
/// filesystem found its fs-verity descriptor damaged. Such a file is to be replaced.
fn unusable(error: &io::Error) -> Option<String> {
    let errno = Errno::from_io_error(error)?;
    match errno {
        Errno::LOOP => Some("it is a symbolic link, expected a regular file".into()),
        Errno::NXIO | Errno::NODEV => {
            Some("it is a device, fifo or socket, expected a regular file".into())
        }
        Errno::IO | Errno::INVAL | Errno::UCLEAN | Errno::BADMSG | Errno::MSGSIZE => {
            Some(format!("it cannot be opened: {error}"))
        }
        _ => None,
    }
}
