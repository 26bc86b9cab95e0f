// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: each panics where what must hold does not.

use std::io::Cursor;
use std::sync::Arc;

use sealroot_format::digest::VerityDigest;
use sealroot_format::erofs::ReadAt;
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree};

use super::file::{Header, Outline, encode_group, open_group};
use super::image::ImageOutline;
use super::text::{self, Objects, Unfinished};

/// The head of a delta.
pub fn delta_head(data: &[u8]) {
    let mut rest = data;
    let Ok(header) = Header::read(&mut rest) else {
        Outline::parse(data).expect_err("no header, but an outline");
        return;
    };
    let read_bytes = data.len() - rest.len();
    assert_eq!(header.encode(), &data[..read_bytes], "another form");
    assert_eq!(Outline::parse(data).is_ok(), rest.is_empty());
}

/// The head of an image on its way.
pub fn image_head(data: &[u8]) {
    if let Ok(outline) = ImageOutline::parse(data) {
        assert_eq!(outline.encode(), data, "another form");
    }
}

/// A group of a delta as it is before compression: its parts are written as they were read.
pub fn delta_group(data: &[u8]) {
    let Ok((parts, _)) = open_group(data.to_vec()) else {
        return;
    };
    let table_bytes = encode_group(&parts, sealroot_delta::GroupWriter::new());
    let table_bytes = &table_bytes[..4 + 16 * parts.len()];
    assert_eq!(table_bytes, &data[..table_bytes.len()], "another form");
}

/// The text of a new tree, given an old one that has three objects.
pub fn delta_text(data: &[u8]) {
    let old = old_objects();
    let small: Arc<dyn ReadAt + Send + Sync> = Arc::new(Vec::new());
    let Ok(unfinished) = Unfinished::parse(&mut Cursor::new(data), &old, &small) else {
        return;
    };
    let (sizes, small_bytes) = (unfinished.sizes.clone(), unfinished.small_bytes);
    let digest = |(number, _): (u8, &u64)| VerityDigest::from_bytes([number; 32]);
    let digests: Vec<_> = (128..=u8::MAX).cycle().zip(&sizes).map(digest).collect();
    let is_distinct = digests.len() <= 128;
    let tree = unfinished.finish(&digests);
    let mut written = Vec::new();
    let new = text::write(&tree, &old, &mut written).expect("to memory");
    if is_distinct {
        let found: Vec<u64> = new.all.iter().map(|(_, size_bytes)| *size_bytes).collect();
        assert_eq!(found, sizes, "new objects came or went");
    }
    let again = Unfinished::parse(&mut Cursor::new(&written), &old, &small);
    let again = again.expect("what was written");
    assert_eq!(again.small_bytes, small_bytes);
    let mut rewritten = Vec::new();
    text::write(&again.finish(&digests), &old, &mut rewritten).expect("to memory");
    assert!(rewritten == written, "read as another tree");
}

fn old_objects() -> Objects {
    let mut tree = Tree::new(Metadata::default());
    for number in 1..=3_u8 {
        let digest = VerityDigest::from_bytes([number; 32]);
        let size_bytes = u64::from(number) * 1000;
        let kind = Kind::Regular(FileContent::External { digest, size_bytes });
        let inode = Inode::new(Metadata::default(), kind);
        let inserted = tree.insert(InodeId::ROOT, &[b'a' + number], inode);
        inserted.expect("a name that is not there");
    }
    Objects::of(&tree)
}
