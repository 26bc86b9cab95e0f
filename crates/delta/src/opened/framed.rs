// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects that are a Zstandard frame, and kernel images, whose payload is one
//! (docs/format/opened.md 3).

use std::io::{self, Write};
use std::ops::Range;

use sealroot_format::codec::Cursor;
use sealroot_format::erofs::ReadAt;

use super::zstd::{self, Beside, MAX_BESIDE_BYTES, Places};
use super::{FRAMED, KIND_BYTES, MAX_FRAMED_FORM_BYTES, Scratch, Side, Stop};

/// The setup header of an image for x86 (Documentation/arch/x86/boot.rst): what is read of it, and
/// where.
const SETUP_BYTES: usize = 0x250;
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC_AND_VERSION: usize = 0x202;
const PAYLOAD: usize = 0x248;

const MAGIC: [u8; 4] = *b"HdrS";

/// The first version that says where the payload is.
const FIRST_VERSION: u16 = 0x0208;

const SECTOR_BYTES: u64 = 512;

/// So many sectors there are if the header says none.
const DEFAULT_SECTORS: u8 = 4;

/// Behind the frame stands how long its content is.
const SIZE_BYTES: usize = 4;

/// The lengths at the end of a form.
const FOOT_BYTES: usize = 7 * 4;

const BUFFER_BYTES: usize = 64 * 1024;

/// Where the frame of an object is to be.
struct Place {
    start: u64,
    end: u64,
    /// What stands behind the frame.
    behind: Behind,
}

/// What stands behind a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// The object ends with the frame.
    Nothing,
    /// How long its content is, in [`SIZE_BYTES`], and the rest of the kernel image.
    ContentSize,
}

/// The opened form of an object of `size_bytes`, and where in it the choices begin.
pub(super) fn open<S: Scratch>(
    object: &dyn ReadAt,
    size_bytes: u64,
    side: Side,
    scratch: &mut dyn FnMut() -> io::Result<S>,
) -> Result<(S, u64), Stop> {
    let place = Place::find(object, size_bytes)?;
    let end = place.end;
    let (header_bytes, checksum_bytes) = zstd::header(object, place.start, end)?;
    let start = (place.start)
        .checked_add(header_bytes)
        .ok_or(Stop::Invalid)?;
    let mut form = scratch().map_err(Stop::Write)?;
    form.write_all(&[FRAMED]).map_err(Stop::Write)?;
    copy(object, (0, start), &mut form)?;
    let content_start = start.saturating_add(KIND_BYTES as u64);
    let room = (content_start, MAX_FRAMED_FORM_BYTES);
    let mut records = scratch().map_err(Stop::Write)?;
    let opened = zstd::open(object, (start, end), side, &mut form, room, &mut records)?;
    let (content_bytes, blocks_end) = (opened.content_bytes, opened.end);
    if blocks_end.checked_add(checksum_bytes) != Some(end) {
        return Err(Stop::Invalid);
    }
    if place.behind == Behind::ContentSize {
        let mut said = [0; SIZE_BYTES];
        object.read_exact_at(&mut said, end).map_err(Stop::Read)?;
        if u64::from(u32::from_le_bytes(said)) != content_bytes {
            return Err(Stop::Invalid);
        }
    }
    let rest = size_bytes.saturating_sub(blocks_end);
    copy(object, (blocks_end, rest), &mut form)?;

    let choices_start = form.size_bytes().map_err(Stop::Read)?;
    let records_bytes = records.size_bytes().map_err(Stop::Read)?;
    copy(&records, (0, records_bytes), &mut form)?;
    let mut foot = Vec::with_capacity(FOOT_BYTES);
    for length in [start, content_bytes, records_bytes] {
        foot.extend(
            u32::try_from(length)
                .map_err(|_| Stop::Invalid)?
                .to_le_bytes(),
        );
    }
    for part in opened.beside.parts() {
        let length = u32::try_from(part.len()).map_err(|_| Stop::Invalid)?;
        foot.extend(length.to_le_bytes());
        form.write_all(part).map_err(Stop::Write)?;
    }
    form.write_all(&foot).map_err(Stop::Write)?;
    let form_bytes = form.size_bytes().map_err(Stop::Read)?;
    (form_bytes <= MAX_FRAMED_FORM_BYTES)
        .then_some((form, choices_start))
        .ok_or(Stop::Invalid)
}

impl Place {
    fn find(object: &dyn ReadAt, size_bytes: u64) -> Result<Self, Stop> {
        let mut magic = zstd::MAGIC;
        if size_bytes < magic.len() as u64 {
            return Err(Stop::Invalid);
        }
        object.read_exact_at(&mut magic, 0).map_err(Stop::Read)?;
        if magic == zstd::MAGIC {
            return Ok(Self {
                start: 0,
                end: size_bytes,
                behind: Behind::Nothing,
            });
        }
        if size_bytes < SETUP_BYTES as u64 {
            return Err(Stop::Invalid);
        }
        let mut setup = [0; SETUP_BYTES];
        object.read_exact_at(&mut setup, 0).map_err(Stop::Read)?;
        Self::in_image(&setup, size_bytes).ok_or(Stop::Invalid)
    }

    /// In the payload of a kernel image.
    fn in_image(setup: &[u8], size_bytes: u64) -> Option<Self> {
        let mut fields = Cursor::new(setup.get(MAGIC_AND_VERSION..)?);
        if fields.array()? != MAGIC || fields.u16()? < FIRST_VERSION {
            return None;
        }
        let sectors = match *setup.get(SETUP_SECTORS)? {
            0 => DEFAULT_SECTORS,
            sectors => sectors,
        };
        let mut fields = Cursor::new(setup.get(PAYLOAD..)?);
        let program = u64::from(sectors)
            .checked_add(1)?
            .checked_mul(SECTOR_BYTES)?;
        let start = program.checked_add(fields.u32()?.into())?;
        let end = start.checked_add(fields.u32()?.into())?;
        (end <= size_bytes).then_some(Self {
            start,
            end: end.checked_sub(SIZE_BYTES as u64)?,
            behind: Behind::ContentSize,
        })
    }
}

/// Writes the object of `size_bytes` that has this form, of `form_bytes`, to `out`; never more than
/// that.
pub(super) fn close(
    form: &dyn ReadAt,
    form_bytes: u64,
    size_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let foot_start = form_bytes
        .checked_sub(FOOT_BYTES as u64)
        .ok_or(Stop::Invalid)?;
    let mut foot = [0; FOOT_BYTES];
    form.read_exact_at(&mut foot, foot_start)
        .map_err(Stop::Read)?;
    let parts = Parts::new(&foot, foot_start, size_bytes).ok_or(Stop::Invalid)?;
    let mut beside = Beside::default();
    for (part, (start, len)) in beside.parts_mut().into_iter().zip(parts.beside) {
        part.resize(usize::try_from(len).map_err(|_| Stop::Invalid)?, 0);
        form.read_exact_at(part, start).map_err(Stop::Read)?;
    }
    copy(form, parts.before, out)?;
    let blocks_bytes = zstd::close(form, parts.places, &beside, out, parts.max_blocks_bytes)?;
    if blocks_bytes != parts.max_blocks_bytes {
        return Err(Stop::Invalid);
    }
    copy(form, parts.after, out)
}

/// Where the content lies in a form, as its foot says; `None` if that cannot be.
pub(super) fn content(form: &dyn ReadAt, form_bytes: u64) -> io::Result<Option<Range<u64>>> {
    let Some(foot_start) = form_bytes.checked_sub(FOOT_BYTES as u64) else {
        return Ok(None);
    };
    let mut foot = [0; FOOT_BYTES];
    form.read_exact_at(&mut foot, foot_start)?;
    let parts = Parts::new(&foot, foot_start, u64::MAX);
    Ok(parts.map(|parts| {
        let (start, len) = parts.places.content;
        start..start.saturating_add(len)
    }))
}

/// Where the parts of a form lie: begin and length of each.
struct Parts {
    /// What of the object lies before the blocks, and behind them.
    before: (u64, u64),
    after: (u64, u64),
    places: Places,
    /// What of the choices is not records.
    beside: [(u64, u64); 4],
    /// What is left of the object for the blocks.
    max_blocks_bytes: u64,
}

impl Parts {
    /// What a foot says that begins at `end`; `None` if that cannot be.
    fn new(foot: &[u8], end: u64, size_bytes: u64) -> Option<Self> {
        let mut foot = Cursor::new(foot);
        let mut field = || foot.u32().map(u64::from);
        let (before, content, records) = (field()?, field()?, field()?);
        let beside = [field()?, field()?, field()?, field()?];
        if beside.iter().sum::<u64>() > MAX_BESIDE_BYTES as u64 {
            return None;
        }
        let mut end = end;
        let mut from_end = |len: u64| {
            end = end.checked_sub(len)?;
            Some((end, len))
        };
        let [heads, lengths, gaps, distances] = beside;
        let distances = from_end(distances)?;
        let gaps = from_end(gaps)?;
        let lengths = from_end(lengths)?;
        let heads = from_end(heads)?;
        let records = from_end(records)?;
        let before = (KIND_BYTES as u64, before);
        let content = (before.0.checked_add(before.1)?, content);
        let after = content.0.checked_add(content.1)?;
        let after = (after, end.checked_sub(after)?);
        Some(Self {
            before,
            after,
            places: Places { content, records },
            beside: [heads, lengths, gaps, distances],
            max_blocks_bytes: size_bytes.checked_sub(before.1)?.checked_sub(after.1)?,
        })
    }
}

/// Copies a piece, given where it begins and its length.
fn copy(from: &dyn ReadAt, (start, len): (u64, u64), out: &mut dyn Write) -> Result<(), Stop> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut at, mut left) = (start, len);
    while left > 0 {
        let now = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        let piece = buffer.get_mut(..now).ok_or(Stop::Invalid)?;
        from.read_exact_at(piece, at).map_err(Stop::Read)?;
        out.write_all(piece).map_err(Stop::Write)?;
        at = at.saturating_add(now as u64);
        left = left.saturating_sub(now as u64);
    }
    Ok(())
}
