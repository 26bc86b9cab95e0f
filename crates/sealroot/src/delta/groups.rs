// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was compared, as patches in groups on their way into a file.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::ops::RangeInclusive;

use rayon::prelude::*;
use sealroot_delta::GroupWriter;
use sealroot_format::limits;

use super::compared::Compared;
use super::error::DeltaError;
use super::file::{self, Adjustment, GroupEntry, Part};

/// A group is full when its patches have this many bytes: larger ones compress little better, and
/// whoever applies a delta has one in memory twice.
pub(super) const GROUP_BYTES: usize = 10 << 20;

/// Groups that are compressed at the same time: each takes some 200 MB.
const GROUPS_AT_ONCE: usize = 2;

/// An object that is patched from nothing, and this large, has groups of its own: whoever goes on to a later
/// release may do without it.
const ALONE_BYTES: usize = 1 << 20;

/// Groups on their way into a file.
pub(super) struct Groups {
    file: File,
    entries: Vec<GroupEntry>,
    /// Those that are not compressed yet.
    full: Vec<Full>,
    parts: Vec<Part>,
    patches: GroupWriter,
    /// The new objects that these are parts of.
    objects: Option<RangeInclusive<u32>>,
}

/// A group as it is before compression.
struct Full {
    bytes: Vec<u8>,
    objects: Option<RangeInclusive<u32>>,
}

impl Groups {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            entries: Vec::new(),
            full: Vec::new(),
            parts: Vec::new(),
            patches: GroupWriter::new(),
            objects: None,
        }
    }

    /// Adds what is patched from an old object, if from any: the new object of this number, or what lies in the pack.
    pub(super) fn add(
        &mut self,
        object: Option<u32>,
        base: Option<u32>,
        compared: &Compared,
    ) -> Result<(), DeltaError> {
        let Compared { old, new, .. } = compared;
        let is_alone = object.is_some() && base.is_none() && new.len() >= ALONE_BYTES;
        if is_alone {
            self.end_group()?;
        }
        let opened_bytes = compared
            .is_opened
            .then(|| u32::try_from(new.len()).expect("at most MAX_OPENED_BYTES"));
        let of_length = |bytes: &[u8], adjusted| Part {
            base,
            len_bytes: u32::try_from(bytes.len()).expect("at most PART_BYTES"),
            opened_bytes,
            adjusted,
        };
        if let Some(moves) = &compared.moves {
            self.patches.push(&[], moves, &[]);
            self.push(object, of_length(moves, Some(Adjustment::Moves)));
        }
        for piece in &compared.pieces {
            let part = &new[piece.range.clone()];
            self.patches.push(old, part, &piece.covers);
            self.push(object, of_length(part, piece.adjusted));
            if self.patches.len_bytes() >= GROUP_BYTES {
                self.end_group()?;
            }
        }
        if is_alone {
            self.end_group()?;
        }
        Ok(())
    }

    fn push(&mut self, object: Option<u32>, part: Part) {
        self.parts.push(part);
        if let Some(number) = object {
            let first = self
                .objects
                .as_ref()
                .map_or(number, |objects| *objects.start());
            self.objects = Some(first..=number);
        }
    }

    /// How many groups there are, but for the one that is being filled.
    pub(super) fn count(&self) -> usize {
        self.entries.len() + self.full.len()
    }

    pub(super) fn end_group(&mut self) -> Result<(), DeltaError> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let patches = std::mem::take(&mut self.patches);
        self.full.push(Full {
            bytes: file::encode_group(&self.parts, patches),
            objects: self.objects.take(),
        });
        self.parts.clear();
        if self.full.len() >= GROUPS_AT_ONCE {
            self.compress()?;
        }
        Ok(())
    }

    fn compress(&mut self) -> Result<(), DeltaError> {
        let compressed = self
            .full
            .par_iter()
            .map(|group| file::compress(&group.bytes));
        let compressed: io::Result<Vec<_>> = compressed.collect();
        let compressed = compressed.map_err(DeltaError::io("compress a group"))?;
        for ((mut entry, encoded), group) in compressed.into_iter().zip(self.full.drain(..)) {
            self.file
                .write_all(&encoded)
                .map_err(DeltaError::io("put a group aside"))?;
            entry.objects = group.objects;
            self.entries.push(entry);
        }
        if self.entries.len() as u64 > limits::MAX_DELTA_GROUPS {
            let most = limits::MAX_DELTA_GROUPS;
            return Err(file::invalid("number of groups", most, "more"));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(Vec<GroupEntry>, File), DeltaError> {
        self.end_group()?;
        self.compress()?;
        self.file
            .rewind()
            .map_err(DeltaError::io("read what was put aside"))?;
        Ok((self.entries, self.file))
    }
}
