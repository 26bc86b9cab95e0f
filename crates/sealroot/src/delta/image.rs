// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images on their way: made of files of their own release, and of an older image where that is
//! there (docs/format/image.md). Nothing of what travels is trusted: what counts is the digest of what comes out.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Read, Write};

use sealroot_delta::{GroupReader, GroupWriter, PatchError};
use sealroot_format::codec::Cursor;
use sealroot_format::digest::{Sha256Digest, VerityDigest, compute_verity_digest};
use sealroot_format::erofs::ReadAt;
use sealroot_format::limits;
use sealroot_format::tree::Tree;
use sha2::{Digest as _, Sha256};

use super::Release;
use super::compared::{Compared, PART_BYTES};
use super::error::DeltaError;
use super::file::{self, Group, GroupEntry, at_most, invalid, read_exact};
use super::groups::GROUP_BYTES;
use super::text::{Objects, external};
use crate::store::{ImageName, KernelIo, StoreError, StoreIo, StoredFile, Transaction};

const MAGIC: [u8; 16] = *b"sealroot image 1";

/// Length of what comes before the numbers of objects.
const FIXED_BYTES: usize = 16 + 32 + 32 + 8 + 32 + 8 + 4 + 4;

/// How the names of EFI stubs end: they are in an image with other headers.
const STUB_SUFFIX: &[u8] = b".efi.stub";

/// What an image is made of, as the head says before its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOutline {
    /// The image.
    pub name: ImageName,
    /// Its length.
    pub size_bytes: u64,
    /// The older image that it is made of, and its length, if it is of one.
    pub old: Option<(VerityDigest, u64)>,
    /// The objects of its release that it is made of, by their numbers, ascending.
    objects: Vec<u32>,
    entries: Vec<GroupEntry>,
}

impl ImageOutline {
    /// Reads a head.
    pub fn parse(head: &[u8]) -> Result<Self, DeltaError> {
        let mut rest = head;
        let outline = Self::read(&mut rest)?;
        if rest.is_empty() {
            return Ok(outline);
        }
        Err(invalid("the header of an image", "its end", "more"))
    }

    /// The groups, one behind another.
    pub fn groups(&self) -> impl Iterator<Item = Group> {
        self.entries.iter().map(Group::new)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let nothing = (VerityDigest::from_bytes([0; 32]), 0);
        let (old, old_bytes) = self.old.unwrap_or(nothing);
        out.extend(self.name.pack.as_bytes());
        out.extend(self.name.image.as_bytes());
        out.extend(self.size_bytes.to_le_bytes());
        out.extend(old.as_bytes());
        out.extend(old_bytes.to_le_bytes());
        for count in [self.objects.len(), self.entries.len()] {
            let count = u32::try_from(count).expect("bounded");
            out.extend(count.to_le_bytes());
        }
        out.extend(self.objects.iter().flat_map(|number| number.to_le_bytes()));
        for entry in &self.entries {
            entry.encode(&mut out);
        }
        out
    }

    pub(super) fn read(input: &mut dyn Read) -> Result<Self, DeltaError> {
        const WHAT: &str = "the header of an image";
        let mut fixed = [0; FIXED_BYTES];
        read_exact(input, &mut fixed, WHAT)?;
        let mut cursor = Cursor::new(&fixed);
        let short = || invalid(WHAT, "all of it", "less");
        let magic = cursor.array::<16>().ok_or_else(short)?;
        if magic != MAGIC {
            let expected = MAGIC.escape_ascii();
            return Err(invalid("its first bytes", expected, magic.escape_ascii()));
        }
        let mut digest = || -> Result<VerityDigest, DeltaError> {
            Ok(VerityDigest::from_bytes(cursor.array().ok_or_else(short)?))
        };
        let (pack, image) = (digest()?, digest()?);
        let size_bytes = cursor.u64().ok_or_else(short)?;
        let old = VerityDigest::from_bytes(cursor.array().ok_or_else(short)?);
        let old_bytes = cursor.u64().ok_or_else(short)?;
        let objects = cursor.u32().ok_or_else(short)?;
        let groups = cursor.u32().ok_or_else(short)?;
        let most = limits::MAX_BOOT_FILE_BYTES;
        at_most("length of an image", size_bytes, most)?;
        at_most("length of an old image", old_bytes, most)?;
        if old_bytes == 0 && old.as_bytes() != &[0; 32] {
            return Err(invalid("digest of the old image", "zeros for none", old));
        }
        let most = limits::MAX_IMAGE_BASES;
        at_most("number of objects of an image", objects.into(), most)?;
        at_most("number of groups", groups.into(), limits::MAX_DELTA_GROUPS)?;
        let mut numbers = vec![0; objects as usize * 4];
        read_exact(input, &mut numbers, WHAT)?;
        let (numbers, _) = numbers.as_chunks::<4>();
        let numbers: Vec<u32> = numbers
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect();
        if !numbers.is_sorted_by(|before, after| before < after) {
            return Err(invalid("numbers of objects", "ascending ones", "others"));
        }
        let entries = (0..groups).map(|_| GroupEntry::read(input));
        let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        if let Some(objects) = entries.iter().find_map(|entry| entry.objects.as_ref()) {
            let found = format_args!("{} to {}", objects.start(), objects.end());
            return Err(invalid("the objects of a group", "none", found));
        }
        Ok(Self {
            name: ImageName { pack, image },
            size_bytes,
            old: (old_bytes > 0).then_some((old, old_bytes)),
            objects: numbers,
            entries,
        })
    }
}

/// An image that is to travel.
#[derive(Debug)]
pub struct ImageMaking<'m, I: StoreIo = KernelIo> {
    /// Its release.
    pub release: &'m Release<'m, I>,
    /// The image.
    pub image: &'m [u8],
    /// Parts of the image that may be files of the release.
    pub parts: &'m [&'m [u8]],
    /// An older image that whoever makes this one has, if it has one.
    pub old: Option<&'m [u8]>,
}

/// What was made of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeImage {
    /// SHA-256 of its head.
    pub head: Sha256Digest,
    /// The length of its head, all before the groups, bytes.
    pub head_bytes: u64,
    /// The length of the whole, bytes.
    pub delta_bytes: u64,
}

impl<I: StoreIo> ImageMaking<'_, I> {
    /// Writes what makes the image.
    pub fn make(&self, out: &mut dyn Write) -> Result<MadeImage, DeltaError> {
        let Self {
            release,
            image,
            parts,
            old,
        } = *self;
        let objects = Objects::of(release.tree);
        let numbers = numbers_of(release.tree, &objects, parts);
        let mut base = old.unwrap_or_default().to_vec();
        let read = DeltaError::io("read an object");
        for number in &numbers {
            let (digest, size_bytes) = objects.all[*number as usize];
            let object = release.store.open_object(&digest, size_bytes)?;
            object.reader().read_to_end(&mut base).map_err(&read)?;
        }
        let (entries, encoded) = groups_of(&Compared::new(base, image.to_vec()))?;
        let digest_of = |image: &[u8]| (compute_verity_digest(image), image.len() as u64);
        let (digest, size_bytes) = digest_of(image);
        let outline = ImageOutline {
            name: ImageName {
                pack: release.pack,
                image: digest,
            },
            size_bytes,
            old: old.map(digest_of),
            objects: numbers,
            entries,
        };
        let head = outline.encode();
        let write = DeltaError::io("write an image");
        out.write_all(&head).map_err(&write)?;
        out.write_all(&encoded).map_err(&write)?;
        Ok(MadeImage {
            head: Sha256Digest::from_bytes(Sha256::digest(&head).into()),
            head_bytes: head.len() as u64,
            delta_bytes: (head.len() + encoded.len()) as u64,
        })
    }
}

/// The objects that are one of the parts, or a stub.
fn numbers_of(tree: &Tree, objects: &Objects, parts: &[&[u8]]) -> Vec<u32> {
    let parts: HashSet<_> = parts
        .iter()
        .map(|part| compute_verity_digest(part))
        .collect();
    let mut wanted: Vec<usize> = Vec::new();
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        if let Some((digest, _)) = external(tree.inode(id))
            && (parts.contains(&digest) || path.ends_with(STUB_SUFFIX))
        {
            wanted.extend(objects.number(&digest));
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    let numbers = wanted.iter().map(|number| u32::try_from(*number));
    let most = usize::try_from(limits::MAX_IMAGE_BASES).unwrap_or(usize::MAX);
    numbers.flatten().take(most).collect()
}

/// The patches in groups, compressed.
fn groups_of(compared: &Compared) -> Result<(Vec<GroupEntry>, Vec<u8>), DeltaError> {
    let (mut entries, mut encoded) = (Vec::new(), Vec::new());
    let (mut count, mut patches) = (0_u32, GroupWriter::new());
    let mut pieces = compared.pieces.iter().peekable();
    while let Some(piece) = pieces.next() {
        patches.push(
            &compared.old,
            &compared.new[piece.range.clone()],
            &piece.covers,
        );
        count += 1;
        if patches.len_bytes() < GROUP_BYTES && pieces.peek().is_some() {
            continue;
        }
        let mut group = std::mem::take(&mut count).to_le_bytes().to_vec();
        group.extend(std::mem::take(&mut patches).finish());
        let compressed = file::compress(&group);
        let (entry, bytes) = compressed.map_err(DeltaError::io("compress a group"))?;
        entries.push(entry);
        encoded.extend(bytes);
    }
    Ok((entries, encoded))
}

/// An image to be made, of what a store has.
pub struct ImageApplication<'a, I: StoreIo = KernelIo> {
    /// Its release, of which the store has all that the image is made of.
    pub release: &'a Release<'a, I>,
    /// The digest that the image must have.
    pub digest: VerityDigest,
    /// The length that it must have.
    pub size_bytes: u64,
    /// The digest of the older image, and the image, if it is made of one.
    pub old: Option<(VerityDigest, &'a dyn ReadAt)>,
}

impl<I: StoreIo> std::fmt::Debug for ImageApplication<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageApplication")
            .field("pack", &self.release.pack)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl<I: StoreIo> ImageApplication<'_, I> {
    /// The name that the image gets.
    pub fn name(&self) -> ImageName {
        ImageName {
            pack: self.release.pack,
            image: self.digest,
        }
    }

    /// Makes the image and gives it to the store, which has it only if it is the right one.
    pub fn apply(
        &self,
        transaction: &Transaction<'_, I>,
        delta: &mut dyn Read,
    ) -> Result<(), DeltaError> {
        let outline = ImageOutline::read(delta)?;
        let bases = self.bases(&outline)?;
        let mut failure = None;
        let added = transaction.add_image(&self.name(), self.size_bytes, |out| {
            self.write(&outline, delta, &bases, out).map_err(|error| {
                let text = error.to_string();
                failure = Some(error);
                io::Error::other(text)
            })
        });
        match (failure, added) {
            // The store says better why it did not take it.
            (Some(DeltaError::Patch(PatchError::Write(_))), Err(error)) => Err(error.into()),
            (Some(failure), _) => Err(failure),
            (
                None,
                Err(StoreError::DigestMismatch {
                    expected, found, ..
                }),
            ) => Err(invalid("the image that it makes", expected, found)),
            (None, added) => Ok(added.map(drop)?),
        }
    }

    /// What it is made of, which must be what is there.
    fn bases(&self, outline: &ImageOutline) -> Result<Bases<'_, I>, DeltaError> {
        let same = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected == found {
                return Ok(());
            }
            Err(invalid(what, expected, found))
        };
        same("pack of an image", &self.release.pack, &outline.name.pack)?;
        same("digest of an image", &self.digest, &outline.name.image)?;
        same("length of an image", &self.size_bytes, &outline.size_bytes)?;
        let shown = |old: Option<VerityDigest>| old.map_or("none".into(), |old| old.to_string());
        let there = self.old.map(|(digest, _)| digest);
        let named = outline.old.map(|(digest, _)| digest);
        same("old image", &shown(there), &shown(named))?;
        let old = match (self.old, outline.old) {
            (Some((_, old)), Some((_, old_bytes))) => {
                let found = old
                    .size_bytes()
                    .map_err(DeltaError::io("read an old image"))?;
                same("length of the old image", &found, &old_bytes)?;
                Some((old, old_bytes))
            }
            _ => None,
        };
        let all = Objects::of(self.release.tree).all;
        let object = |number: &u32| {
            let object = all.get(*number as usize).copied();
            object.ok_or_else(|| invalid("an object", format_args!("one of {}", all.len()), number))
        };
        Ok(Bases {
            release: self.release,
            old,
            objects: outline
                .objects
                .iter()
                .map(object)
                .collect::<Result<_, _>>()?,
            open: RefCell::new(None),
        })
    }

    fn write(
        &self,
        outline: &ImageOutline,
        delta: &mut dyn Read,
        bases: &Bases<'_, I>,
        out: &mut dyn Write,
    ) -> Result<(), DeltaError> {
        let mut left_bytes = self.size_bytes;
        for entry in &outline.entries {
            let group = file::read_group(delta, entry)?;
            let count = Cursor::new(&group).u32().unwrap_or_default();
            let mut reader = GroupReader::open(group, 4)?;
            for _ in 0..count {
                let len_bytes = left_bytes.min(PART_BYTES as u64);
                if len_bytes == 0 {
                    return Err(invalid("patches of an image", "their end", "more"));
                }
                reader.apply(bases, len_bytes, out)?;
                left_bytes -= len_bytes;
            }
            reader.finish()?;
        }
        match left_bytes {
            0 => Ok(()),
            _ => Err(invalid("patches of an image", "more", "their end")),
        }
    }
}

/// What an image is made of, one behind another: the old image, then the objects.
struct Bases<'b, I: StoreIo> {
    release: &'b Release<'b, I>,
    old: Option<(&'b dyn ReadAt, u64)>,
    objects: Vec<(VerityDigest, u64)>,
    /// The object that was used last.
    open: RefCell<Option<(VerityDigest, StoredFile<'b, I>)>>,
}

impl<I: StoreIo> Bases<'_, I> {
    fn read_object(
        &self,
        (digest, size_bytes): (VerityDigest, u64),
        buffer: &mut [u8],
        at: u64,
    ) -> io::Result<()> {
        let mut open = self.open.borrow_mut();
        let file = match &*open {
            Some((of, file)) if *of == digest => file,
            _ => {
                let file = self.release.store.open_object(&digest, size_bytes);
                &open.insert((digest, file.map_err(io::Error::other)?)).1
            }
        };
        file.read_exact_at(buffer, at)
    }
}

impl<I: StoreIo> ReadAt for Bases<'_, I> {
    fn read_exact_at(&self, mut buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let old_bytes = self.old.map_or(0, |(_, old_bytes)| old_bytes);
        let sizes = self.objects.iter().map(|(_, size_bytes)| *size_bytes);
        let mut start = 0_u64;
        let mut at = offset_bytes;
        for (number, size_bytes) in [old_bytes].into_iter().chain(sizes).enumerate() {
            let end = start.saturating_add(size_bytes);
            let within = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let (now, later) = buf.split_at_mut(within.min(buf.len()));
            if !now.is_empty() {
                match (number.checked_sub(1), self.old) {
                    (Some(number), _) => {
                        self.read_object(self.objects[number], now, at - start)?;
                    }
                    (None, Some((old, _))) => old.read_exact_at(now, at - start)?,
                    (None, None) => {}
                }
            }
            at += now.len() as u64;
            buf = later;
            if buf.is_empty() {
                return Ok(());
            }
            start = end;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn size_bytes(&self) -> io::Result<u64> {
        let old_bytes = self.old.map_or(0, |(_, old_bytes)| old_bytes);
        let sizes = self.objects.iter().map(|(_, size_bytes)| *size_bytes);
        Ok(sizes.fold(old_bytes, u64::saturating_add))
    }
}
