// SPDX-License-Identifier: MIT OR Apache-2.0
//! The full check of a pack: it has a valid tree, and is byte for byte what the writer makes of it.
//!
//! So nothing can hide in a pack: no second encoding of a tree, no bytes that nobody reads, no
//! inode that is found by number only.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Pack, PackError, PackSummary, write_pack};
use crate::erofs::{ImageError, ReadAt};
use crate::limits;
use crate::tree::{FileContent, Kind, Tree};

/// A pack that passed the full check.
#[derive(Debug)]
pub struct CheckedPack {
    /// What is in it.
    pub tree: Tree,
    /// What its statement must say of it.
    pub summary: PackSummary,
    /// The thresholds, in bytes, at which the tree divides into inline and external files as it
    /// does here.
    pub thresholds: RangeInclusive<u32>,
}

/// Checks a pack in full. Takes about as long as reading its tree and writing it again.
///
/// The tree's names and metadata are held in memory. The content of its files stays in `source`,
/// which lives as long as the tree does and must not change.
///
/// # Errors
/// Those of [`Pack::open`] and [`Pack::tree`]; [`PackError::NotCanonical`];
/// [`PackError::NotDivided`].
pub fn check(source: impl ReadAt + Send + Sync + 'static) -> Result<CheckedPack, PackError> {
    let pack = Arc::new(Pack::open(source)?);
    let tree = pack.tree_in_place()?;
    let thresholds = thresholds(&tree)?;
    let mut compare = Compare {
        source: pack.image.source(),
        at_bytes: 0,
        failure: None,
        buffer: Vec::new(),
    };
    let written = write_pack(&tree, *thresholds.start(), &mut compare);
    if let Some(failure) = compare.failure {
        return Err(failure);
    }
    let summary = written?;
    if summary.size_bytes != pack.size_bytes() {
        return Err(PackError::NotCanonical {
            offset_bytes: summary.size_bytes.min(pack.size_bytes()),
        });
    }
    Ok(CheckedPack {
        tree,
        summary,
        thresholds,
    })
}

/// From the largest inline file to below the smallest external one.
fn thresholds(tree: &Tree) -> Result<RangeInclusive<u32>, PackError> {
    let max = u64::from(limits::MAX_THRESHOLD_BYTES);
    let (mut inline_bytes, mut external_bytes) = (0, max + 1);
    for (_, inode) in tree.inodes() {
        match &inode.kind {
            Kind::Regular(FileContent::Inline(content)) => {
                inline_bytes = inline_bytes.max(content.size_bytes());
            }
            Kind::Regular(FileContent::External { size_bytes, .. }) => {
                external_bytes = external_bytes.min(*size_bytes);
            }
            _ => {}
        }
    }
    // The reader admits inline files up to the largest threshold only.
    let threshold = |bytes| u32::try_from(bytes).unwrap_or(limits::MAX_THRESHOLD_BYTES);
    match external_bytes.checked_sub(1) {
        Some(most) if inline_bytes <= most => Ok(threshold(inline_bytes)..=threshold(most)),
        _ => Err(PackError::NotDivided {
            inline_bytes,
            external_bytes,
        }),
    }
}

/// Compares what is written with what is there.
struct Compare<'s, R: ?Sized> {
    source: &'s R,
    at_bytes: u64,
    failure: Option<PackError>,
    buffer: Vec<u8>,
}

impl<R: ReadAt + ?Sized> Compare<'_, R> {
    fn compare(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.buffer.resize(bytes.len(), 0);
        let offset_bytes = self.at_bytes;
        match self.source.read_exact_at(&mut self.buffer, offset_bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(PackError::NotCanonical { offset_bytes });
            }
            Err(source) => {
                return Err(ImageError::Read {
                    offset_bytes,
                    source,
                }
                .into());
            }
            Ok(()) => {}
        }
        self.at_bytes = offset_bytes.saturating_add(bytes.len() as u64);
        if self.buffer == bytes {
            return Ok(());
        }
        let differs = self.buffer.iter().zip(bytes).position(|(a, b)| a != b);
        let at_bytes = differs.unwrap_or(0) as u64;
        Err(PackError::NotCanonical {
            offset_bytes: offset_bytes.saturating_add(at_bytes),
        })
    }
}

impl<R: ReadAt + ?Sized> io::Write for Compare<'_, R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.compare(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
