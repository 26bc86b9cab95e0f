// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of inline files where it is: in the pack, read whenever somebody wants it.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

use std::io;
use std::sync::Arc;

use super::{Pack, PackError};
use crate::erofs::reader::RawInode;
use crate::erofs::{ImageError, ReadAt};
use crate::tree::{InlineContent, Tree};

/// The content of one inode of a pack.
struct Stored<R> {
    pack: Arc<Pack<R>>,
    inode: RawInode,
}

impl<R: ReadAt> ReadAt for Stored<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let mut reader = self.pack.image.reader();
        let (mut at, mut rest) = (offset_bytes, buf);
        while !rest.is_empty() {
            let read = reader.content(&self.inode, at, rest);
            let read = read.map_err(|error| match error {
                ImageError::Read { source, .. } => source,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = rest.get_mut(read..).unwrap_or_default();
            at = at.saturating_add(read as u64);
        }
        Ok(())
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.inode.fields.size_bytes)
    }
}

/// Reads the tree of a pack: names and metadata. The content of its files stays in `source`, which
/// lives as long as the tree does and must not change; that it is all there is checked.
///
/// # Errors
/// Those of [`Pack::open`] and [`Pack::tree`].
pub fn read(source: impl ReadAt + Send + Sync + 'static) -> Result<Tree, PackError> {
    Arc::new(Pack::open(source)?).tree_in_place()
}

impl<R: ReadAt + Send + Sync + 'static> Pack<R> {
    /// Like [`Pack::tree`], but the tree has names and metadata only: content stays in the pack,
    /// which must not change. What lies outside of the pack is found all the same.
    pub(super) fn tree_in_place(self: &Arc<Self>) -> Result<Tree, PackError> {
        let reader = self.image.reader();
        self.tree_with(|inode| {
            reader.check_content(inode)?;
            let stored = Stored {
                pack: Arc::clone(self),
                inode: *inode,
            };
            let size_bytes = inode.fields.size_bytes;
            Ok(InlineContent::new(Arc::new(stored), 0..size_bytes))
        })
    }
}
