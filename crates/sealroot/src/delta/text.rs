// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree as the text that is patched: the lines of its dump, in which the digest of a file is left
//! out wherever whoever applies the delta knows it already or is yet to compute it
//! (docs/format/delta.md 3).

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use sealroot_format::digest::VerityDigest;
use sealroot_format::erofs::ReadAt;
use sealroot_format::limits;
use sealroot_format::tree::{
    FileContent, InlineContent, Inode, InodeId, Kind, Tree, dump, parse_lines,
};

use super::error::DeltaError;
use super::file::invalid;

/// Stands for content that lies in the pack.
const INLINE: &str = ".";

/// Stands for an object that the old release lacks: its first file. Further ones have its number
/// behind it.
const NEW: char = '*';

/// Stands for an object of the old release: the one that is next in its order. Others have their number
/// behind it.
const OLD: char = '=';

/// Distinct objects, in the order in which a tree names them first.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) all: Vec<(VerityDigest, u64)>,
    by_digest: HashMap<VerityDigest, usize>,
}

impl Objects {
    /// Those of a tree.
    pub(super) fn of(tree: &Tree) -> Self {
        let mut objects = Self::default();
        let mut walk = tree.walk();
        while let Some((_, id)) = walk.next() {
            if let Some((digest, size_bytes)) = external(tree.inode(id)) {
                objects.add(digest, size_bytes);
            }
        }
        objects
    }

    /// The number of an object, and whether it is a new one.
    fn add(&mut self, digest: VerityDigest, size_bytes: u64) -> (usize, bool) {
        let next = self.all.len();
        let number = *self.by_digest.entry(digest).or_insert(next);
        if number == next {
            self.all.push((digest, size_bytes));
        }
        (number, number == next)
    }

    pub(super) fn number(&self, digest: &VerityDigest) -> Option<usize> {
        self.by_digest.get(digest).copied()
    }
}

pub(super) fn external(inode: &Inode) -> Option<(VerityDigest, u64)> {
    match inode.kind {
        Kind::Regular(FileContent::External { digest, size_bytes }) => Some((digest, size_bytes)),
        _ => None,
    }
}

/// That a text is not longer than a tree with so many inodes may have.
pub(super) fn check_length(text_bytes: u64, entries: u64) -> Result<(), DeltaError> {
    let most = entries
        .saturating_mul(limits::MAX_DELTA_TEXT_BYTES_OF_ENTRY)
        .saturating_add(limits::MAX_DELTA_TEXT_BYTES_BESIDE)
        .min(limits::MAX_DELTA_TEXT_BYTES);
    if text_bytes > most {
        let expected = format_args!("at most {most} bytes for {entries} inodes");
        return Err(invalid("length of the tree's text", expected, text_bytes));
    }
    Ok(())
}

/// Writes the text of a tree, given the objects of the old release. What it has besides these.
pub(super) fn write(tree: &Tree, old: &Objects, out: &mut impl Write) -> io::Result<Objects> {
    let mut new = Objects::default();
    let mut next = 0;
    let mut word = |_: InodeId, content: &FileContent, line: &mut String| {
        let (digest, size_bytes) = match content {
            FileContent::Inline(_) => return line.push_str(INLINE),
            FileContent::External { digest, size_bytes } => (digest, size_bytes),
        };
        if let Some(number) = old.number(digest) {
            line.push(OLD);
            if number != next {
                line.push_str(&number.to_string());
            }
            next = number + 1;
        } else {
            line.push(NEW);
            let (number, is_first) = new.add(*digest, *size_bytes);
            if is_first {
                next += 1;
            } else {
                line.push_str(&number.to_string());
            }
        }
    };
    dump::write_lines(tree, &mut word, out)?;
    Ok(new)
}

/// The content of all files that lie in the pack, one after another, in the order of the text.
pub(super) fn write_small(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    let mut is_done = vec![false; tree.len()];
    let mut walk = tree.walk();
    while let Some((_, id)) = walk.next() {
        let was_done = std::mem::replace(&mut is_done[id.index()], true);
        if let (Kind::Regular(FileContent::Inline(content)), false) =
            (&tree.inode(id).kind, was_done)
        {
            out.write_all(&content.read()?)?;
        }
    }
    Ok(())
}

/// A tree without the digests of its new objects.
#[derive(Debug)]
pub(super) struct Unfinished {
    tree: Tree,
    /// For each regular file, in the order of the tree's inodes, which new object it is.
    files: Vec<Option<usize>>,
    /// The sizes of the new objects, bytes.
    pub(super) sizes: Vec<u64>,
    /// The length of what lies in the pack, bytes.
    pub(super) small_bytes: u64,
}

impl Unfinished {
    /// Reads the text of a tree, given the objects of the old release. The content of its small files is,
    /// or will be, in `small`.
    pub(super) fn parse(
        text: &mut dyn BufRead,
        old: &Objects,
        small: &Arc<dyn ReadAt + Send + Sync>,
    ) -> Result<Self, DeltaError> {
        const WORD: &str = "what stands for a digest";
        let mut next = 0_usize;
        let mut files = Vec::new();
        let mut sizes: Vec<u64> = Vec::new();
        let mut small_bytes = 0_u64;
        let mut content = |size_bytes: u64, word: &[u8]| {
            if word == INLINE.as_bytes() {
                let start = small_bytes;
                small_bytes = start.checked_add(size_bytes).ok_or(WORD)?;
                files.push(None);
                let range = start..small_bytes;
                return Ok(FileContent::Inline(InlineContent::new(
                    small.clone(),
                    range,
                )));
            }
            let (kind, number) = word.split_first().ok_or(WORD)?;
            let number = std::str::from_utf8(number).map_err(|_| WORD)?;
            let number = match number {
                "" => None,
                number => Some(number.parse().map_err(|_| WORD)?),
            };
            if *kind == OLD as u8 {
                let number = number.unwrap_or(next);
                let object = old.all.get(number);
                let object = object.filter(|(_, old_bytes)| *old_bytes == size_bytes);
                let (digest, _) = *object.ok_or("the number of an old object of this size")?;
                next = number + 1;
                files.push(None);
                return Ok(FileContent::External { digest, size_bytes });
            }
            if *kind != NEW as u8 {
                return Err(WORD);
            }
            let number = match number {
                None => {
                    next = next.checked_add(1).ok_or(WORD)?;
                    sizes.push(size_bytes);
                    sizes.len() - 1
                }
                Some(number) if sizes.get(number) == Some(&size_bytes) => number,
                Some(_) => return Err("the number of a new object of this size"),
            };
            files.push(Some(number));
            let digest = VerityDigest::from_bytes([0; 32]);
            Ok(FileContent::External { digest, size_bytes })
        };
        let tree = parse_lines(text, &mut content)?;
        Ok(Self {
            tree,
            files,
            sizes,
            small_bytes,
        })
    }

    /// The tree, with the digests of its new objects in their order.
    pub(super) fn finish(mut self, digests: &[VerityDigest]) -> Tree {
        let is_file =
            |(id, inode): (InodeId, &Inode)| matches!(inode.kind, Kind::Regular(_)).then_some(id);
        let ids: Vec<InodeId> = self.tree.inodes().filter_map(is_file).collect();
        for (id, number) in ids.into_iter().zip(self.files) {
            if let (Some(number), Kind::Regular(FileContent::External { digest, .. })) =
                (number, &mut self.tree.inode_mut(id).kind)
            {
                *digest = digests[number];
            }
        }
        self.tree
    }
}
