// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a delta between two releases that a store has whole.

use std::fs::File;
use std::io::{self, Seek as _, Write};

use rayon::prelude::*;
use sealroot_delta::{Cover, GroupWriter, find_covers, opened};
use sealroot_format::digest::{Sha256Digest, VerityDigest};
use sealroot_format::limits;
use sha2::{Digest as _, Sha256};

use super::Release;
use super::bases::Bases;
use super::error::DeltaError;
use super::file::{self, FIRST_OBJECT_BASE, GroupEntry, Header, Part, SMALL_BASE, TEXT_BASE};
use super::text::{self, Objects};
use crate::monitor::{Monitor, Unit};
use crate::store::StoreIo;

/// A part of the new release has at most this many bytes.
const PART_BYTES: usize = 4 << 20;

/// A group is full when its patches have this many bytes: larger ones compress little better, and
/// whoever applies a delta has one in memory twice.
const GROUP_BYTES: usize = 10 << 20;

/// Groups that are compressed at the same time: each takes some 200 MB.
const GROUPS_AT_ONCE: usize = 2;

/// Old and new objects that are in memory together, and whose covers are looked for at the same
/// time. One pair may be larger.
const BATCH_BYTES: u64 = 64 << 20;

/// Larger objects are compared in pieces of this size, each with the piece at the same place: a
/// suffix array takes five times as much.
const WINDOW_BYTES: usize = 80 << 20;

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The length of the delta, bytes.
    pub delta_bytes: u64,
    /// The length of its head, all before the groups, bytes.
    pub head_bytes: u64,
    /// SHA-256 of its head.
    pub head: Sha256Digest,
    /// What of it makes the pack, bytes.
    pub pack_bytes: u64,
    /// New objects that it makes.
    pub objects: u64,
    /// Their length, bytes.
    pub object_bytes: u64,
}

/// Makes the delta that makes `to` of `from`, and writes it to `out`. `scratch` is an empty file to
/// read and write.
pub fn make<I: StoreIo>(
    from: &Release<'_, I>,
    to: &Release<'_, I>,
    scratch: File,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<Made, DeltaError> {
    let mut groups = Groups::new(scratch);
    let mut groups_of_pack = 0;
    let releases = Releases::new(from, to, monitor);
    let new = releases.compare(&mut |part, compared| match part {
        Compares::Text => groups.add(Some(TEXT_BASE), compared),
        Compares::Small => {
            groups.add(Some(SMALL_BASE), compared)?;
            // What the pack takes is then known.
            groups.end_group()?;
            groups_of_pack = groups.count();
            Ok(())
        }
        Compares::Object(pair) => groups.add(pair.base_number(), compared),
    })?;
    let (entries, mut encoded) = groups.finish()?;
    let of_pack = entries[..groups_of_pack].iter();
    let pack_bytes = of_pack.map(GroupEntry::encoded_bytes).sum();
    let header = Header {
        from: from.pack,
        to: to.pack,
        text_bytes: new.text_bytes,
        groups: entries,
    };
    let header = header.encode();
    let write = DeltaError::io("write the delta");
    out.write_all(&header).map_err(&write)?;
    let encoded_bytes = io::copy(&mut encoded, out).map_err(&write)?;
    Ok(Made {
        delta_bytes: header.len() as u64 + encoded_bytes,
        head_bytes: header.len() as u64,
        head: Sha256Digest::from_bytes(Sha256::digest(&header).into()),
        pack_bytes,
        objects: new.objects,
        object_bytes: new.object_bytes,
    })
}

/// What the pack, and the new objects of each kind, would take in a delta of their own, bytes: about
/// what they take in the delta of all. `kind_of` says of what kind an object is, below `kinds`; one of
/// no kind counts with the pack.
pub fn costs<I: StoreIo>(
    from: &Release<'_, I>,
    to: &Release<'_, I>,
    kinds: usize,
    kind_of: &dyn Fn(&VerityDigest) -> Option<usize>,
    monitor: &dyn Monitor,
) -> Result<Costs, DeltaError> {
    let mut pack = GroupWriter::new();
    let mut objects = vec![GroupWriter::new(); kinds];
    Releases::new(from, to, monitor).compare(
        &mut |part,
              Compared {
                  old, new, covers, ..
              }| {
            let group = match part {
                Compares::Text | Compares::Small => &mut pack,
                Compares::Object(pair) => match kind_of(&pair.new.0) {
                    Some(kind) => &mut objects[kind],
                    None => &mut pack,
                },
            };
            group.push(old, new, covers);
            Ok(())
        },
    )?;
    let compress = DeltaError::io("compress a group");
    let compressed_bytes = |group: GroupWriter| {
        if group.len_bytes() == 0 {
            return Ok(0);
        }
        let (entry, _) = file::compress(&group.finish()).map_err(&compress)?;
        Ok::<_, DeltaError>(entry.encoded_bytes())
    };
    Ok(Costs {
        pack_bytes: compressed_bytes(pack)?,
        object_bytes: objects
            .into_iter()
            .map(compressed_bytes)
            .collect::<Result<_, _>>()?,
    })
}

/// What an update costs, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Names, metadata and the files in the pack, bytes.
    pub pack_bytes: u64,
    /// The new objects of each kind, bytes.
    pub object_bytes: Vec<u64>,
}

/// Two releases, to be compared.
struct Releases<'r, I: StoreIo> {
    from: &'r Release<'r, I>,
    to: &'r Release<'r, I>,
    monitor: &'r dyn Monitor,
}

/// What is compared.
enum Compares<'c> {
    Text,
    Small,
    Object(&'c Pair),
}

/// What the new release has that the old one has not.
struct New {
    text_bytes: u64,
    objects: u64,
    object_bytes: u64,
}

impl<'r, I: StoreIo> Releases<'r, I> {
    fn new(from: &'r Release<'r, I>, to: &'r Release<'r, I>, monitor: &'r dyn Monitor) -> Self {
        Self { from, to, monitor }
    }

    /// Compares the texts, the files in the packs, then each new object with the one that it
    /// resembles.
    fn compare(
        &self,
        each: &mut dyn FnMut(Compares<'_>, &Compared) -> Result<(), DeltaError>,
    ) -> Result<New, DeltaError> {
        let Self { from, to, monitor } = self;
        let in_memory = DeltaError::io("read a release");
        let old = Objects::of(from.tree);
        let (mut old_text, mut new_text) = (Vec::new(), Vec::new());
        text::write(from.tree, &old, &mut old_text).map_err(&in_memory)?;
        let new = text::write(to.tree, &old, &mut new_text).map_err(&in_memory)?;
        text::check_length(new_text.len() as u64, to.tree.len() as u64)?;
        let object_bytes = new.all.iter().map(|(_, size)| size).sum();
        monitor.start("comparing", Unit::Bytes, Some(object_bytes));
        let text_bytes = new_text.len() as u64;
        each(Compares::Text, &Compared::new(old_text, new_text))?;

        let (mut old_small, mut new_small) = (Vec::new(), Vec::new());
        text::write_small(from.tree, &mut old_small).map_err(&in_memory)?;
        text::write_small(to.tree, &mut new_small).map_err(&in_memory)?;
        each(Compares::Small, &Compared::new(old_small, new_small))?;

        let bases = Bases::of(from.tree, &old).choose(to.tree, &new);
        let pairs = new.all.iter().zip(bases).map(|(object, base)| Pair {
            new: *object,
            base: base.map(|number| (number, old.all[number])),
        });
        let pairs: Vec<_> = pairs.collect();
        let mut pairs = &pairs[..];
        while !pairs.is_empty() {
            let (batch, rest) = pairs.split_at(batch_len(pairs));
            pairs = rest;
            let compared: Vec<_> = batch
                .par_iter()
                .map(|pair| pair.compare(from, to))
                .collect::<Result<_, _>>()?;
            for (pair, compared) in batch.iter().zip(&compared) {
                each(Compares::Object(pair), compared)?;
                monitor.advance(pair.new.1);
            }
        }
        Ok(New {
            text_bytes,
            objects: new.all.len() as u64,
            object_bytes,
        })
    }
}

/// A new object and the old one that it resembles.
struct Pair {
    new: (VerityDigest, u64),
    base: Option<(usize, (VerityDigest, u64))>,
}

struct Compared {
    old: Vec<u8>,
    new: Vec<u8>,
    covers: Vec<Cover>,
    /// Whether these are opened forms.
    is_opened: bool,
}

impl Compared {
    fn new(old: Vec<u8>, new: Vec<u8>) -> Self {
        Self {
            covers: covers(&old, &new),
            old,
            new,
            is_opened: false,
        }
    }

    /// Of the opened forms, if something is compressed in both and most of the new one stands in the
    /// old one: else what is compressed is shorter as it is.
    fn opened(old: &[u8], new: &[u8]) -> Option<Self> {
        let new = opened::open(new).filter(|form| form.streams > 0)?;
        let old = opened::open(old).filter(|form| form.streams > 0)?;
        let compared = Self {
            is_opened: true,
            ..Self::new(old.bytes, new.bytes)
        };
        let covered: usize = compared.covers.iter().map(|cover| cover.len_bytes).sum();
        (covered >= compared.new.len() / 2).then_some(compared)
    }
}

impl Pair {
    fn base_number(&self) -> Option<u32> {
        let number = u32::try_from(self.base?.0).ok()?;
        number.checked_add(FIRST_OBJECT_BASE)
    }

    fn bytes(&self) -> u64 {
        self.new.1 + self.base.map_or(0, |(_, (_, size_bytes))| size_bytes)
    }

    fn compare<I: StoreIo>(
        &self,
        from: &Release<'_, I>,
        to: &Release<'_, I>,
    ) -> Result<Compared, DeltaError> {
        let new = read(to, self.new)?;
        let old = match self.base {
            Some((_, object)) => read(from, object)?,
            None => Vec::new(),
        };
        Ok(Compared::opened(&old, &new).unwrap_or_else(|| Compared::new(old, new)))
    }
}

fn read<I: StoreIo>(
    release: &Release<'_, I>,
    (digest, size_bytes): (VerityDigest, u64),
) -> Result<Vec<u8>, DeltaError> {
    let file = release.store.open_object(&digest, size_bytes)?;
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
    let read = file.read_exact_at(&mut bytes, 0);
    read.map_err(DeltaError::io("read an object"))?;
    Ok(bytes)
}

/// How many pairs are compared together.
fn batch_len(pairs: &[Pair]) -> usize {
    let mut bytes = 0;
    let fits = |pair: &&Pair| {
        bytes += pair.bytes();
        bytes <= BATCH_BYTES
    };
    pairs.iter().take_while(fits).count().max(1)
}

fn covers(old: &[u8], new: &[u8]) -> Vec<Cover> {
    if old.len().max(new.len()) <= WINDOW_BYTES {
        return find_covers(old, new);
    }
    let mut covers = Vec::new();
    for (at, new) in (0..).step_by(WINDOW_BYTES).zip(new.chunks(WINDOW_BYTES)) {
        let end = old.len().min(at + WINDOW_BYTES);
        let found = find_covers(old.get(at..end).unwrap_or_default(), new);
        covers.extend(found.into_iter().map(|cover| Cover {
            old: cover.old + at,
            new: cover.new + at,
            ..cover
        }));
    }
    covers
}

/// Groups on their way into a file.
struct Groups {
    file: File,
    entries: Vec<GroupEntry>,
    /// Those that are not compressed yet.
    full: Vec<Vec<u8>>,
    parts: Vec<Part>,
    patches: GroupWriter,
}

impl Groups {
    fn new(file: File) -> Self {
        Self {
            file,
            entries: Vec::new(),
            full: Vec::new(),
            parts: Vec::new(),
            patches: GroupWriter::new(),
        }
    }

    fn add(&mut self, base: Option<u32>, compared: &Compared) -> Result<(), DeltaError> {
        let Compared { old, new, .. } = compared;
        let opened_bytes = compared
            .is_opened
            .then(|| u32::try_from(new.len()).expect("at most MAX_OPENED_BYTES"));
        let mut covers = &compared.covers[..];
        for (start, part) in (0..).step_by(PART_BYTES).zip(new.chunks(PART_BYTES)) {
            let end = start + part.len();
            let within = covers.iter().take_while(|cover| cover.new < end).count();
            let clipped: Vec<_> = covers[..within]
                .iter()
                .map(|cover| clip(cover, start, end))
                .collect();
            let is_over = |cover: &&Cover| cover.new + cover.len_bytes <= end;
            let over = covers[..within].iter().take_while(is_over).count();
            covers = &covers[over..];
            self.patches.push(old, part, &clipped);
            self.parts.push(Part {
                base,
                len_bytes: u32::try_from(part.len()).expect("at most PART_BYTES"),
                opened_bytes,
            });
            if self.patches.len_bytes() >= GROUP_BYTES {
                self.end_group()?;
            }
        }
        Ok(())
    }

    /// How many groups there are, but for the one that is being filled.
    fn count(&self) -> usize {
        self.entries.len() + self.full.len()
    }

    fn end_group(&mut self) -> Result<(), DeltaError> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let patches = std::mem::take(&mut self.patches);
        self.full.push(file::encode_group(&self.parts, patches));
        self.parts.clear();
        if self.full.len() >= GROUPS_AT_ONCE {
            self.compress()?;
        }
        Ok(())
    }

    fn compress(&mut self) -> Result<(), DeltaError> {
        let compressed = self.full.par_iter().map(|group| file::compress(group));
        let compressed: io::Result<Vec<_>> = compressed.collect();
        for (entry, encoded) in compressed.map_err(DeltaError::io("compress a group"))? {
            self.file
                .write_all(&encoded)
                .map_err(DeltaError::io("put a group aside"))?;
            self.entries.push(entry);
        }
        self.full.clear();
        if self.entries.len() as u64 > limits::MAX_DELTA_GROUPS {
            let most = limits::MAX_DELTA_GROUPS;
            return Err(file::invalid("number of groups", most, "more"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Vec<GroupEntry>, File), DeltaError> {
        self.end_group()?;
        self.compress()?;
        self.file
            .rewind()
            .map_err(DeltaError::io("read what was put aside"))?;
        Ok((self.entries, self.file))
    }
}

/// What of a cover lies between two places of the new object, counted from the first.
fn clip(cover: &Cover, start: usize, end: usize) -> Cover {
    let from = cover.new.max(start);
    let to = (cover.new + cover.len_bytes).min(end);
    Cover {
        old: cover.old + (from - cover.new),
        new: from - start,
        len_bytes: to - from,
    }
}
