// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a source keeps small files until they are written into a pack.
//!
//! A pack is written in the order of its tree, a source reads in the order of its threads; so what
//! was read waits here. A little waits in memory, the rest in a file without a name.

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sealroot_format::erofs::ReadAt;
use sealroot_format::tree::InlineContent;

/// The most bytes that wait in memory.
pub const MEMORY_BYTES: u64 = 16 * 1024 * 1024;

/// Where the file is unless `TMPDIR` says otherwise: it may be too large for a `/tmp` in memory.
const TEMPORARY_DIRECTORY: &str = "/var/tmp";

/// Makes the file.
type Create<'a> = Box<dyn Fn() -> io::Result<File> + Send + Sync + 'a>;

/// Keeps the small files of one tree. What was put here lives as long as somebody has it.
pub struct Spool<'a> {
    create: Create<'a>,
    memory_left_bytes: AtomicU64,
    file: Mutex<Option<SpoolFile>>,
}

struct SpoolFile {
    file: Arc<File>,
    end_bytes: u64,
}

impl Spool<'static> {
    /// A spool with its file in `$TMPDIR`, or in `/var/tmp`.
    pub fn in_temporary_directory() -> Self {
        Self::new(MEMORY_BYTES, || {
            let directory = env::var_os("TMPDIR");
            let directory = directory.as_deref().map(Path::new);
            tempfile::tempfile_in(directory.unwrap_or(TEMPORARY_DIRECTORY.as_ref()))
        })
    }
}

impl<'a> Spool<'a> {
    /// A spool that keeps up to `memory_bytes` in memory. When that is too little, `create` is
    /// called once for an empty file to read and write.
    pub fn new(
        memory_bytes: u64,
        create: impl Fn() -> io::Result<File> + Send + Sync + 'a,
    ) -> Self {
        Self {
            create: Box::new(create),
            memory_left_bytes: AtomicU64::new(memory_bytes),
            file: Mutex::default(),
        }
    }

    /// Puts `bytes` away and empties it. Its memory is the caller's again where it can be.
    pub(crate) fn keep(&self, bytes: &mut Vec<u8>) -> io::Result<Kept> {
        let len_bytes = bytes.len() as u64;
        let take = |left: u64| left.checked_sub(len_bytes);
        let ordering = Ordering::Relaxed;
        let taken = self
            .memory_left_bytes
            .fetch_update(ordering, ordering, take);
        if taken.is_ok() {
            let mut bytes = std::mem::take(bytes);
            bytes.shrink_to_fit();
            return Ok(Kept {
                source: Arc::new(bytes),
                offset_bytes: 0,
            });
        }
        let (file, offset_bytes) = self.reserve(len_bytes)?;
        file.write_all_at(bytes, offset_bytes)?;
        bytes.clear();
        Ok(Kept {
            source: file,
            offset_bytes,
        })
    }

    /// Room in the file.
    fn reserve(&self, len_bytes: u64) -> io::Result<(Arc<File>, u64)> {
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let SpoolFile { file, end_bytes } = match &mut *place {
            Some(file) => file,
            None => place.insert(SpoolFile {
                file: Arc::new((self.create)()?),
                end_bytes: 0,
            }),
        };
        let start = *end_bytes;
        *end_bytes += len_bytes;
        Ok((Arc::clone(file), start))
    }
}

impl fmt::Debug for Spool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("memory_left_bytes", &self.memory_left_bytes)
            .finish_non_exhaustive()
    }
}

/// Bytes that were put away together.
pub(crate) struct Kept {
    source: Arc<dyn ReadAt + Send + Sync>,
    offset_bytes: u64,
}

impl Kept {
    /// Some of them.
    pub(crate) fn part(&self, range: Range<usize>) -> InlineContent {
        let at = |position: usize| self.offset_bytes + position as u64;
        InlineContent::new(Arc::clone(&self.source), at(range.start)..at(range.end))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn what_is_beyond_the_memory_goes_to_one_file() {
        let files = AtomicUsize::new(0);
        let spool = Spool::new(10, || {
            files.fetch_add(1, Ordering::Relaxed);
            tempfile::tempfile()
        });
        let keep = |bytes: &[u8]| spool.keep(&mut bytes.to_vec()).expect("kept");
        let first = keep(b"in memory");
        assert_eq!(files.load(Ordering::Relaxed), 0);
        let (second, third) = (keep(b"in the file"), keep(b"behind it"));
        assert_eq!(files.load(Ordering::Relaxed), 1);
        let read = |kept: &Kept, range| kept.part(range).read().expect("read");
        assert_eq!(read(&first, 3..9), b"memory");
        assert_eq!(read(&second, 0..11), b"in the file");
        assert_eq!(read(&third, 7..9), b"it");
        assert!(third.part(7..10).read().is_err());
    }

    #[test]
    fn without_a_file_nothing_is_kept_beyond_the_memory() {
        let spool = Spool::new(3, || Err(io::ErrorKind::StorageFull.into()));
        assert!(spool.keep(&mut vec![0; 3]).is_ok());
        assert!(spool.keep(&mut vec![0; 1]).is_err());
    }
}
