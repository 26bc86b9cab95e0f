// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pack: what is written is read, everything else is refused.

mod composefs;
mod damage;
mod golden;
mod judges;
mod mount;
mod overlay;
mod refused;
mod roundtrip;
mod rules;
mod size;

use sealroot_format::digest::compute_verity_digest;
use sealroot_format::pack::write_pack;
use sealroot_format::tree::Tree;

fn written(tree: &Tree, threshold_bytes: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = write_pack(tree, threshold_bytes, &mut bytes).expect("the tree can be written");
    assert_eq!(summary.size_bytes, bytes.len() as u64);
    assert_eq!(summary.digest, compute_verity_digest(&bytes));
    assert_eq!(summary.entries, tree.len() as u64);
    bytes
}
