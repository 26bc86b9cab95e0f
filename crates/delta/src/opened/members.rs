// SPDX-License-Identifier: MIT OR Apache-2.0
//! gzip members inside an object (docs/format/opened.md 1, 2).

use sealroot_format::codec::Cursor;

use super::{KIND_BYTES, MAX_OPENED_BYTES, MEMBERS, deflate};
use crate::number;

/// So many places of an object are tried.
const MAX_TRIES: usize = 1024;

/// A gzip header without options (RFC 1952 2.3.1).
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HEADER_BYTES: usize = 10;

/// The flag of a header that a name follows.
const HAS_NAME: u8 = 1 << 3;

/// Longest such name with its end, bytes.
const MAX_NAME_BYTES: usize = 256;

/// A stream of an object.
struct Stream {
    /// What lies between the one before and it, bytes.
    gap: usize,
    content_len: usize,
}

/// The opened form of an object, and how many streams were opened; `None` if it would be too long.
pub(super) fn open(object: &[u8]) -> Option<(Vec<u8>, usize)> {
    let max_bytes = usize::try_from(MAX_OPENED_BYTES).ok()?;
    let (mut content, mut choices) = (Vec::new(), Vec::new());
    let mut streams = Vec::new();
    let (mut at, mut copied, mut tries) = (0_usize, 0_usize, 0_usize);
    while let Some(rest) = object.get(at..).filter(|rest| rest.len() > HEADER_BYTES) {
        let start = stream_start(rest);
        at = at.checked_add(1)?;
        let Some(start) = start.filter(|_| tries < MAX_TRIES) else {
            continue;
        };
        tries = tries.checked_add(1)?;
        let start = at.checked_sub(1)?.checked_add(start)?;
        let gap = object.get(copied..start)?;
        let (content_len, choices_len) = (content.len(), choices.len());
        content.extend_from_slice(gap);
        let begins = content.len();
        let opened = object.get(start..).and_then(|stream| {
            let len = deflate::open(stream, &mut content, &mut choices, max_bytes)?;
            let size = content.len().checked_sub(begins)?;
            is_size(stream.get(len..)?, size).then_some((len, size))
        });
        let Some((len, size)) = opened else {
            content.truncate(content_len);
            choices.truncate(choices_len);
            continue;
        };
        streams.push(Stream {
            gap: gap.len(),
            content_len: size,
        });
        copied = start.checked_add(len)?;
        at = copied;
    }
    content.extend_from_slice(object.get(copied..)?);
    let mut bytes = vec![MEMBERS];
    number::push(&mut bytes, streams.len() as u64);
    number::push(&mut bytes, content.len() as u64);
    for stream in &streams {
        number::push(&mut bytes, stream.gap as u64);
        number::push(&mut bytes, stream.content_len as u64);
    }
    bytes.extend(content);
    bytes.extend(choices);
    (bytes.len() <= max_bytes).then_some((bytes, streams.len()))
}

/// Where the compressed data begins behind a gzip header at the start of `bytes`.
fn stream_start(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.strip_prefix(&MAGIC)?.first()?;
    match flags {
        0 => Some(HEADER_BYTES),
        HAS_NAME => {
            let name = bytes.get(HEADER_BYTES..)?;
            let end = name
                .iter()
                .take(MAX_NAME_BYTES)
                .position(|byte| *byte == 0)?;
            HEADER_BYTES.checked_add(end)?.checked_add(1)
        }
        _ => None,
    }
}

/// Whether what follows compressed data, a checksum and a size, says that size.
fn is_size(trailer: &[u8], size: usize) -> bool {
    let mut trailer = Cursor::new(trailer);
    let (_checksum, said) = (trailer.u32(), trailer.u32());
    said.is_some() && said == u32::try_from(size).ok()
}

/// The object of `size_bytes` that has this opened form; `None` if there is none.
pub(super) fn close(opened: &[u8], size_bytes: u64) -> Option<Vec<u8>> {
    let size = usize::try_from(size_bytes).ok()?;
    let mut head = Cursor::new(opened.get(KIND_BYTES..)?);
    let count = number::take(&mut head)?;
    let content_len = usize::try_from(number::take(&mut head)?).ok()?;
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(Stream {
            gap: usize::try_from(number::take(&mut head)?).ok()?,
            content_len: usize::try_from(number::take(&mut head)?).ok()?,
        });
    }
    let mut content = Cursor::new(head.take(content_len)?);
    let mut choices = Cursor::new(head.rest());
    let mut object = Vec::new();
    let is_short_enough = |object: &Vec<u8>| (object.len() <= size).then_some(());
    for stream in streams {
        object.extend_from_slice(content.take(stream.gap)?);
        is_short_enough(&object)?;
        let content = content.take(stream.content_len)?;
        deflate::close(content, &mut choices, &mut object, size)?;
    }
    object.extend_from_slice(content.rest());
    (object.len() == size && choices.rest().is_empty()).then_some(object)
}
