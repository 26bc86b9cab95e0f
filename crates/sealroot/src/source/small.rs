// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small files that were read and are to be put away together.

use std::io;
use std::ops::Range;

use sealroot_format::limits;
use sealroot_format::tree::{FileContent, XattrSet};

use super::content::FileRecord;
use super::error::Fault;
use crate::spool::Spool;

/// Bytes that are put away together.
const PIECE_BYTES: usize = 256 * 1024;

const _: () = assert!(limits::MAX_THRESHOLD_BYTES as usize <= PIECE_BYTES);

/// Collects the content of small files.
#[derive(Debug, Default)]
pub(super) struct SmallFiles {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: usize,
    range: Range<usize>,
    xattrs: XattrSet,
}

impl SmallFiles {
    /// Whether there is room for a file of this size.
    pub(super) fn has_room(&self, len_bytes: usize) -> bool {
        self.bytes.len() + len_bytes <= PIECE_BYTES
    }

    /// Adds a file of `len_bytes` bytes, which `fill` writes. Where it fails, there is no new file.
    pub(super) fn push(
        &mut self,
        id: usize,
        xattrs: XattrSet,
        len_bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(PIECE_BYTES);
        }
        let start = self.bytes.len();
        let range = start..start + len_bytes;
        self.bytes.resize(range.end, 0);
        fill(&mut self.bytes[range.clone()]).inspect_err(|_| self.bytes.truncate(start))?;
        self.waiting.push(Waiting { id, range, xattrs });
        Ok(())
    }

    /// Puts all of them away.
    pub(super) fn flush(
        &mut self,
        spool: &Spool<'_>,
        records: &mut Vec<(usize, FileRecord)>,
    ) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let kept = spool.keep(&mut self.bytes)?;
        records.extend(self.waiting.drain(..).map(|Waiting { id, range, xattrs }| {
            let content = FileContent::Inline(kept.part(range));
            (id, FileRecord { content, xattrs })
        }));
        Ok(())
    }
}
