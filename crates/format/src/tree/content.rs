// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a regular file holds.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::digest::VerityDigest;
use crate::erofs::ReadAt;

/// The bytes of a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// A small file, whose bytes belong to the tree.
    Inline(InlineContent),
    /// Kept elsewhere, under its fs-verity digest: a large file.
    External {
        /// The fs-verity digest of the content.
        digest: VerityDigest,
        /// The length of the content.
        size_bytes: u64,
    },
}

impl FileContent {
    /// The length of the file.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Inline(content) => content.size_bytes(),
            Self::External { size_bytes, .. } => *size_bytes,
        }
    }
}

/// The bytes of a small file: a part of something that can be read at any position, in memory or
/// not. Copies share the bytes.
///
/// Two are equal if their bytes can be read and are the same.
#[derive(Clone)]
pub struct InlineContent {
    source: Arc<dyn ReadAt + Send + Sync>,
    offset_bytes: u64,
    size_bytes: u64,
}

impl InlineContent {
    /// The bytes of `source` in `range`. Whether it has them shows when they are read.
    pub fn new(source: Arc<dyn ReadAt + Send + Sync>, range: Range<u64>) -> Self {
        Self {
            source,
            offset_bytes: range.start,
            size_bytes: range.end.saturating_sub(range.start),
        }
    }

    /// The length.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether there is not a byte.
    pub const fn is_empty(&self) -> bool {
        self.size_bytes == 0
    }

    /// Fills `buf` from `offset_bytes` on; [`io::ErrorKind::UnexpectedEof`] if the content ends
    /// before.
    pub fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let end = offset_bytes.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buf.is_empty() {
            return Ok(());
        }
        let at = self.offset_bytes.checked_add(offset_bytes);
        let at = at.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.read_exact_at(buf, at)
    }

    /// All of it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.size_bytes).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl PartialEq for InlineContent {
    fn eq(&self, other: &Self) -> bool {
        self.size_bytes == other.size_bytes
            && match (self.read(), other.read()) {
                (Ok(ours), Ok(theirs)) => ours == theirs,
                _ => false,
            }
    }
}

impl Eq for InlineContent {}

impl fmt::Debug for InlineContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size_bytes)
    }
}

impl From<Vec<u8>> for InlineContent {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len() as u64;
        Self::new(Arc::new(bytes), range)
    }
}

impl From<Box<[u8]>> for InlineContent {
    fn from(bytes: Box<[u8]>) -> Self {
        bytes.into_vec().into()
    }
}

impl From<&[u8]> for InlineContent {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}
