// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories as blocks of entries.
//!
//! A block starts with as many entries as it has names; the names follow back to back, without
//! terminators. `.` and `..` take part in the bytewise order of names.

use super::layout::{BLOCK_BYTES, Dirent};
use super::reader::{Nid, RawDirent};

/// One name of a directory and the node it names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child<'t> {
    pub(crate) name: &'t [u8],
    pub(crate) node: u32,
}

impl Child<'_> {
    const fn disk_bytes(&self) -> usize {
        Dirent::BYTES + self.name.len()
    }
}

/// Divides a directory into blocks: each takes as many names as fit.
pub(crate) fn blocks<'c, 't>(
    children: &'c [Child<'t>],
) -> impl Iterator<Item = (&'c [Child<'t>], usize)> {
    let mut rest = children;
    std::iter::from_fn(move || {
        let mut used_bytes = 0;
        let taken = rest
            .iter()
            .take_while(|child| {
                let fits = used_bytes + child.disk_bytes() <= BLOCK_BYTES;
                if fits {
                    used_bytes += child.disk_bytes();
                }
                fits
            })
            .count();
        let (block, after) = rest.split_at(taken);
        rest = after;
        (taken > 0).then_some((block, used_bytes))
    })
}

/// The length of a directory: every block but the last counts in full.
pub(crate) fn size_bytes(children: &[Child<'_>]) -> u64 {
    let (blocks, last_bytes) = blocks(children).fold((0u64, 0), |(count, _), (_, used_bytes)| {
        (count + 1, used_bytes as u64)
    });
    blocks.saturating_sub(1) * BLOCK_BYTES as u64 + last_bytes
}

/// Appends one block, not padded; `target` gives the nid and the type of a node.
pub(crate) fn encode_block(
    block: &[Child<'_>],
    target: impl Fn(u32) -> (u64, u8),
    out: &mut Vec<u8>,
) {
    let mut name_offset = block.len() * Dirent::BYTES;
    for child in block {
        let (nid, file_type) = target(child.node);
        Dirent {
            nid,
            name_offset: u16::try_from(name_offset).expect("names start within their block"),
            file_type,
            reserved: 0,
        }
        .encode(out);
        name_offset += child.name.len();
    }
    for child in block {
        out.extend_from_slice(child.name);
    }
}

/// The type of a directory entry from the `st_mode` of its inode.
pub(crate) const fn file_type(mode: u16) -> Option<u8> {
    match mode >> 12 {
        0o10 => Some(1),
        0o04 => Some(2),
        0o02 => Some(3),
        0o06 => Some(4),
        0o01 => Some(5),
        0o14 => Some(6),
        0o12 => Some(7),
        _ => None,
    }
}

/// The entries of one block. `exact` says that the last name ends with the block; else zeros may
/// follow it. `None` if this is no directory block.
#[deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
pub(crate) fn decode_block(block: &[u8], exact: bool) -> Option<Vec<RawDirent>> {
    let names_at = usize::from(Dirent::decode(block)?.name_offset);
    let (entries, names) = block.split_at_checked(names_at)?;
    let (entries, remainder) = entries.as_chunks::<{ Dirent::BYTES }>();
    if entries.is_empty() || !remainder.is_empty() {
        return None;
    }
    let names_end = match names.iter().position(|byte| *byte == 0) {
        None => block.len(),
        Some(at) if !exact && names.get(at..)?.iter().all(|byte| *byte == 0) => {
            names_at.checked_add(at)?
        }
        Some(_) => return None,
    };
    let mut found = Vec::with_capacity(entries.len());
    let mut rest = entries;
    let mut expected_offset = names_at;
    while let Some((entry, after)) = rest.split_first() {
        let entry = Dirent::decode(entry)?;
        let end = match after.first() {
            Some(next) => usize::from(Dirent::decode(next)?.name_offset),
            None => names_end,
        };
        let start = usize::from(entry.name_offset);
        let name = block.get(start..end)?;
        if start != expected_offset || name.is_empty() || entry.reserved != 0 {
            return None;
        }
        found.push(RawDirent {
            name: name.to_vec(),
            nid: Nid(entry.nid),
            file_type: entry.file_type,
        });
        expected_offset = end;
        rest = after;
    }
    Some(found)
}
