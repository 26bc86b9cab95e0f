// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged packs: whatever the bytes are, they are refused or read as another tree, and soon.

use proptest::prelude::*;
use sealroot_format::pack::{Pack, PackError, Visit, check};
use sealroot_format::tree::Tree;
use sealroot_testkit::trees::{split, trees};

use crate::judges::samples;
use crate::written;

/// Reads in every way there is. If it is a pack after all, it must be the only one of its tree.
fn read(bytes: &[u8]) -> Result<Tree, PackError> {
    if let Ok(pack) = Pack::open(bytes) {
        let mut walk = pack.walk();
        while let Ok(Some(step)) = walk.next() {
            if let Visit::Entry(entry) = step.visit {
                let mut buffer = [0; 100];
                let _ = pack.read(&entry, entry.nid.offset_bytes() % 300, &mut buffer);
                let _ = pack.names(&entry).take(1000).count();
                let _ = entry.stored_xattrs();
            }
        }
        let _ = pack.lookup([&b"a"[..], b"b"]);
    }
    let tree = Pack::open(bytes)?.tree()?;
    if let Ok(checked) = check(bytes.to_vec()) {
        assert!(checked.tree == tree);
        assert!(written(&tree, *checked.thresholds.start()) == bytes);
    }
    Ok(tree)
}

/// A small pack with much in it.
fn small() -> (Tree, Vec<u8>) {
    let images = samples(100, 10).map(|tree| {
        let tree = split(&tree, 64);
        let image = written(&tree, 64);
        (tree, image)
    });
    images
        .filter(|(_, image)| image.len() == 2 * 4096)
        .max_by_key(|(tree, _)| tree.len())
        .expect("one of the samples is small")
}

// Rules: P4
#[test]
fn every_truncation_is_refused() {
    let (_, image) = small();
    for len in 0..image.len() {
        assert!(Pack::open(&image[..len]).is_err(), "{len}");
    }
    let longer = [&image[..], &[0; 4096]].concat();
    assert!(Pack::open(&longer).is_err());
}

// Rules: P4, P31
#[test]
fn every_changed_byte_is_refused_or_another_tree() {
    let (tree, image) = small();
    let mut damaged = image.clone();
    let mut refused = 0;
    for at in 0..image.len() {
        for change in [0x01, 0x80, 0xff] {
            damaged[at] = image[at] ^ change;
            match Pack::open(&damaged).and_then(|pack| pack.tree()) {
                Err(_) => refused += 1,
                Ok(found) => assert!(
                    found != tree || check(damaged.clone()).is_err(),
                    "byte {at} ^ {change:#x} does not matter"
                ),
            }
        }
        damaged[at] = image[at];
    }
    assert!(refused > image.len() / 10, "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    // Rules: P29, P30
    #[test]
    fn random_damage_does_no_harm(
        tree in trees(15),
        threshold in prop::sample::select(vec![0, 64, 4096, 65_536]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        cut in prop::option::of(any::<prop::sample::Index>()),
        copy in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..100usize)),
    ) {
        let tree = split(&tree, threshold);
        let mut bytes = written(&tree, threshold);
        // The parts that mean something are in front of the zeros.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |at| at + 1);
        for (at, value) in changes {
            bytes[1024 + at.index(used - 1024)] = value;
        }
        if let Some((from, to, len)) = copy {
            let (from, to) = (from.index(used), to.index(used));
            let len = len.min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
        if let Some(cut) = cut {
            let blocks = cut.index(bytes.len() / 4096);
            bytes.truncate(blocks * 4096);
        }
        let _ = read(&bytes);
    }
}
