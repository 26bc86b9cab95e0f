// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bundles: the pack of a release and those of its objects that no earlier bundle has, each compressed
//! by itself (docs/format/bundle.md). The head says where every object of the release lies, in this
//! bundle or an earlier one.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};

use rayon::prelude::*;
use sealroot::delta;
use sealroot::monitor::{Monitor, Unit};
use sealroot::release;
use sealroot::store::Store;
use sealroot_delta::number;
use sealroot_format::codec::Cursor;
use sealroot_format::digest::{Sha256Digest, VerityDigest};
use sealroot_format::limits;
use sealroot_format::sign::{RemoteFile, Statement};
use sealroot_format::tree::Tree;
use sha2::{Digest as _, Sha256};

use crate::error::RemoteError;
use crate::part::Piece;

const MAGIC: [u8; 16] = *b"sealroot bundle1";

/// A frame of the pack has so many bytes before it is compressed, the last one fewer.
const PACK_FRAME_BYTES: u64 = 1 << 20;

/// Objects that are compressed at the same time have together so many bytes, or there is one.
const BATCH_BYTES: u64 = 64 << 20;

/// Base two logarithm of the window that a decompressor must have.
const WINDOW_LOG: u32 = 23;

/// Where an object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The head of the bundle.
    pub(crate) bundle: Sha256Digest,
    /// From where in the file.
    pub(crate) start: u64,
    /// How many bytes. Its end is no more than can be told.
    pub(crate) size_bytes: u64,
}

impl Place {
    /// Up to where.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.size_bytes
    }
}

/// What the head of a bundle says.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) pack: VerityDigest,
    pub(crate) pack_bytes: u64,
    /// The frames of the pack, compressed.
    pub(crate) frames: Vec<Piece>,
    /// The bundles that have objects of the release, after this one.
    others: Vec<Sha256Digest>,
    objects: Vec<HeadObject>,
}

#[derive(Debug)]
struct HeadObject {
    /// 0 for this bundle, others from 1 on.
    bundle: usize,
    /// In this bundle from the end of the head, in another from its beginning.
    start: u64,
    size_bytes: u64,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RemoteError> {
        let mut cursor = Cursor::new(bytes);
        let short = || invalid("its head", "all of it", "less");
        if cursor.array::<16>() != Some(MAGIC) {
            return Err(invalid("its first bytes", MAGIC.escape_ascii(), "others"));
        }
        let pack = VerityDigest::from_bytes(cursor.array().ok_or_else(short)?);
        let pack_bytes = cursor.u64().ok_or_else(short)?;
        let frames = cursor.u32().ok_or_else(short)?;
        let others = cursor.u32().ok_or_else(short)?;
        let objects = cursor.u32().ok_or_else(short)?;
        let expected = pack_bytes.div_ceil(PACK_FRAME_BYTES);
        if u64::from(frames) != expected {
            return Err(invalid("number of frames of the pack", expected, frames));
        }
        let frame = |cursor: &mut Cursor<'_>| {
            Some(Piece {
                size_bytes: cursor.u32()?.into(),
                sha256: Sha256Digest::from_bytes(cursor.array()?),
                is_wanted: true,
            })
        };
        let mut head = Self {
            pack,
            pack_bytes,
            frames: Vec::new(),
            others: Vec::new(),
            objects: Vec::new(),
        };
        for _ in 0..frames {
            head.frames.push(frame(&mut cursor).ok_or_else(short)?);
        }
        for _ in 0..others {
            let other = cursor.array().ok_or_else(short)?;
            head.others.push(Sha256Digest::from_bytes(other));
        }
        let mut ends = vec![0_u64; head.others.len() + 1];
        ends[0] = head.frames.iter().map(|frame| frame.size_bytes).sum();
        for _ in 0..objects {
            let object = object(&mut cursor, &mut ends);
            let object =
                object.ok_or_else(|| invalid("place of an object", "one in a bundle", "none"))?;
            head.objects.push(object);
        }
        if cursor.rest().is_empty() {
            Ok(head)
        } else {
            Err(invalid("its head", "its end", "more"))
        }
    }

    /// The heads of other bundles that have objects of the release.
    pub(crate) fn others(&self) -> &[Sha256Digest] {
        &self.others
    }

    /// Where the objects of the release lie, in their order. `file` is this bundle.
    pub(crate) fn places(&self, file: &RemoteFile) -> Result<Vec<Place>, RemoteError> {
        let place = |object: &HeadObject| {
            let (bundle, offset) = match object.bundle.checked_sub(1) {
                None => (file.head, file.head_bytes),
                Some(other) => (*self.others.get(other)?, 0),
            };
            let start = object.start.checked_add(offset)?;
            start.checked_add(object.size_bytes)?;
            Some(Place {
                bundle,
                start,
                size_bytes: object.size_bytes,
            })
        };
        let places: Option<_> = self.objects.iter().map(place).collect();
        places.ok_or_else(|| invalid("place of an object", "one in a file", "beyond all files"))
    }
}

fn object(cursor: &mut Cursor<'_>, ends: &mut [u64]) -> Option<HeadObject> {
    let bundle = usize::try_from(number::take(cursor)?).ok()?;
    let end = ends.get_mut(bundle)?;
    let start = end.checked_add_signed(number::unfold(number::take(cursor)?))?;
    let size_bytes = number::take(cursor)?;
    *end = start.checked_add(size_bytes)?;
    Some(HeadObject {
        bundle,
        start,
        size_bytes,
    })
}

/// Writes the pack, whose frames were checked, from what is behind the head.
pub(crate) fn read_pack(
    head: &Head,
    frames: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), RemoteError> {
    let mut left_bytes = head.pack_bytes;
    for frame in &head.frames {
        let size_bytes = left_bytes.min(PACK_FRAME_BYTES);
        decompress(&mut frames.take(frame.size_bytes), size_bytes, out)?;
        left_bytes -= size_bytes;
    }
    Ok(())
}

/// Writes what a frame holds: exactly so many bytes.
fn decompress(
    frame: &mut dyn Read,
    size_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), RemoteError> {
    let mut content = Decompressed::new(frame)?;
    let read = RemoteError::io("decompress a frame of the pack");
    let copied = io::copy(&mut (&mut content).take(size_bytes), out).map_err(read)?;
    let more = content.read(&mut [0]);
    let more = more.map_err(RemoteError::io("decompress a frame of the pack"))?;
    if copied < size_bytes || more > 0 {
        let found = if more > 0 {
            "more".into()
        } else {
            copied.to_string()
        };
        return Err(invalid("bytes in a frame", size_bytes, found));
    }
    Ok(())
}

/// What a frame holds. Not more is in memory than a window.
pub(crate) struct Decompressed<'f>(zstd::Decoder<'static, io::BufReader<&'f mut dyn Read>>);

impl<'f> Decompressed<'f> {
    pub(crate) fn new(frame: &'f mut dyn Read) -> Result<Self, RemoteError> {
        let begin = || RemoteError::io("begin to decompress");
        let mut decoder = zstd::Decoder::new(frame).map_err(begin())?.single_frame();
        decoder.window_log_max(WINDOW_LOG).map_err(begin())?;
        Ok(Self(decoder))
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Whether an error says that bytes are no frame, or only a part of one.
pub(crate) fn is_no_frame(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other
    )
}

/// A release that is to be bundled.
#[derive(Debug)]
pub(crate) struct Release<'r> {
    pub(crate) store: &'r Store,
    pub(crate) statement: &'r Statement,
    pub(crate) tree: &'r Tree,
}

/// What is left out of a bundle: where earlier ones have it.
pub(crate) type Earlier = HashMap<VerityDigest, Place>;

/// Writes the bundle of a release to `out`. `scratch` is an empty file.
pub(crate) fn make(
    release: &Release<'_>,
    earlier: &Earlier,
    level: i32,
    mut scratch: File,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<RemoteFile, RemoteError> {
    let objects = delta::objects_in_order(release.tree);
    let new: Vec<_> = (objects.iter())
        .filter(|(digest, _)| !earlier.contains_key(digest))
        .collect();
    let statement = release.statement;
    let new_bytes: u64 = new.iter().map(|(_, size_bytes)| size_bytes).sum();
    let total_bytes = new_bytes + statement.pack_size_bytes;
    monitor.start("compressing", Unit::Bytes, Some(total_bytes));
    let aside = || RemoteError::io("put aside what was compressed");
    let mut frames = Vec::new();
    for frame in pack_frames(release, level, monitor)? {
        scratch.write_all(&frame).map_err(aside())?;
        frames.push(Piece {
            size_bytes: frame.len() as u64,
            sha256: sha256(&frame),
            is_wanted: true,
        });
    }
    let mut sizes = HashMap::new();
    let mut rest = &new[..];
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(batch_len(rest));
        rest = later;
        let compress = |(digest, size_bytes): &&(VerityDigest, u64)| {
            let file = release::open_verified_object(release.store, digest, *size_bytes)?;
            let compressed = compress(&mut file.reader(), *size_bytes, level)?;
            monitor.advance(*size_bytes);
            Ok::<_, RemoteError>(compressed)
        };
        let compressed: Result<Vec<_>, _> = batch.par_iter().map(compress).collect();
        for ((digest, _), frame) in batch.iter().zip(compressed?) {
            scratch.write_all(&frame).map_err(aside())?;
            sizes.insert(*digest, frame.len() as u64);
        }
    }
    let head = encode_head(statement, &frames, &objects, earlier, &sizes);
    out.write_all(&head)
        .map_err(RemoteError::io("write a bundle"))?;
    scratch.rewind().map_err(aside())?;
    let copied = io::copy(&mut scratch, out);
    let content_bytes = copied.map_err(RemoteError::io("write a bundle"))?;
    let head_bytes = head.len() as u64;
    Ok(RemoteFile {
        head: sha256(&head),
        head_bytes,
        size_bytes: head_bytes + content_bytes,
    })
}

fn pack_frames(
    release: &Release<'_>,
    level: i32,
    monitor: &dyn Monitor,
) -> Result<Vec<Vec<u8>>, RemoteError> {
    let statement = release.statement;
    let pack = release.store.open_pack(&statement.pack_digest)?;
    let count = statement.pack_size_bytes.div_ceil(PACK_FRAME_BYTES);
    let frame = |number: u64| {
        let start = number * PACK_FRAME_BYTES;
        let size_bytes = (statement.pack_size_bytes - start).min(PACK_FRAME_BYTES);
        let mut bytes = vec![0; usize::try_from(size_bytes).expect("at most PACK_FRAME_BYTES")];
        let read = pack.read_exact_at(&mut bytes, start);
        read.map_err(RemoteError::io("read the pack"))?;
        monitor.advance(size_bytes);
        compress(&mut &bytes[..], size_bytes, level)
    };
    (0..count).into_par_iter().map(frame).collect()
}

fn compress(content: &mut dyn Read, size_bytes: u64, level: i32) -> Result<Vec<u8>, RemoteError> {
    let mut encode = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
        encoder.set_pledged_src_size(Some(size_bytes))?;
        encoder.include_checksum(false)?;
        encoder.include_contentsize(false)?;
        io::copy(content, &mut encoder)?;
        encoder.finish()
    };
    encode().map_err(RemoteError::io("compress a file of the release"))
}

fn batch_len(objects: &[&(VerityDigest, u64)]) -> usize {
    let mut bytes = 0;
    let fits = |object: &&&(VerityDigest, u64)| {
        bytes += object.1;
        bytes <= BATCH_BYTES
    };
    objects.iter().take_while(fits).count().max(1)
}

fn encode_head(
    statement: &Statement,
    frames: &[Piece],
    objects: &[(VerityDigest, u64)],
    earlier: &Earlier,
    sizes: &HashMap<VerityDigest, u64>,
) -> Vec<u8> {
    let count = |len: usize| u32::try_from(len).expect("no release has that many parts");
    let mut others: Vec<Sha256Digest> = Vec::new();
    let mut numbers = HashMap::new();
    for (digest, _) in objects {
        if let Some(place) = earlier.get(digest) {
            numbers.entry(place.bundle).or_insert_with(|| {
                others.push(place.bundle);
                others.len()
            });
        }
    }
    let mut head = MAGIC.to_vec();
    head.extend(statement.pack_digest.as_bytes());
    head.extend(statement.pack_size_bytes.to_le_bytes());
    for len in [frames.len(), others.len(), objects.len()] {
        head.extend(count(len).to_le_bytes());
    }
    for frame in frames {
        let size_bytes = u32::try_from(frame.size_bytes).expect("not much above PACK_FRAME_BYTES");
        head.extend(size_bytes.to_le_bytes());
        head.extend(frame.sha256.as_bytes());
    }
    head.extend(others.iter().flat_map(|other| *other.as_bytes()));
    let mut ends = vec![0_u64; others.len() + 1];
    ends[0] = frames.iter().map(|frame| frame.size_bytes).sum();
    let mut next = ends[0];
    for (digest, _) in objects {
        let (bundle, start, size_bytes) = if let Some(place) = earlier.get(digest) {
            (numbers[&place.bundle], place.start, place.size_bytes)
        } else {
            let start = next;
            next += sizes[digest];
            (0, start, sizes[digest])
        };
        let gap = start.wrapping_sub(ends[bundle]).cast_signed();
        for number in [bundle as u64, number::fold(gap), size_bytes] {
            number::push(&mut head, number);
        }
        ends[bundle] = start + size_bytes;
    }
    head
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(bytes).into())
}

fn invalid(
    what: &'static str,
    expected: impl fmt::Display,
    found: impl fmt::Display,
) -> RemoteError {
    RemoteError::Bundle {
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// The most bytes that a frame of so much content may have: what does not compress grows a little.
pub(crate) fn most_compressed_bytes(size_bytes: u64) -> u64 {
    size_bytes
        .saturating_add(size_bytes / 128)
        .saturating_add(limits::MAX_FRAME_OVERHEAD_BYTES)
}
