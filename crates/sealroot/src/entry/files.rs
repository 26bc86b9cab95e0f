// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels with their initramfs, and images that have both inside, on the boot partition: `sealroot/<digest>/`
//! (docs/format/entries.md 2).

use std::io;

use sealroot_format::digest::Sha256Digest;
use sealroot_format::erofs::ReadAt;
use sealroot_format::limits::MAX_BOOT_FILE_BYTES;
use sha2::{Digest as _, Sha256};

use super::read::known;
use super::text::KERNELS;
use super::{Boot, BootIo, EntryError};
use crate::store::{FileKind, StorePath, again};

/// How much of a file is in memory at a time, bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A kernel and its initramfs, or an image, about to be written.
pub(super) struct BootFiles<'f>(
    /// The name of each, and its content.
    pub(super) Vec<(&'static str, &'f dyn ReadAt)>,
);

/// SHA-256 of the length of the first file (64 bits, little-endian) and of all files.
struct FilesHasher(Sha256);

impl FilesHasher {
    fn new(first_bytes: u64) -> Self {
        Self(Sha256::new_with_prefix(first_bytes.to_le_bytes()))
    }

    fn finish(self) -> Sha256Digest {
        Sha256Digest::from_bytes(self.0.finalize().into())
    }
}

impl<'f> BootFiles<'f> {
    fn each(&self) -> impl Iterator<Item = (&'static str, &'f dyn ReadAt)> {
        self.0.iter().copied()
    }

    /// Their sizes.
    pub(super) fn sizes(&self) -> Result<Vec<u64>, EntryError> {
        let size = |(what, file): (&'static str, &dyn ReadAt)| {
            let source_error = |source| EntryError::Source { what, source };
            match file.size_bytes().map_err(source_error)? {
                found if found > MAX_BOOT_FILE_BYTES => {
                    let message = format!("{found} bytes, expected at most {MAX_BOOT_FILE_BYTES}");
                    Err(source_error(io::Error::new(
                        io::ErrorKind::FileTooLarge,
                        message,
                    )))
                }
                0 => Err(source_error(io::ErrorKind::UnexpectedEof.into())),
                found => Ok(found),
            }
        };
        self.each().map(size).collect()
    }

    fn hasher(&self) -> Result<FilesHasher, EntryError> {
        let first_bytes = self.sizes()?.first().copied();
        Ok(FilesHasher::new(first_bytes.unwrap_or_default()))
    }

    /// What names them.
    pub(super) fn digest(&self) -> Result<Sha256Digest, EntryError> {
        let mut hasher = self.hasher()?;
        for (what, file) in self.each() {
            read_chunks(file, |chunk| {
                hasher.0.update(chunk);
                Ok(())
            })
            .map_err(|source| EntryError::Source { what, source })?;
        }
        Ok(hasher.finish())
    }
}

/// Reads a file to its end, a part at a time.
fn read_chunks(file: &dyn ReadAt, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let size_bytes = file.size_bytes()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset_bytes = 0;
    while offset_bytes < size_bytes {
        let rest = usize::try_from(size_bytes - offset_bytes).unwrap_or(usize::MAX);
        let part = &mut buffer[..rest.min(BUFFER_BYTES)];
        file.read_exact_at(part, offset_bytes)?;
        take(part)?;
        offset_bytes += part.len() as u64;
    }
    Ok(())
}

/// `sealroot/<digest>`
pub(super) fn directory(files: &Sha256Digest) -> StorePath {
    known(&format!("{KERNELS}/{files}"))
}

impl<I: BootIo> Boot<I> {
    /// What is wrong with the files in a directory of ours, `None` if they are whole. They are read to the end:
    /// nothing else tells what a crash or a cheap disk has left.
    pub(super) fn fault(
        &self,
        files: &Sha256Digest,
        names: &[&str],
    ) -> Result<Option<String>, EntryError> {
        let directory = directory(files);
        let mut hasher = None;
        for name in names {
            let path = directory.join(name).expect("a constant");
            let (file, stat) = match again(|| self.io.open(&path)) {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Some(format!("without {name}")));
                }
                Err(error) => return Err(self.failed("open", &path)(error)),
            };
            if stat.kind != FileKind::Regular || stat.size_bytes > MAX_BOOT_FILE_BYTES {
                return Ok(Some(format!("with a wrong {name}")));
            }
            let hasher = hasher.get_or_insert_with(|| FilesHasher::new(stat.size_bytes));
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut offset_bytes = 0;
            while offset_bytes < stat.size_bytes {
                let read = again(|| self.io.read_at(&file, &mut buffer, offset_bytes));
                let read = read.map_err(self.failed("read", &path))?;
                if read == 0 {
                    break;
                }
                hasher.0.update(&buffer[..read]);
                offset_bytes += read as u64;
            }
        }
        let found = hasher.expect("there are files").finish();
        Ok((found != *files).then(|| format!("one with the digest {found}")))
    }

    /// Writes files into a directory of ours, durable with their names. What is there under the name
    /// is not whole and nobody's: it goes.
    pub(super) fn write_files(
        &self,
        files: &Sha256Digest,
        content: &BootFiles<'_>,
    ) -> Result<(), EntryError> {
        let kernels = known(KERNELS);
        let directory = directory(files);
        self.make_directory(&kernels)?;
        self.make_directory(&directory)?;
        for entry in self.list(&directory)? {
            let path = directory.join(&entry.name).expect("a name that was listed");
            self.remove_file_if_there(&path)?;
        }
        let mut hasher = content.hasher()?;
        for (name, source) in content.each() {
            let path = directory.join(name).expect("a constant");
            self.write_file(&path, name, source, &mut hasher)?;
        }
        for path in [&directory, &kernels, &StorePath::root()] {
            again(|| self.io.sync_directory(path)).map_err(self.failed("sync", path))?;
        }
        let found = hasher.finish();
        if found != *files {
            return Err(EntryError::Source {
                what: content.each().next().map_or("file", |(name, _)| name),
                source: io::Error::other("it changed while it was read"),
            });
        }
        Ok(())
    }

    fn write_file(
        &self,
        path: &StorePath,
        what: &'static str,
        source: &dyn ReadAt,
        hasher: &mut FilesHasher,
    ) -> Result<(), EntryError> {
        let file = again(|| self.io.create(path)).map_err(self.failed("create", path))?;
        let mut written = Ok(());
        read_chunks(source, |chunk| {
            hasher.0.update(chunk);
            written = self.write_all(&file, chunk);
            match written {
                Ok(()) => Ok(()),
                Err(_) => Err(io::ErrorKind::Other.into()),
            }
        })
        .map_err(|source| match std::mem::replace(&mut written, Ok(())) {
            Err(error) => self.failed("write", path)(error),
            Ok(()) => EntryError::Source { what, source },
        })?;
        again(|| self.io.sync_file(&file)).map_err(self.failed("sync", path))
    }

    /// Appends all of `bytes` to a new file.
    pub(super) fn write_all(&self, file: &I::File, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match again(|| self.io.write(file, rest))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => rest = &rest[written..],
            }
        }
        Ok(())
    }

    /// Removes a directory of kernel and initramfs, and whatever else is in it.
    pub(super) fn remove_files(&self, files: &Sha256Digest) -> Result<(), EntryError> {
        let directory = directory(files);
        let names = match self.list(&directory) {
            Ok(names) => names,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in names {
            let path = directory.join(&entry.name).expect("a name that was listed");
            self.remove_file_if_there(&path)?;
        }
        again(|| self.io.remove_directory(&directory)).map_err(self.failed("remove", &directory))
    }

    /// Removes the directory that kernels have directories in, durably, unless something is in it.
    pub fn remove_kernel_directory(&self) -> Result<(), EntryError> {
        let kernels = known(KERNELS);
        match again(|| self.io.remove_directory(&kernels)) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                return Ok(());
            }
            removed => removed.map_err(self.failed("remove", &kernels))?,
        }
        let root = StorePath::root();
        again(|| self.io.sync_directory(&root)).map_err(self.failed("sync", &root))
    }

    /// Removes a name unless it is gone.
    pub(super) fn remove_file_if_there(&self, path: &StorePath) -> Result<(), EntryError> {
        match again(|| self.io.remove_file(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// What the files in a directory of ours take.
    pub(super) fn taken_bytes(
        &self,
        files: &Sha256Digest,
        block_bytes: u64,
    ) -> Result<u64, EntryError> {
        let directory = directory(files);
        let mut taken_bytes = 0_u64;
        for entry in self.list(&directory)? {
            let path = directory.join(&entry.name).expect("a name that was listed");
            let (_, stat) = again(|| self.io.open(&path)).map_err(self.failed("open", &path))?;
            taken_bytes = taken_bytes.saturating_add(in_blocks(stat.size_bytes, block_bytes));
        }
        Ok(taken_bytes)
    }
}

/// A size rounded up to whole blocks.
pub(super) fn in_blocks(size_bytes: u64, block_bytes: u64) -> u64 {
    size_bytes.next_multiple_of(block_bytes.max(1))
}
