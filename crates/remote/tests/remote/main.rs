// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing and pulling, over directories and servers good and bad.

#![forbid(unsafe_code)]

#[cfg(feature = "object-store")]
mod bucket;
mod bundle;
mod channel;
mod hostile;
mod image;
mod publish;
mod pull;
mod signatures;
mod support;
mod unreachable;

use std::collections::BTreeSet;

#[test]
fn every_rule_has_a_test() {
    let pages = [
        include_str!("../../../../docs/format/bundle.md"),
        include_str!("../../../../docs/format/repository.md"),
        include_str!("../../../../docs/format/signatures.md"),
    ];
    let lines = pages.iter().flat_map(|page| page.lines());
    let rules: BTreeSet<&str> = lines
        .filter_map(|line| Some(line.strip_prefix("- **")?.split_once("**")?.0))
        .collect();
    let tests = [
        include_str!("bucket.rs"),
        include_str!("bundle.rs"),
        include_str!("hostile.rs"),
        include_str!("image.rs"),
        include_str!("publish.rs"),
        include_str!("pull.rs"),
        include_str!("signatures.rs"),
        include_str!("../../src/signatures.rs"),
        include_str!("../../../sealroot/tests/signing/objects.rs"),
    ];
    let lines = tests.iter().flat_map(|text| text.lines());
    let named = lines.filter_map(|line| line.trim_start().strip_prefix("// Rules: "));
    let tested: BTreeSet<&str> = named.flat_map(|rules| rules.split(", ")).collect();
    assert_eq!(rules, tested);
}
