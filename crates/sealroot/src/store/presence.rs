// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is there already: whether an object or pack can be trusted, and reading it.

use std::io;

use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_sys::verity::MeasureVerityError;

use super::Store;
use super::config::VeritySupport;
use super::error::StoreError;
use super::files::{again, failed, full_path, measure};
use super::io::{FileKind, FileStat, StoreIo};
use super::path::{ImageName, StorePath, image_path, object_path, pack_path};

/// What is in the place of an object or pack.
#[derive(Debug)]
pub(crate) enum Presence<F> {
    /// Nothing.
    Absent,
    /// The right thing, as far as the store can promise.
    Trusted(F),
    /// Something that must not be used.
    Wrong(Fault),
}

/// Why a file must not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it is {}, expected a regular file", found.name())]
    NotRegular { found: FileKind },
    #[error("it cannot be read: {error}")]
    Unreadable { error: io::Error },
    #[error("it has {found_bytes} bytes, expected {expected_bytes}")]
    Size {
        expected_bytes: u64,
        found_bytes: u64,
    },
    #[error("it has the fs-verity digest {found}, expected {expected}")]
    Digest {
        expected: VerityDigest,
        found: VerityDigest,
    },
    #[error("its fs-verity digest is not a SHA-256 one")]
    OtherAlgorithm,
    #[error("it does not have fs-verity enabled")]
    NotEnabled,
}

impl Fault {
    /// The fault if a file that is there can never be opened as it is: it is no file, or the
    /// filesystem found its fs-verity descriptor damaged.
    pub(crate) fn of_opening(error: io::Error) -> Result<Self, io::Error> {
        if let Some(found) = kind_of_unopenable(&error) {
            return Ok(Self::NotRegular { found });
        }
        match Errno::from_io_error(&error) {
            Some(Errno::IO | Errno::INVAL | Errno::UCLEAN | Errno::BADMSG | Errno::MSGSIZE) => {
                Ok(Self::Unreadable { error })
            }
            _ => Err(error),
        }
    }
}

/// What a name names, if opening it fails for that reason.
pub(super) fn kind_of_unopenable(error: &io::Error) -> Option<FileKind> {
    match Errno::from_io_error(error)? {
        Errno::LOOP => Some(FileKind::Symlink),
        Errno::NXIO | Errno::NODEV => Some(FileKind::Special),
        _ => None,
    }
}

impl<I: StoreIo> Store<I> {
    /// Looks at what is in the place of an object or pack (store.md O3, O5).
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
                let fault = Fault::of_opening(error).map_err(failed(&self.io, "open", path))?;
                return Ok(Presence::Wrong(fault));
            }
        };
        match self.fault_of(path, &file, &stat, digest, size_bytes)? {
            None => Ok(Presence::Trusted((file, stat))),
            Some(fault) => Ok(Presence::Wrong(fault)),
        }
    }

    fn fault_of(
        &self,
        path: &StorePath,
        file: &I::File,
        stat: &FileStat,
        digest: &VerityDigest,
        size_bytes: Option<u64>,
    ) -> Result<Option<Fault>, StoreError> {
        if stat.kind != FileKind::Regular {
            return Ok(Some(Fault::NotRegular { found: stat.kind }));
        }
        if let Some(expected_bytes) = size_bytes
            && stat.size_bytes != expected_bytes
        {
            return Ok(Some(Fault::Size {
                expected_bytes,
                found_bytes: stat.size_bytes,
            }));
        }
        match self.verity {
            VeritySupport::None => Ok(None),
            VeritySupport::Kernel => self.fault_measured(path, file, digest),
        }
    }

    /// The fault of a file that does not measure as the digest it must have.
    pub(super) fn fault_measured(
        &self,
        path: &StorePath,
        file: &I::File,
        expected: &VerityDigest,
    ) -> Result<Option<Fault>, StoreError> {
        match measure(&self.io, file) {
            Ok(Some(found)) if found == *expected => Ok(None),
            Ok(Some(found)) => Ok(Some(Fault::Digest {
                expected: *expected,
                found,
            })),
            Ok(None) | Err(MeasureVerityError::DigestTooLong) => Ok(Some(Fault::OtherAlgorithm)),
            Err(MeasureVerityError::NotEnabled) => Ok(Some(Fault::NotEnabled)),
            Err(error) => Err(self.not_measured(path, error)),
        }
    }

    /// The digest of a file that has just been given fs-verity.
    pub(super) fn measured(
        &self,
        path: &StorePath,
        file: &I::File,
    ) -> Result<VerityDigest, StoreError> {
        match measure(&self.io, file) {
            Ok(Some(found)) => Ok(found),
            Ok(None) | Err(MeasureVerityError::DigestTooLong) => Err(StoreError::Damaged {
                path: full_path(&self.io, path),
                reason: Fault::OtherAlgorithm.to_string(),
            }),
            Err(error) => Err(self.not_measured(path, error)),
        }
    }

    fn not_measured(&self, path: &StorePath, error: MeasureVerityError) -> StoreError {
        if error.is_unsupported() {
            return StoreError::VerityLost {
                location: self.location().into(),
            };
        }
        StoreError::MeasureVerity {
            path: full_path(&self.io, path),
            source: error,
        }
    }

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

    /// Opens an image. Its size is the caller's to compare where it knows one.
    pub fn open_image(&self, name: &ImageName) -> Result<StoredFile<'_, I>, StoreError> {
        self.open_trusted(image_path(name), &name.image, None)
    }

    fn open_trusted(
        &self,
        path: StorePath,
        digest: &VerityDigest,
        size_bytes: Option<u64>,
    ) -> Result<StoredFile<'_, I>, StoreError> {
        match self.presence(&path, digest, size_bytes)? {
            Presence::Trusted(opened) => Ok(StoredFile::new(&self.io, path, opened)),
            Presence::Absent => Err(StoreError::NotFound {
                path: full_path(&self.io, &path),
            }),
            Presence::Wrong(fault) => Err(StoreError::Damaged {
                path: full_path(&self.io, &path),
                reason: fault.to_string(),
            }),
        }
    }
}

/// A file of a store, open for reading.
///
/// An object or pack of a store with fs-verity was measured: reading gives the right bytes or an
/// error. In a store without, name and size are right and the bytes are whatever is on the disk.
#[derive(Debug)]
pub struct StoredFile<'s, I: StoreIo = super::KernelIo> {
    io: &'s I,
    file: I::File,
    path: StorePath,
    size_bytes: u64,
}

impl<'s, I: StoreIo> StoredFile<'s, I> {
    /// A file that was just opened.
    pub(crate) fn new(io: &'s I, path: StorePath, (file, stat): (I::File, FileStat)) -> Self {
        Self {
            io,
            file,
            path,
            size_bytes: stat.size_bytes,
        }
    }

    /// The length.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The built-in signature by which the kernel opens it, if it has one.
    pub(crate) fn verity_signature(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let read = again(|| self.io.read_verity_signature(&self.file));
        read.map_err(failed(self.io, "read the signature of", &self.path))
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

    /// The error that its content has another digest than its name says.
    pub(crate) fn with_other_content(
        &self,
        expected: VerityDigest,
        found: VerityDigest,
    ) -> StoreError {
        StoreError::Damaged {
            path: full_path(self.io, &self.path),
            reason: Fault::Digest { expected, found }.to_string(),
        }
    }

    /// The error that it cannot be read.
    pub(crate) fn unreadable(&self, error: io::Error) -> StoreError {
        failed(self.io, "read", &self.path)(error)
    }

    /// Reads it from the start.
    pub fn reader(&self) -> SequentialReader<'_, 's, I> {
        SequentialReader {
            file: self,
            offset_bytes: 0,
        }
    }

    /// The file itself.
    pub fn into_file(self) -> I::File {
        self.file
    }
}

/// Reads a [`StoredFile`] from its start.
#[derive(Debug)]
pub struct SequentialReader<'f, 's, I: StoreIo> {
    file: &'f StoredFile<'s, I>,
    offset_bytes: u64,
}

impl<I: StoreIo> io::Read for SequentialReader<'_, '_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let StoredFile { io, file, .. } = self.file;
        let read = again(|| io.read_at(file, buffer, self.offset_bytes))?;
        self.offset_bytes += read as u64;
        Ok(read)
    }
}
