// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random trees, made on disk and read back; a reader that shares nothing with ours is the judge.

use proptest::prelude::*;
use sealroot::monitor::Silent;
use sealroot::object::Discard;
use sealroot::source::{DirectoryOptions, read_directory};
use sealroot::spool::Spool;
use sealroot_format::tree::{FileContent, InodeId, Kind, Tree, dump};
use sealroot_testkit::{need, on_disk, trees};

use crate::support::KEEP_DEVICES;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_read_is_what_the_system_says(
        tree in trees::trees(60),
        threshold_bytes in prop_oneof![Just(0), Just(64), Just(4096), Just(65_536)],
        threads in 1..4usize,
    ) {
        if !need::root() {
            return Ok(());
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        on_disk::write(&with_content(tree), directory.path()).expect("written");
        let expected = on_disk::read(directory.path()).expect("read");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let options = DirectoryOptions { threshold_bytes, ..KEEP_DEVICES };
        let read = pool
            .expect("threads")
            .install(|| read_directory(directory.path(), &options, &Spool::in_temporary_directory(), &Discard, &Silent))
            .expect("a readable tree");
        prop_assert_eq!(text(&read), text(&expected));
        prop_assert!(read == trees::split(&expected, threshold_bytes));
    }
}

/// The tree with some bytes in the files that have none.
fn with_content(mut tree: Tree) -> Tree {
    let ids: Vec<InodeId> = tree.inodes().map(|(id, _)| id).collect();
    for id in ids {
        if let Kind::Regular(content) = &mut tree.inode_mut(id).kind
            && let FileContent::External { size_bytes, .. } = content
        {
            let len = usize::try_from(*size_bytes % 700_000).expect("small");
            *content = FileContent::Inline(vec![7; len].into());
        }
    }
    tree
}

fn text(tree: &Tree) -> String {
    let mut text = Vec::new();
    dump::write_dump(tree, &mut text).expect("content that can be read");
    String::from_utf8(text).expect("a dump is ASCII")
}
