// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packs and the trees in them.

use std::sync::{Arc, OnceLock};

use sealroot_format::digest::VerityDigest;
use sealroot_format::limits;
use sealroot_format::pack::{self, EntryKind, Pack, Visit, check, write_composefs, write_pack};
use sealroot_format::tree::{FileContent, InlineContent, Tree, dump, parse_lines};

/// Files up to this size are in the packs that are made here.
const THRESHOLD_BYTES: u32 = 128;

/// A pack as it comes from a disk: what the reader accepts it reads twice in the same way, and what
/// the full check accepts are the bytes that the writer makes.
pub fn pack(data: &[u8]) {
    let Ok(pack) = Pack::open(data) else {
        return;
    };
    assert!(pack.entries() <= limits::MAX_TREE_ENTRIES as u64);
    assert_eq!(pack.size_bytes(), data.len() as u64);
    let tree = pack.tree();
    let walked = walk(&pack);
    let checked = check(data.to_vec());
    let Ok(tree) = tree else {
        checked.expect_err("the check reads what the reader refuses");
        return;
    };
    assert_eq!(walked, Some((tree.len(), true)), "walk and tree differ");
    let text = dump_of(&tree);
    let stored = pack::read(data.to_vec()).expect("what is read is read again");
    assert_eq!(text, dump_of(&stored), "two readings differ");
    let mut image = Vec::new();
    let composefs = write_composefs(&tree, &mut image);
    assert!(composefs.is_err() || !image.is_empty());
    if let Ok(checked) = checked {
        assert_eq!(text, dump_of(&checked.tree));
        let mut written = Vec::new();
        let summary = write_pack(&tree, *checked.thresholds.end(), &mut written);
        assert_eq!(summary.expect("a checked tree is written"), checked.summary);
        assert!(written == data, "the writer makes other bytes");
    }
}

/// How many inodes there are, the first of them looked up again by their paths, and whether all content is there.
fn walk(pack: &Pack<&[u8]>) -> Option<(usize, bool)> {
    const LOOKED_UP: usize = 32;
    let mut walk = pack.walk();
    let (mut count, mut is_whole) = (0, true);
    loop {
        match walk.next() {
            Err(_) => return None,
            Ok(None) => return Some((count, is_whole)),
            Ok(Some(step)) => {
                let Visit::Entry(entry) = step.visit else {
                    continue;
                };
                count += 1;
                if let EntryKind::Inline { .. } = entry.kind {
                    is_whole &= pack.read(&entry, 0, &mut [0; 64]).is_ok();
                }
                if count <= LOOKED_UP {
                    let names = step.path.split(|byte| *byte == b'/');
                    let found = pack.lookup(names.filter(|name| !name.is_empty()));
                    let found = found.expect("it was read").expect("it is there");
                    assert_eq!(found.nid, entry.nid);
                }
            }
        }
    }
}

fn dump_of(tree: &Tree) -> Vec<u8> {
    let mut text = Vec::new();
    dump::write_dump(tree, &mut text).expect("content in memory");
    text
}

/// The lines of a tree: the writer and the reader of packs agree on every tree there is, and so do
/// the writer and the reader of lines.
pub fn tree_lines(data: &[u8]) {
    let zeros = zeros();
    let mut content = |size_bytes, word: &[u8]| match word {
        b"." if size_bytes <= THRESHOLD_BYTES.into() => {
            let content = InlineContent::new(zeros.clone(), 0..size_bytes);
            Ok(FileContent::Inline(content))
        }
        word => VerityDigest::from_hex(word)
            .filter(|_| size_bytes > THRESHOLD_BYTES.into())
            .map(|digest| FileContent::External { digest, size_bytes })
            .ok_or("a digest"),
    };
    let Ok(tree) = parse_lines(&mut &*data, &mut content) else {
        return;
    };
    let mut written = Vec::new();
    let mut word = |_, content: &FileContent, line: &mut String| match content {
        FileContent::Inline(_) => line.push('.'),
        FileContent::External { digest, .. } => line.push_str(&digest.to_hex()),
    };
    dump::write_lines(&tree, &mut word, &mut written).expect("to memory");
    assert!(written == data, "another form");
    let mut image = Vec::new();
    let Ok(summary) = write_pack(&tree, THRESHOLD_BYTES, &mut image) else {
        return;
    };
    assert_eq!(summary.size_bytes, image.len() as u64);
    assert_eq!(summary.entries, tree.len() as u64);
    let checked = check(image).expect("the check takes what the writer made");
    assert_eq!(checked.summary, summary);
    assert!(checked.tree == tree || dump_of(&checked.tree) == dump_of(&tree));
}

fn zeros() -> Arc<Vec<u8>> {
    static ZEROS: OnceLock<Arc<Vec<u8>>> = OnceLock::new();
    let zeros = ZEROS.get_or_init(|| Arc::new(vec![0; THRESHOLD_BYTES as usize]));
    zeros.clone()
}
