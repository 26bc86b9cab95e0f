// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches, and the forms in which objects are patched.

use std::io::{self, Write};
use std::sync::OnceLock;

use sealroot_delta::adjusted::{Adjusted, Renumbering, Stage, pieces};
use sealroot_delta::kernel::{Kernel, ToldMoves};
use sealroot_delta::opened::{Opened, Side, close, open};
use sealroot_delta::{GroupReader, GroupWriter, Tolerance, find_covers, number};
use sealroot_format::codec::Cursor;

/// Takes no more than it may.
struct Bounded {
    bytes: Vec<u8>,
    most: u64,
}

impl Bounded {
    const fn new(most: u64) -> Self {
        let bytes = Vec::new();
        Self { bytes, most }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        assert!(
            self.bytes.len() as u64 <= self.most,
            "more than was claimed"
        );
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What everything is patched from here: no two places of it look the same.
fn base() -> &'static Vec<u8> {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let word = |number: u32| number.wrapping_mul(0x9E37_79B1).to_le_bytes();
        (0..512).flat_map(word).collect()
    })
}

/// A group of patches, applied: a byte says how many there are, two how long each result is.
pub fn patch(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    let Some(count) = cursor.u8() else {
        return;
    };
    let sizes: Option<Vec<u16>> = (0..count % 4).map(|_| cursor.u16()).collect();
    let Some(sizes) = sizes else {
        return;
    };
    let Ok(mut group) = GroupReader::open(data.to_vec(), cursor.offset_bytes()) else {
        return;
    };
    for size_bytes in sizes.into_iter().map(u64::from) {
        let mut out = Bounded::new(size_bytes);
        if group.apply(base(), size_bytes, &mut out).is_err() {
            return;
        }
        assert_eq!(out.bytes.len() as u64, size_bytes);
    }
    let _ = group.finish();
}

/// Two byte strings, one behind the other: a patch makes the second of the first.
pub fn patch_round_trip(data: &[u8]) {
    let Some((half, data)) = data.split_first() else {
        return;
    };
    let (old, new) = data.split_at(data.len() * usize::from(*half) / 256);
    for tolerance in [Tolerance::USUAL, Tolerance::STRICT] {
        let covers = find_covers(old, new, tolerance);
        let mut writer = GroupWriter::new();
        writer.push(old, new, &covers);
        let mut group = GroupReader::open(writer.finish(), 0).expect("a group");
        let mut out = Bounded::new(new.len() as u64);
        let applied = group.apply(&old.to_vec(), new.len() as u64, &mut out);
        applied.expect("its own patch");
        group.finish().expect("its end");
        assert!(out.bytes == new, "patched to something else");
    }
}

/// Numbers of variable length, what numbers became, and what has moved in a kernel.
pub fn numbers(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    while let Some(read) = number::take(&mut cursor) {
        let mut written = Vec::new();
        number::push(&mut written, read);
        let end = cursor.offset_bytes();
        assert!(data[..end].ends_with(&written), "another form of {read}");
        assert_eq!(number::fold(number::unfold(read)), read);
    }
    if let Some(renumbering) = Renumbering::parse(data) {
        assert_eq!(renumbering.encode(), data);
    }
    if let Some(moves) = ToldMoves::parse(data) {
        assert_eq!(moves.encode(), data);
    }
}

/// An object in which something may be compressed: its opened form is closed to the same object.
pub fn opened(data: &[u8]) {
    let Ok(Some(opened)) = open(&data, Side::New, &mut || Ok(Vec::new())) else {
        return;
    };
    let old = open(&data, Side::Old, &mut || Ok(Vec::new()));
    assert!(matches!(old, Ok(Some(_))), "opened as the new one only");
    let mut out = Bounded::new(data.len() as u64);
    close(opened.form(), data.len() as u64, &mut out).expect("its own form");
    assert!(out.bytes == data, "closed to something else");
    if let Opened::Framed { form, .. } = opened {
        kernel_of(&form);
    }
}

/// An opened form from a delta, after two bytes that say how long the object is, in units of 16
/// bytes.
pub fn closed(data: &[u8]) {
    let Some((size, form)) = data.split_first_chunk() else {
        return;
    };
    let size_bytes = u64::from(u16::from_le_bytes(*size)) * 16;
    let mut out = Bounded::new(size_bytes);
    if close(&form, size_bytes, &mut out).is_ok() {
        assert_eq!(out.bytes.len() as u64, size_bytes);
    }
    kernel_of(form);
}

/// Kernels are straightened and restored to what they were, and what adjusts them keeps their
/// length.
fn kernel_of(form: &[u8]) {
    if let Ok(Some(found)) = Kernel::in_form(&form) {
        change(&found, form);
    }
}

fn change(kernel: &Kernel, form: &[u8]) {
    let mut changed = form.to_vec();
    if kernel.straighten(&mut changed).is_err() {
        return;
    }
    let moves = ToldMoves::parse(MOVES).expect("moves");
    let renumbering = Renumbering::parse(RENUMBERING).expect("a renumbering");
    let mut adjusted = changed.clone();
    let _ = kernel.adjust(&mut adjusted, &moves, &renumbering);
    assert_eq!(adjusted.len(), form.len());
    if kernel.restore(&mut changed).is_ok() {
        assert!(changed == form, "restored to something else");
    }
}

/// From places 16 and 48 on so much has moved: see docs/format/kernel.md.
const MOVES: &[u8] = &[2, 16, 32, 32, 15];

/// The types from 3 on moved by 2, the names from 5 on by 3.
const RENUMBERING: &[u8] = &[1, 3, 4, 1, 5, 6];

/// A kernel as it is when it is decompressed.
pub fn kernel(data: &[u8]) {
    if let Ok(Some(kernel)) = Kernel::find(&data, 0..data.len() as u64) {
        assert!(kernel.content().end <= data.len() as u64);
        change(&kernel, data);
    }
}

/// An object file of the old release, adjusted to a patch. Two bytes say how long the object is;
/// the patches of the stages follow it.
pub fn adjusted(data: &[u8]) {
    let Some((size, rest)) = data.split_first_chunk() else {
        return;
    };
    let size_bytes = usize::from(u16::from_le_bytes(*size));
    let Some((object, patches)) = rest.split_at_checked(size_bytes) else {
        return;
    };
    let renumbering = Renumbering::parse(RENUMBERING).expect("a renumbering");
    let Ok(mut adjusted) = Adjusted::new(object.to_vec(), &renumbering) else {
        assert_eq!(pieces(object), None);
        return;
    };
    let pieces = pieces(object).expect("it was adjusted");
    assert_eq!(pieces, adjusted.pieces());
    let mut end = 0;
    for piece in &pieces {
        assert_eq!(piece.start, end, "a gap between pieces");
        end = piece.end;
    }
    assert_eq!(end, object.len());
    let mut group = GroupReader::open(patches.to_vec(), 0).ok();
    for (stage, piece) in Stage::ALL.into_iter().zip(pieces) {
        adjusted.go_on_to(stage);
        assert_eq!(adjusted.bytes().len(), object.len());
        let mut out = Bounded::new(piece.len() as u64);
        if let Some(group) = &mut group {
            let _ = adjusted.apply(group, piece.start, piece.len() as u64, &mut out);
        }
    }
}
