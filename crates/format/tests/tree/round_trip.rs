// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written of a tree is read as that tree, with any words in the place of digests.

use proptest::prelude::*;
use sealroot_format::tree::{FileContent, InodeId, Tree, dump, parse_lines};
use sealroot_testkit::trees::trees;

/// A tree as lines, with the number of its inode as the word of each file.
fn lines(tree: &Tree) -> Vec<u8> {
    let mut word = |id: InodeId, _: &FileContent, line: &mut String| {
        line.push_str(&id.index().to_string());
    };
    let mut out = Vec::new();
    dump::write_lines(tree, &mut word, &mut out).expect("in memory");
    out
}

/// The content that a word stands for.
fn content_of(tree: &Tree) -> Vec<Option<FileContent>> {
    let content = |kind: &sealroot_format::tree::Kind| match kind {
        sealroot_format::tree::Kind::Regular(content) => Some(content.clone()),
        _ => None,
    };
    tree.inodes()
        .map(|(_, inode)| content(&inode.kind))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_comes_back(tree in trees(60)) {
        let contents = content_of(&tree);
        let mut content = |size_bytes: u64, word: &[u8]| {
            let number: usize = std::str::from_utf8(word).expect("digits").parse().expect("a number");
            let content = contents[number].clone().expect("a file");
            assert_eq!(content.size_bytes(), size_bytes);
            Ok(content)
        };
        let text = lines(&tree);
        let read = parse_lines(&mut &text[..], &mut content).expect("parsed");
        prop_assert!(read == tree);
    }

    #[test]
    fn what_is_read_is_written_as_it_was(
        tree in trees(20),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut text = lines(&tree);
        let at = at.index(text.len());
        text[at] = byte;
        let mut words = Vec::new();
        let mut content = |size_bytes: u64, word: &[u8]| {
            words.push(word.to_vec());
            let digest = sealroot_format::digest::VerityDigest::from_bytes([0; 32]);
            Ok(FileContent::External { digest, size_bytes })
        };
        let Ok(read) = parse_lines(&mut &text[..], &mut content) else { return Ok(()) };
        let mut words = words.into_iter();
        let mut word = |_: InodeId, _: &FileContent, line: &mut String| {
            let word = words.next().expect("as many files");
            line.push_str(&String::from_utf8_lossy(&word));
        };
        let mut again = Vec::new();
        dump::write_lines(&read, &mut word, &mut again).expect("in memory");
        prop_assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&text));
    }
}
