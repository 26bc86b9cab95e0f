// SPDX-License-Identifier: MIT OR Apache-2.0
//! New files before they have their name: written, given fs-verity, compared with their digest.

use std::io::{self, Write};
use std::time::Duration;

use rustix::io::Errno;
use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_sys::verity::{BLOCK_SIZE_BYTES, EnableVerityError};

use super::Store;
use super::config::VeritySupport;
use super::error::StoreError;
use super::files::{again, failed, failed_needing, full_path, write_all};
use super::io::StoreIo;
use super::path::{StoreDir, StorePath, object_path};
use super::presence::Fault;
use super::signature::Signing;

/// How often enabling fs-verity is tried while somebody has the file open for writing: a child
/// process of ours has, between `fork` and `exec`.
const MAX_OPEN_FOR_WRITING: u32 = 200;

/// How long each of these times lasts.
const OPEN_FOR_WRITING_PAUSE: Duration = Duration::from_millis(5);

/// What a new file is to become.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its name.
    pub(super) path: StorePath,
    /// The digest it must have.
    pub(super) digest: VerityDigest,
    /// The size it must have.
    pub(super) size_bytes: u64,
}

impl Target {
    /// An object.
    pub(super) fn object(digest: VerityDigest, size_bytes: u64) -> Self {
        Self {
            path: object_path(&digest),
            digest,
            size_bytes,
        }
    }
}

/// A complete new file that is not durable yet.
#[derive(Debug)]
pub(super) struct Staged<F> {
    pub(super) file: F,
    /// The name that it has until it gets its own.
    pub(super) aside: Option<StorePath>,
    pub(super) target: Target,
}

/// Whether the bytes that are about to come have the digest they are announced under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// They were hashed in memory, where they still are.
    Hashed,
    /// They may be anything.
    Claimed,
}

impl<I: StoreIo> Store<I> {
    /// A new empty file.
    pub(super) fn unnamed_file(&self, directory: StoreDir) -> Result<I::File, StoreError> {
        unnamed_file(&self.io, directory)
    }

    /// Writes a new file and makes sure that it is what it was announced to be.
    pub(super) fn stage(
        &self,
        file: I::File,
        target: Target,
        known: Known,
        signing: &Signing<'_>,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Staged<I::File>, StoreError> {
        let hash = self.verity == VeritySupport::None && known == Known::Claimed;
        let size_bytes = target.size_bytes;
        let mut writer = ContentWriter::new(self, &file, &target.path, size_bytes, hash);
        let result = write(&mut writer);
        let hasher = writer.finish(result)?;
        if let Some(hasher) = hasher {
            self.compare(&target, hasher.finish())?;
        }
        self.complete(file, target, signing)
    }

    /// Writes a new file whose digest shows when it is there: by the kernel's word where the store
    /// has fs-verity. `path` is what errors are about.
    pub(super) fn stage_unknown(
        &self,
        file: I::File,
        path: &StorePath,
        size_bytes: u64,
        signing: &Signing<'_>,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Staged<I::File>, StoreError> {
        let hash = self.verity == VeritySupport::None || signing.is_of_use(self);
        let mut writer = ContentWriter::new(self, &file, path, size_bytes, hash);
        let result = write(&mut writer);
        if let Some(hasher) = writer.finish(result)? {
            let target = Target::object(hasher.finish(), size_bytes);
            return self.complete(file, target, signing);
        }
        let file = give_up_writing(&self.io, path, file)?;
        let (digest, aside) = self.seal_aside(&file, || {
            let enabled = enable_patiently(&self.io, &file);
            enabled.map_err(|error| self.not_enabled(path, size_bytes, error))?;
            self.measured(path, &file)
        })?;
        Ok(Staged {
            file,
            aside: Some(aside),
            target: Target::object(digest, size_bytes),
        })
    }

    /// Makes sure that a written file is what it was announced to be, where the kernel can say so: gives it
    /// fs-verity.
    pub(super) fn complete(
        &self,
        file: I::File,
        target: Target,
        signing: &Signing<'_>,
    ) -> Result<Staged<I::File>, StoreError> {
        let (file, aside) = match self.verity {
            VeritySupport::None => (file, None),
            VeritySupport::Kernel => {
                let file = give_up_writing(&self.io, &target.path, file)?;
                let seal = || self.seal(&file, &target, signing);
                let ((), aside) = self.seal_aside(&file, seal)?;
                (file, Some(aside))
            }
        };
        Ok(Staged {
            file,
            aside,
            target,
        })
    }

    /// Enables fs-verity on a written file and measures it.
    fn seal(
        &self,
        file: &I::File,
        target: &Target,
        signing: &Signing<'_>,
    ) -> Result<(), StoreError> {
        let path = &target.path;
        signing.enable(self, file, target)?;
        match self.fault_measured(path, file, &target.digest)? {
            None => Ok(()),
            Some(Fault::Digest { found, .. }) => self.compare(target, found),
            Some(fault) => Err(StoreError::Damaged {
                path: full_path(&self.io, path),
                reason: fault.to_string(),
            }),
        }
    }

    /// Why fs-verity is not on a file of that size that is to have this name.
    pub(super) fn not_enabled(
        &self,
        path: &StorePath,
        size_bytes: u64,
        error: EnableVerityError,
    ) -> StoreError {
        match error {
            EnableVerityError::Other(errno @ (Errno::NOSPC | Errno::DQUOT)) => {
                let needed = Some(merkle_bytes(size_bytes));
                let failed = failed_needing(&self.io, "enable fs-verity on", path, needed);
                failed(errno.into())
            }
            error if error.is_unsupported() => StoreError::VerityLost {
                location: self.location().into(),
            },
            source => StoreError::EnableVerity {
                path: full_path(&self.io, path),
                source,
            },
        }
    }

    pub(super) fn compare(&self, target: &Target, found: VerityDigest) -> Result<(), StoreError> {
        if found == target.digest {
            return Ok(());
        }
        Err(StoreError::DigestMismatch {
            path: full_path(&self.io, &target.path),
            expected: target.digest,
            found,
        })
    }

    /// What a new file of a size takes of a filesystem with the usual blocks, its Merkle tree included.
    pub fn allocated_bytes(&self, size_bytes: u64) -> u64 {
        let block = u64::from(BLOCK_SIZE_BYTES);
        self.needed_bytes(size_bytes.div_ceil(block).saturating_mul(block))
    }

    /// The bytes a new file takes, its Merkle tree included.
    fn needed_bytes(&self, size_bytes: u64) -> u64 {
        match self.verity {
            VeritySupport::Kernel => size_bytes.saturating_add(merkle_bytes(size_bytes)),
            VeritySupport::None => size_bytes,
        }
    }
}

/// A new empty file without a name.
pub(super) fn unnamed_file<I: StoreIo>(io: &I, directory: StoreDir) -> Result<I::File, StoreError> {
    let path = directory.path();
    again(|| io.create_unnamed(&path)).map_err(|error| {
        let error = match Errno::from_io_error(&error) {
            Some(Errno::OPNOTSUPP | Errno::ISDIR) => io::Error::new(
                io::ErrorKind::Unsupported,
                "this filesystem has no unnamed files (O_TMPFILE); use ext4, btrfs, xfs or tmpfs",
            ),
            _ => error,
        };
        failed(io, "create a file in", &path)(error)
    })
}

/// Closes the only descriptor that can write. `path` is for messages.
pub(super) fn give_up_writing<I: StoreIo>(
    io: &I,
    path: &StorePath,
    file: I::File,
) -> Result<I::File, StoreError> {
    let reader = again(|| io.reopen_read_only(&file)).map_err(failed(io, "reopen", path))?;
    drop(file);
    Ok(reader)
}

/// Enables fs-verity on a file that nobody writes to for long.
pub(super) fn enable_patiently<I: StoreIo>(
    io: &I,
    file: &I::File,
) -> Result<(), EnableVerityError> {
    patiently(|| io.enable_verity(file))
}

/// Enables it by `enable`, again while that may yet succeed.
pub(super) fn patiently(
    mut enable: impl FnMut() -> Result<(), EnableVerityError>,
) -> Result<(), EnableVerityError> {
    let mut attempts = 1;
    loop {
        match enable() {
            Err(EnableVerityError::OpenForWriting) if attempts < MAX_OPEN_FOR_WRITING => {
                std::thread::sleep(OPEN_FOR_WRITING_PAUSE);
            }
            Err(EnableVerityError::Interrupted) if attempts < MAX_OPEN_FOR_WRITING => {}
            result => return result,
        }
        attempts += 1;
    }
}

/// Size of the Merkle tree and descriptor of a file of `size_bytes`, as most filesystems store
/// them: whole blocks per level.
pub(crate) fn merkle_bytes(size_bytes: u64) -> u64 {
    let block = u64::from(BLOCK_SIZE_BYTES);
    let mut total = block;
    let mut hashed = size_bytes.div_ceil(block);
    while hashed > 1 {
        hashed = (hashed * 32).div_ceil(block);
        total += hashed * block;
    }
    total
}

/// Appends to a new file: exactly as much as announced.
struct ContentWriter<'a, I: StoreIo> {
    store: &'a Store<I>,
    file: &'a I::File,
    /// What errors are about.
    path: &'a StorePath,
    size_bytes: u64,
    hasher: Option<VerityHasher>,
    written_bytes: u64,
    /// Our own failure, which the one who writes sees as an [`io::Error`] without details.
    failure: Option<StoreError>,
}

impl<'a, I: StoreIo> ContentWriter<'a, I> {
    /// For an empty file; it hashes what it writes, or not.
    fn new(
        store: &'a Store<I>,
        file: &'a I::File,
        path: &'a StorePath,
        size_bytes: u64,
        hash: bool,
    ) -> Self {
        Self {
            store,
            file,
            path,
            size_bytes,
            hasher: hash.then(VerityHasher::new),
            written_bytes: 0,
            failure: None,
        }
    }

    /// Ends writing; gives the hasher, if there is one.
    fn finish(mut self, result: io::Result<()>) -> Result<Option<VerityHasher>, StoreError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        result.map_err(|source| StoreError::Content {
            path: full_path(&self.store.io, self.path),
            source,
        })?;
        if self.written_bytes != self.size_bytes {
            return Err(self.wrong_size(format!("{} bytes", self.written_bytes)));
        }
        Ok(self.hasher)
    }

    fn wrong_size(&self, found: String) -> StoreError {
        StoreError::SizeMismatch {
            path: full_path(&self.store.io, self.path),
            expected_bytes: self.size_bytes,
            found,
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, size_bytes) = (self.path, self.size_bytes);
        let after = self.written_bytes.saturating_add(bytes.len() as u64);
        if after > size_bytes {
            return Err(self.wrong_size("more".into()));
        }
        let io = &self.store.io;
        let needed = self.store.needed_bytes(size_bytes);
        let written = write_all(bytes, |rest| match self.store.verity {
            // Enabling fs-verity reads it all again at once.
            VeritySupport::Kernel => io.write(self.file, rest),
            VeritySupport::None => io.write_uncached(self.file, rest),
        });
        written.map_err(failed_needing(io, "write", path, Some(needed)))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.written_bytes = after;
        Ok(())
    }
}

impl<I: StoreIo> Write for ContentWriter<'_, I> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Err(io::Error::other("writing has failed before"));
        }
        self.append(bytes).map_err(|failure| {
            let error = io::Error::other(failure.to_string());
            self.failure = Some(failure);
            error
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::merkle_bytes;

    #[test]
    fn the_merkle_tree_has_whole_blocks_per_level() {
        for (size_bytes, blocks) in [
            (0, 1),
            (1, 1),
            (4096, 1),
            (4097, 2),
            (128 * 4096, 2),
            (128 * 4096 + 1, 1 + 2 + 1),
        ] {
            assert_eq!(merkle_bytes(size_bytes), blocks * 4096, "{size_bytes}");
        }
    }
}
