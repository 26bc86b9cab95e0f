// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree survives being written and read, whatever is in it; its pack depends on nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::{Pack, check};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree};
use sealroot_testkit::trees::{shuffled, split, trees};

use crate::written;

const THRESHOLDS: [u32; 4] = [0, 64, 4096, 65_536];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    // Rules: P30
    #[test]
    fn a_tree_comes_back(tree in trees(40), seed: u64) {
        for threshold in THRESHOLDS {
            let tree = split(&tree, threshold);
            let bytes = written(&tree, threshold);
            let read = Pack::open(&bytes).and_then(|pack| pack.tree());
            prop_assert!(read.expect("a written pack can be read") == tree);
            let checked = check(bytes.clone()).expect("a written pack is a good one");
            prop_assert!(checked.tree == tree);
            prop_assert!(written(&shuffled(&tree, seed), threshold) == bytes);
        }
    }
}

/// A pack that can be taken away.
struct Removable {
    bytes: Vec<u8>,
    is_gone: Arc<AtomicBool>,
}

impl ReadAt for Removable {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        if self.is_gone.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.bytes.read_exact_at(buf, offset_bytes)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        self.bytes.size_bytes()
    }
}

#[test]
fn the_content_of_a_checked_pack_stays_where_it_is() {
    let mut tree = Tree::new(Metadata::default());
    // One block and a tail, whole blocks, a tail alone.
    for (name, len) in [(&b"a"[..], 5000), (b"b", 8192), (b"c", 10)] {
        let content: Vec<u8> = (0..=250).cycle().take(len).collect();
        let kind = Kind::Regular(FileContent::Inline(content.into()));
        let inode = Inode::new(Metadata::default(), kind);
        tree.insert(InodeId::ROOT, name, inode).expect("inserted");
    }
    let is_gone = Arc::new(AtomicBool::new(false));
    let source = Removable {
        bytes: written(&tree, 65_536),
        is_gone: Arc::clone(&is_gone),
    };
    let checked = check(source).expect("a good pack");
    assert!(checked.tree == tree);
    let content = |name: &[u8]| {
        let id = checked.tree.lookup([name]).expect("there");
        match &checked.tree.inode(id).kind {
            Kind::Regular(FileContent::Inline(content)) => content.clone(),
            other => panic!("{other:?}"),
        }
    };
    let mut part = [0; 1000];
    content(b"a").read_exact_at(&mut part, 3600).expect("read");
    assert_eq!(part[..], content(b"a").read().expect("read")[3600..4600]);
    let beyond = content(b"a").read_exact_at(&mut part, 4001);
    assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    is_gone.store(true, Ordering::Relaxed);
    for name in [b"a", b"b", b"c"] {
        let gone = content(name).read().unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotConnected);
    }
}
