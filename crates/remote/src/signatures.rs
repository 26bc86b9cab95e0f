// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signatures of a release's objects for the kernel's keyring, in one file
//! (docs/format/signatures.md 2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

use sealroot_format::codec::Cursor;
use sealroot_format::digest::{Sha256Digest, VerityDigest};
use sealroot_format::limits::{
    MAX_OBJECT_SIGNATURE_BYTES, MAX_SIGNATURE_GROUP_BYTES, MAX_SIGNATURE_GROUPS,
};
use sealroot_format::sign::RemoteFile;

use crate::bundle::{Decompressed, most_compressed_bytes, sha256};
use crate::error::RemoteError;
use crate::part::Piece;

const MAGIC: [u8; 16] = *b"sealroot osigns1";

/// A group that is made is not longer than this before it is compressed, bytes.
const GROUP_BYTES: usize = 4 << 20;

/// An object and its signature.
pub(crate) type Signature = (VerityDigest, Vec<u8>);

/// What the head of such a file says.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) groups: Vec<Group>,
}

/// Some of the signatures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// A device that has a release with an index above this has all its objects.
    pub(crate) wanted_up_to: u64,
    /// How long it is.
    content_bytes: u32,
    size_bytes: u32,
    sha256: Sha256Digest,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RemoteError> {
        let short = || invalid("its head", "all of it", "less");
        let mut cursor = Cursor::new(bytes);
        if cursor.array::<16>() != Some(MAGIC) {
            return Err(invalid("its first bytes", MAGIC.escape_ascii(), "others"));
        }
        let count = cursor.u32().ok_or_else(short)?;
        if count > MAX_SIGNATURE_GROUPS {
            let expected = format!("at most {MAX_SIGNATURE_GROUPS}");
            return Err(invalid("number of groups", expected, count));
        }
        let group = |cursor: &mut Cursor<'_>| {
            Some(Group {
                wanted_up_to: cursor.u64()?,
                content_bytes: cursor.u32()?,
                size_bytes: cursor.u32()?,
                sha256: Sha256Digest::from_bytes(cursor.array()?),
            })
        };
        let mut groups = Vec::new();
        for _ in 0..count {
            let group = group(&mut cursor).ok_or_else(short)?;
            let Group { content_bytes, .. } = group;
            let most = most_compressed_bytes(content_bytes.into());
            if content_bytes > MAX_SIGNATURE_GROUP_BYTES || u64::from(group.size_bytes) > most {
                let expected = format!("at most {MAX_SIGNATURE_GROUP_BYTES}, and compressed less");
                let found = format!("{content_bytes} in {}", group.size_bytes);
                return Err(invalid("bytes of a group", expected, found));
            }
            groups.push(group);
        }
        if cursor.rest().is_empty() {
            Ok(Self { groups })
        } else {
            Err(invalid("its head", "its end", "more"))
        }
    }

    /// The groups, of which those are wanted that hold for a device whose newest release below this one is
    /// `newest`.
    pub(crate) fn pieces(&self, newest: Option<u64>) -> Vec<Piece> {
        let piece = |group: &Group| Piece {
            size_bytes: group.size_bytes.into(),
            sha256: group.sha256,
            is_wanted: group.is_wanted(newest),
        };
        self.groups.iter().map(piece).collect()
    }
}

impl Group {
    pub(crate) fn is_wanted(&self, newest: Option<u64>) -> bool {
        newest.is_none_or(|newest| self.wanted_up_to >= newest)
    }

    /// The signatures in a group, which was checked.
    pub(crate) fn read(&self, compressed: &mut dyn Read) -> Result<Vec<Signature>, RemoteError> {
        let mut frame = compressed.take(self.size_bytes.into());
        let mut content = Vec::new();
        let most = u64::from(self.content_bytes) + 1;
        let read = Decompressed::new(&mut frame)?
            .take(most)
            .read_to_end(&mut content);
        read.map_err(RemoteError::io("decompress signatures"))?;
        if content.len() != self.content_bytes as usize {
            return Err(invalid(
                "bytes of a group",
                self.content_bytes,
                content.len(),
            ));
        }
        parse_group(&content)
    }
}

pub(crate) fn parse_group(content: &[u8]) -> Result<Vec<Signature>, RemoteError> {
    let mut cursor = Cursor::new(content);
    let mut signatures: Vec<Signature> = Vec::new();
    while !cursor.rest().is_empty() {
        let next = next_signature(&mut cursor);
        let next = next.ok_or_else(|| invalid("a signature", "all of it", "less"))?;
        let found_bytes = next.1.len() as u64;
        if !(1..=MAX_OBJECT_SIGNATURE_BYTES).contains(&found_bytes) {
            let expected = format!("1 to {MAX_OBJECT_SIGNATURE_BYTES}");
            return Err(invalid("bytes of a signature", expected, found_bytes));
        }
        if signatures.last().is_some_and(|last| last.0 >= next.0) {
            return Err(invalid("order of a group", "ascending digests", next.0));
        }
        signatures.push(next);
    }
    Ok(signatures)
}

fn next_signature(cursor: &mut Cursor<'_>) -> Option<Signature> {
    let digest = VerityDigest::from_bytes(cursor.array()?);
    let length = cursor.u16()?;
    Some((digest, cursor.take(length.into())?.to_vec()))
}

/// The objects of a release that is older than the one whose signatures are published.
pub(crate) struct Older {
    pub(crate) index: u64,
    pub(crate) objects: BTreeSet<VerityDigest>,
}

/// Makes the file. `older` are the newest of the older releases, newest first, and `beyond` is the index of
/// the newest one that is not among them.
pub(crate) fn make(
    signatures: Vec<Signature>,
    older: &[Older],
    beyond: u64,
    level: i32,
) -> Result<(RemoteFile, Vec<u8>), RemoteError> {
    let wanted_up_to = |digest: &VerityDigest| {
        let lacks = older.iter().find(|one| !one.objects.contains(digest));
        lacks.map_or(beyond, |one| one.index)
    };
    let mut groups: BTreeMap<u64, Vec<Signature>> = BTreeMap::new();
    for signature in signatures {
        groups
            .entry(wanted_up_to(&signature.0))
            .or_default()
            .push(signature);
    }
    let (mut head, mut body) = (MAGIC.to_vec(), Vec::new());
    let mut count = 0_u32;
    let mut table = Vec::new();
    // Those that most devices want first.
    for (wanted_up_to, mut of_group) in groups.into_iter().rev() {
        of_group.sort_unstable();
        for content in contents(&of_group) {
            let frame = zstd::bulk::compress(&content, level);
            let frame = frame.map_err(RemoteError::io("compress signatures"))?;
            let length = |len: usize| u32::try_from(len).expect("not much above GROUP_BYTES");
            table.extend(wanted_up_to.to_le_bytes());
            table.extend(length(content.len()).to_le_bytes());
            table.extend(length(frame.len()).to_le_bytes());
            table.extend(sha256(&frame).as_bytes());
            body.extend(frame);
            count += 1;
        }
    }
    head.extend(count.to_le_bytes());
    head.extend(table);
    let file = RemoteFile {
        head: sha256(&head),
        head_bytes: head.len() as u64,
        size_bytes: (head.len() + body.len()) as u64,
    };
    head.extend(body);
    Ok((file, head))
}

/// The bytes of one group or of several.
pub(crate) fn contents(signatures: &[Signature]) -> Vec<Vec<u8>> {
    let mut contents = vec![Vec::new()];
    for (digest, bytes) in signatures {
        if contents
            .last()
            .is_some_and(|last: &Vec<u8>| last.len() >= GROUP_BYTES)
        {
            contents.push(Vec::new());
        }
        let content = contents.last_mut().expect("there is always one");
        content.extend(digest.as_bytes());
        let length = u16::try_from(bytes.len()).expect("a store takes no longer ones");
        content.extend(length.to_le_bytes());
        content.extend(bytes);
    }
    contents
}

fn invalid(
    what: &'static str,
    expected: impl fmt::Display,
    found: impl fmt::Display,
) -> RemoteError {
    RemoteError::Signatures {
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(seed: u8) -> Signature {
        (VerityDigest::from_bytes([seed; 32]), vec![seed; 300])
    }

    fn older(index: u64, seeds: &[u8]) -> Older {
        let objects = seeds.iter().map(|seed| signature(*seed).0).collect();
        Older { index, objects }
    }

    /// What a device fetches whose newest older release has this index.
    fn fetched(file: &RemoteFile, bytes: &[u8], newest: Option<u64>) -> BTreeSet<u8> {
        let (head, mut body) = bytes.split_at(usize::try_from(file.head_bytes).expect("small"));
        assert_eq!(sha256(head), file.head);
        let head = Head::parse(head).expect("a head");
        let mut found = BTreeSet::new();
        for group in &head.groups {
            let (frame, rest) = body.split_at(group.size_bytes as usize);
            body = rest;
            if group.is_wanted(newest) {
                let read = group.read(&mut &*frame).expect("a group");
                found.extend(read.iter().map(|(digest, _)| digest.as_bytes()[0]));
            }
        }
        assert_eq!(body, b"");
        found
    }

    // Rules: J4
    #[test]
    fn a_device_fetches_the_signatures_of_what_it_lacks() {
        // 1 is in all, 2 came with release 9, 3 is new; 4 was in 8 and not in 9.
        let signatures = [1, 2, 3, 4].map(signature).to_vec();
        let older = [older(9, &[1, 2]), older(8, &[1, 4])];
        let (file, bytes) = make(signatures, &older, 5, 3).expect("made");
        let of = |newest| Vec::from_iter(fetched(&file, &bytes, newest));
        assert_eq!(of(Some(9)), [3, 4]);
        assert_eq!(of(Some(8)), [2, 3, 4]);
        assert_eq!(of(Some(5)), [1, 2, 3, 4]);
        assert_eq!(of(Some(6)), [2, 3, 4]);
        assert_eq!(of(None), [1, 2, 3, 4]);
    }

    // Rules: J3, J5
    #[test]
    fn what_is_no_such_file_is_refused() {
        let (file, bytes) = make(vec![signature(1)], &[], 0, 3).expect("made");
        let head_bytes = usize::try_from(file.head_bytes).expect("small");
        let (head, body) = bytes.split_at(head_bytes);
        let group = Head::parse(head).expect("a head").groups[0];
        group.read(&mut &*body).expect("a group");
        group
            .read(&mut &body[..body.len() - 1])
            .expect_err("cut off");
        for at in [0, 15, 16, 30] {
            let mut other = head.to_vec();
            other[at] ^= 0x80;
            Head::parse(&other).err().map_or_else(
                || assert_eq!(at, 30, "byte {at}"),
                |error| assert!(matches!(error, RemoteError::Signatures { .. })),
            );
        }
        Head::parse(&head[..head_bytes - 1]).expect_err("cut off");
        Head::parse(&[head, b"x"].concat()).expect_err("more");
        let entry = |(digest, bytes): Signature| {
            let length = u16::try_from(bytes.len()).expect("short").to_le_bytes();
            [&digest.as_bytes()[..], &length, &bytes].concat()
        };
        let two = [entry(signature(1)), entry(signature(2))].concat();
        assert_eq!(parse_group(&two).expect("in order").len(), 2);
        let swapped = [entry(signature(2)), entry(signature(1))].concat();
        let twice = [entry(signature(1)), entry(signature(1))].concat();
        let long = usize::try_from(MAX_OBJECT_SIGNATURE_BYTES).expect("small") + 1;
        let long = entry((signature(1).0, vec![0; long]));
        let empty = entry((signature(1).0, Vec::new()));
        for wrong in [&two[..two.len() - 1], &swapped, &twice, &long, &empty] {
            parse_group(wrong).expect_err("refused");
        }
    }
}
