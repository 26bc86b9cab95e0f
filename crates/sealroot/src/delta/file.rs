// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of a delta: its header, and groups of patches, each compressed by itself
//! (docs/format/delta.md 1, 2).

use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use lzma_rust2::{Lzma2Options, Lzma2Reader, Lzma2Writer};
use sealroot_delta::adjusted::{MAX_RENUMBERING_BYTES, Stage};
use sealroot_delta::{GroupReader, GroupWriter};
use sealroot_format::codec::Cursor;
use sealroot_format::digest::{Sha256Digest, VerityDigest};
use sealroot_format::limits;
use sha2::{Digest as _, Sha256};

use super::error::DeltaError;

const MAGIC: [u8; 16] = *b"sealroot delta 1";

/// Length of what comes before the table of groups.
const FIXED_BYTES: usize = 16 + 2 * 32 + 4 + 8 + 4;

/// Length of a group's place in the table.
const ENTRY_BYTES: usize = 4 + 4 + 2 * 4 + 32;

/// Stands for no object.
const NO_OBJECT: u32 = u32::MAX;

/// What a delta says before its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) from: VerityDigest,
    pub(super) to: VerityDigest,
    /// The length of the renumbering.
    pub(super) renumbering_bytes: u32,
    /// The length of the new tree's text.
    pub(super) text_bytes: u64,
    pub(super) groups: Vec<GroupEntry>,
}

/// What a delta says of one of its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupEntry {
    encoded_bytes: u32,
    decoded_bytes: u32,
    /// The numbers of the first and the last new object that it has parts of.
    pub(super) objects: Option<RangeInclusive<u32>>,
    encoded_sha256: Sha256Digest,
}

impl GroupEntry {
    pub(super) fn encoded_bytes(&self) -> u64 {
        self.encoded_bytes.into()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let ends = |objects: &RangeInclusive<u32>| (*objects.start(), *objects.end());
        let (first, last) = self.objects.as_ref().map_or((NO_OBJECT, NO_OBJECT), ends);
        for number in [self.encoded_bytes, self.decoded_bytes, first, last] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.encoded_sha256.as_bytes());
    }

    pub(super) fn read(input: &mut dyn Read) -> Result<Self, DeltaError> {
        let mut entry = [0; ENTRY_BYTES];
        read_exact(input, &mut entry, "the table of groups")?;
        let mut cursor = Cursor::new(&entry);
        let short = || invalid("the table of groups", "all of it", "less");
        let mut number = || cursor.u32().ok_or_else(short);
        let (encoded_bytes, decoded_bytes) = (number()?, number()?);
        let objects = match (number()?, number()?) {
            (NO_OBJECT, NO_OBJECT) => None,
            (first, last) if first <= last && last != NO_OBJECT => Some(first..=last),
            (first, last) => {
                let found = format_args!("{first} to {last}");
                return Err(invalid(
                    "the objects of a group",
                    "the first, the last",
                    found,
                ));
            }
        };
        let most = limits::MAX_DELTA_GROUP_BYTES;
        at_most("length of a group", encoded_bytes.into(), most)?;
        at_most("size of a group", decoded_bytes.into(), most)?;
        let encoded_sha256 = Sha256Digest::from_bytes(cursor.array().ok_or_else(short)?);
        Ok(Self {
            encoded_bytes,
            decoded_bytes,
            objects,
            encoded_sha256,
        })
    }
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.from.as_bytes());
        out.extend(self.to.as_bytes());
        out.extend(self.renumbering_bytes.to_le_bytes());
        out.extend(self.text_bytes.to_le_bytes());
        let count = u32::try_from(self.groups.len()).expect("bounded by MAX_DELTA_GROUPS");
        out.extend(count.to_le_bytes());
        for group in &self.groups {
            group.encode(&mut out);
        }
        out
    }

    pub(super) fn read(input: &mut dyn Read) -> Result<Self, DeltaError> {
        let mut fixed = [0; FIXED_BYTES];
        read_exact(input, &mut fixed, "the header")?;
        let mut cursor = Cursor::new(&fixed);
        let short = || invalid("the header", "all of it", "less");
        let magic = cursor.array::<16>().ok_or_else(short)?;
        if magic != MAGIC {
            let expected = MAGIC.escape_ascii();
            return Err(invalid("its first bytes", expected, magic.escape_ascii()));
        }
        let from = VerityDigest::from_bytes(cursor.array().ok_or_else(short)?);
        let to = VerityDigest::from_bytes(cursor.array().ok_or_else(short)?);
        let renumbering_bytes = cursor.u32().ok_or_else(short)?;
        let text_bytes = cursor.u64().ok_or_else(short)?;
        let count = cursor.u32().ok_or_else(short)?;
        at_most(
            "length of the renumbering",
            renumbering_bytes.into(),
            MAX_RENUMBERING_BYTES.into(),
        )?;
        at_most(
            "length of the tree",
            text_bytes,
            limits::MAX_DELTA_TEXT_BYTES,
        )?;
        at_most("number of groups", count.into(), limits::MAX_DELTA_GROUPS)?;
        let groups = (0..count).map(|_| GroupEntry::read(input));
        let groups = groups.collect::<Result<_, _>>()?;
        Ok(Self {
            from,
            to,
            renumbering_bytes,
            text_bytes,
            groups,
        })
    }
}

/// What the head of a delta, all before its groups, says of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The pack of the old release.
    pub from: VerityDigest,
    /// The pack of the new release.
    pub to: VerityDigest,
    /// The groups, one behind another.
    pub groups: Vec<Group>,
}

/// A group of a delta, as its head has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its length in the file, bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes in the file.
    pub sha256: Sha256Digest,
    /// The new objects that it has parts of, by their numbers. Other groups make the pack.
    pub objects: Option<RangeInclusive<u32>>,
}

impl Group {
    pub(super) fn new(entry: &GroupEntry) -> Self {
        Self {
            size_bytes: entry.encoded_bytes.into(),
            sha256: entry.encoded_sha256,
            objects: entry.objects.clone(),
        }
    }
}

impl Outline {
    /// Reads a head.
    pub fn parse(head: &[u8]) -> Result<Self, DeltaError> {
        let mut rest = head;
        let header = Header::read(&mut rest)?;
        if !rest.is_empty() {
            return Err(invalid("the header", "its end", "more"));
        }
        Ok(Self {
            from: header.from,
            to: header.to,
            groups: header.groups.iter().map(Group::new).collect(),
        })
    }
}

/// A group, compressed, with its place in the table but for the objects.
pub(super) fn compress(group: &[u8]) -> io::Result<(GroupEntry, Vec<u8>)> {
    let mut options = Lzma2Options::with_preset(9);
    options.lzma_options.dict_size = dictionary_bytes(group.len())?;
    let mut writer = Lzma2Writer::new(Vec::new(), options);
    writer.write_all(group)?;
    let encoded = writer.finish()?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    let entry = GroupEntry {
        encoded_bytes: length(&encoded)?,
        decoded_bytes: length(group)?,
        objects: None,
        encoded_sha256: Sha256Digest::from_bytes(Sha256::digest(&encoded).into()),
    };
    Ok((entry, encoded))
}

/// Reads the next group, which is compared with its place in the table before it is decompressed.
pub(super) fn read_group(input: &mut dyn Read, entry: &GroupEntry) -> Result<Vec<u8>, DeltaError> {
    let encoded = read_encoded(input, entry)?;
    let decompress = || {
        let decoded_bytes = entry.decoded_bytes as usize;
        let dictionary = dictionary_bytes(decoded_bytes)?;
        let mut reader = Lzma2Reader::new(&encoded[..], dictionary, None);
        let mut group = vec![0; decoded_bytes];
        reader.read_exact(&mut group)?;
        if reader.read(&mut [0])? != 0 {
            return Err(io::Error::other("more"));
        }
        io::Result::Ok(group)
    };
    decompress().map_err(|error| invalid("a group", "LZMA2 of the size in the table", error))
}

/// The parts of the next group; its patches are not decompressed.
pub(super) fn read_parts(
    input: &mut dyn Read,
    entry: &GroupEntry,
) -> Result<Vec<Part>, DeltaError> {
    let encoded = read_encoded(input, entry)?;
    let decompress = || {
        let dictionary = dictionary_bytes(entry.decoded_bytes as usize)?;
        let mut reader = Lzma2Reader::new(&encoded[..], dictionary, None);
        let mut table = vec![0; COUNT_BYTES];
        reader.read_exact(&mut table)?;
        let count = Cursor::new(&table).u32().unwrap_or_default();
        let table_bytes = u64::from(count).saturating_mul(PART_BYTES as u64);
        let most = table_bytes.min(entry.decoded_bytes.into());
        reader.take(most).read_to_end(&mut table)?;
        io::Result::Ok(table)
    };
    let table = decompress().map_err(|error| invalid("a group", "LZMA2", error))?;
    parts(&mut Cursor::new(&table)).ok_or_else(no_parts)
}

fn read_encoded(input: &mut dyn Read, entry: &GroupEntry) -> Result<Vec<u8>, DeltaError> {
    let mut encoded = vec![0; entry.encoded_bytes as usize];
    read_exact(input, &mut encoded, "a group")?;
    let found = Sha256Digest::from_bytes(Sha256::digest(&encoded).into());
    if found != entry.encoded_sha256 {
        return Err(invalid("SHA-256 of a group", entry.encoded_sha256, found));
    }
    Ok(encoded)
}

fn no_parts() -> DeltaError {
    invalid("a group", "all of its parts", "less, or others")
}

/// All of a group: it is never larger than the memory it takes anyway.
fn dictionary_bytes(group_bytes: usize) -> io::Result<u32> {
    const LEAST: u32 = 4096;
    let bytes = u32::try_from(group_bytes).map_err(io::Error::other)?;
    Ok(bytes.max(LEAST))
}

pub(super) fn read_exact(
    input: &mut dyn Read,
    out: &mut [u8],
    what: &'static str,
) -> Result<(), DeltaError> {
    input.read_exact(out).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => invalid(what, "all of it", "less"),
        _ => DeltaError::io("read the delta")(source),
    })
}

pub(super) fn at_most(what: &'static str, found: u64, most: u64) -> Result<(), DeltaError> {
    if found > most {
        return Err(invalid(what, format_args!("at most {most}"), found));
    }
    Ok(())
}

pub(super) fn invalid(
    what: &'static str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> DeltaError {
    DeltaError::Invalid {
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// What is patched with what: a part of the new release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The number of what it is patched from, if it is.
    pub(super) base: Option<u32>,
    pub(super) len_bytes: u32,
    /// If it is a part of an opened object, the length of its opened form.
    pub(super) opened_bytes: Option<u32>,
    /// If it is patched from an old object that is adjusted, how.
    pub(super) adjusted: Option<Adjustment>,
}

/// How an old object is adjusted from which a part is patched, or what else the part is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adjustment {
    /// An object file, so far.
    Object(Stage),
    /// The part says what has moved in a kernel.
    Moves,
    /// A kernel, to that.
    Kernel,
}

impl Adjustment {
    const MOVES: u32 = 4;
    const KERNEL: u32 = 5;

    /// Its number in files, from 1 on.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Object(stage) => stage.number(),
            Self::Moves => Self::MOVES,
            Self::Kernel => Self::KERNEL,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        match number {
            Self::MOVES => Some(Self::Moves),
            Self::KERNEL => Some(Self::Kernel),
            number => Stage::from_number(number).map(Self::Object),
        }
    }
}

/// The old text and the old small files are bases before the old objects.
pub(super) const TEXT_BASE: u32 = 0;
pub(super) const SMALL_BASE: u32 = 1;
pub(super) const FIRST_OBJECT_BASE: u32 = 2;

/// Length of the number of parts.
const COUNT_BYTES: usize = 4;

/// Length of a part's entry in a group.
const PART_BYTES: usize = 4 * COLUMNS;
const COLUMNS: usize = 4;

/// Stands for no base.
const NO_BASE: u32 = u32::MAX;

/// A group as it is before compression: its parts, then their patches.
pub(super) fn encode_group(parts: &[Part], patches: GroupWriter) -> Vec<u8> {
    let count = u32::try_from(parts.len()).expect("no group has that many parts");
    let mut out = count.to_le_bytes().to_vec();
    out.extend(
        parts
            .iter()
            .flat_map(|part| part.base.unwrap_or(NO_BASE).to_le_bytes()),
    );
    out.extend(parts.iter().flat_map(|part| part.len_bytes.to_le_bytes()));
    let opened = parts
        .iter()
        .map(|part| part.opened_bytes.unwrap_or_default());
    out.extend(opened.flat_map(u32::to_le_bytes));
    let adjusted = parts
        .iter()
        .map(|part| part.adjusted.map_or(0, Adjustment::number));
    out.extend(adjusted.flat_map(u32::to_le_bytes));
    out.extend(patches.finish());
    out
}

/// The parts of a group, and its patches.
pub(super) fn open_group(group: Vec<u8>) -> Result<(Vec<Part>, GroupReader), DeltaError> {
    let mut cursor = Cursor::new(&group);
    let parts = parts(&mut cursor);
    let parts = parts.ok_or_else(no_parts)?;
    let start = cursor.offset_bytes();
    Ok((parts, GroupReader::open(group, start)?))
}

fn parts(cursor: &mut Cursor<'_>) -> Option<Vec<Part>> {
    let count = cursor.u32()? as usize;
    let column_bytes = count.checked_mul(PART_BYTES / COLUMNS)?;
    let mut bases = Cursor::new(cursor.take(column_bytes)?);
    let mut lens = Cursor::new(cursor.take(column_bytes)?);
    let mut opened = Cursor::new(cursor.take(column_bytes)?);
    let mut adjusted = Cursor::new(cursor.take(column_bytes)?);
    let part = |_| {
        Some(Part {
            base: Some(bases.u32()?).filter(|base| *base != NO_BASE),
            len_bytes: lens.u32()?,
            opened_bytes: Some(opened.u32()?).filter(|len_bytes| *len_bytes != 0),
            adjusted: match adjusted.u32()? {
                0 => None,
                number => Some(Adjustment::from_number(number)?),
            },
        })
    };
    (0..count).map(part).collect()
}
