// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device paths (UEFI specification 2.10, 10.3): where firmware finds what it starts.
//!
//! Firmware, other systems and whoever has root write them: bytes from outside.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use sealroot_format::codec::Cursor;
use sealroot_format::limits::MAX_DEVICE_PATH_NODES;

use super::load_option::{Malformed, malformed, text_of};
use super::partition::Partition;

/// A node's kind and the kind within it, and its length.
const HEAD_BYTES: usize = 4;

/// Nodes that are read: a partition, a file, the end.
const HARD_DRIVE: (u8, u8) = (4, 1);
const FILE: (u8, u8) = (4, 4);
const END: (u8, u8) = (0x7f, 0xff);

/// How a partition is named in a node: by the GUID of its entry in a GPT.
const FORMAT_GPT: u8 = 2;
const SIGNATURE_GUID: u8 = 2;

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node<'b> {
    /// What it is.
    pub(super) kind: (u8, u8),
    /// What follows its head.
    pub(super) content: &'b [u8],
}

/// The nodes of the first path in `bytes`, without its end, and what follows that.
pub(super) fn parse(bytes: &[u8]) -> Result<(Vec<Node<'_>>, &[u8]), Malformed> {
    let mut rest = Cursor::new(bytes);
    let mut nodes = Vec::new();
    loop {
        let (at, left) = (rest.offset_bytes(), rest.rest().len());
        if nodes.len() >= MAX_DEVICE_PATH_NODES {
            let expected = format!("at most {MAX_DEVICE_PATH_NODES} nodes");
            return Err(malformed(at, expected, "more"));
        }
        let head = [rest.u8(), rest.u8()];
        let ([Some(kind), Some(within)], Some(len_bytes)) = (head, rest.u16()) else {
            return Err(malformed(at, "a node of a device path", left));
        };
        let content = usize::from(len_bytes).checked_sub(HEAD_BYTES);
        let Some(content) = content.and_then(|len_bytes| rest.take(len_bytes)) else {
            let expected = format!("a node of {HEAD_BYTES} to {left} bytes");
            return Err(malformed(at, expected, len_bytes));
        };
        match (kind, within) {
            END if content.is_empty() => return Ok((nodes, rest.rest())),
            END => return Err(malformed(at, "an end without content", len_bytes)),
            kind => nodes.push(Node { kind, content }),
        }
    }
}

/// The path of a file on a partition, in the short form: firmware finds the disk itself.
pub(super) fn of_file(partition: &Partition, path: &str) -> Vec<u8> {
    let mut hard_drive = partition.number.to_le_bytes().to_vec();
    hard_drive.extend(partition.first_block.to_le_bytes());
    hard_drive.extend(partition.blocks.to_le_bytes());
    hard_drive.extend(partition.guid);
    hard_drive.extend([FORMAT_GPT, SIGNATURE_GUID]);
    let units = path.replace('/', "\\");
    let units = units.encode_utf16().chain([0]);
    let file: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let mut bytes = Vec::new();
    for (kind, content) in [(HARD_DRIVE, hard_drive), (FILE, file), (END, Vec::new())] {
        bytes.extend([kind.0, kind.1]);
        let len_bytes = HEAD_BYTES.saturating_add(content.len());
        bytes.extend(u16::try_from(len_bytes).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(content);
    }
    bytes
}

/// The path of the file that a device path names, with slashes, if it is on the partition. Firmware
/// may have put before it where the disk is.
pub(super) fn file_on(nodes: &[Node<'_>], partition: &Partition) -> Option<String> {
    let [.., drive, file] = nodes else {
        return None;
    };
    if drive.kind != HARD_DRIVE || file.kind != FILE || !is_on(drive.content, partition)? {
        return None;
    }
    let (units, []) = file.content.as_chunks::<2>() else {
        return None;
    };
    let path = text_of(units)?;
    Some(path.replace('\\', "/"))
}

/// The GUID says which it is; that the number is another is for firmware to get along with.
fn is_on(hard_drive: &[u8], partition: &Partition) -> Option<bool> {
    let mut fields = Cursor::new(hard_drive);
    let (_number, _first, _blocks) = (fields.u32()?, fields.u64()?, fields.u64()?);
    let guid: [u8; 16] = fields.array()?;
    let kinds = [fields.u8()?, fields.u8()?];
    Some(guid == partition.guid && kinds == [FORMAT_GPT, SIGNATURE_GUID])
}
