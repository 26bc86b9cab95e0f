// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree survives being written and read, whatever is in it; its pack depends on nothing else.

use proptest::prelude::*;
use sealroot_format::pack::Pack;
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
            prop_assert!(written(&shuffled(&tree, seed), threshold) == bytes);
        }
    }
}
