// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every rule of the format has a test that names it.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../../docs/format/uki.md");

const SOURCES: [&str; 6] = [
    include_str!("damage.rs"),
    include_str!("image.rs"),
    include_str!("signed.rs"),
    include_str!("../../src/uki/parameters/tests.rs"),
    include_str!("../../src/uki/sbat.rs"),
    include_str!("../../src/uki/secrets.rs"),
];

#[test]
fn every_rule_has_a_test() {
    let rules: Vec<&str> = (PAGE.lines())
        .filter_map(|line| Some(line.strip_prefix("- **")?.split_once("**")?.0))
        .collect();
    let distinct: BTreeSet<&str> = rules.iter().copied().collect();
    assert_eq!(distinct.len(), rules.len(), "a rule's id is used twice");
    assert_eq!(rules.len(), 21, "{rules:?}");
    let tested: BTreeSet<&str> = (SOURCES.iter().flat_map(|source| source.lines()))
        .filter_map(|line| line.trim().strip_prefix("// Rules: "))
        .flat_map(|ids| ids.split(", "))
        .collect();
    assert_eq!(distinct, tested);
}
