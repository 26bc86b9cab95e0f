// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deltas between releases: what is made of the old one is the new one, or nothing.

use std::collections::BTreeSet;

mod adjusted;
mod chain;
mod hostile;
mod image;
mod kernel;
#[path = "../../../delta/tests/module/mod.rs"]
mod module;
#[path = "../../../delta/tests/program/mod.rs"]
mod program;
mod round_trip;
mod support;

#[test]
fn every_rule_of_images_has_a_test() {
    let page = include_str!("../../../../docs/format/image.md");
    assert_all_tested(page, "I", &[include_str!("image.rs")]);
}

fn assert_all_tested(page: &str, prefix: &str, tests: &[&str]) {
    let start = format!("- **{prefix}");
    let rules = page.lines().filter_map(|line| {
        let (number, _) = line.strip_prefix(&*start)?.split_once("**")?;
        let number: u32 = number.parse().ok()?;
        Some(format!("{prefix}{number}"))
    });
    let lines = tests.iter().flat_map(|text| text.lines());
    let named = lines.filter_map(|line| line.strip_prefix("// Rules: "));
    let tested: BTreeSet<String> = named
        .flat_map(|rules| rules.split(", "))
        .map(str::to_owned)
        .collect();
    assert_eq!(rules.collect::<BTreeSet<_>>(), tested);
}

#[test]
fn every_rule_has_a_test() {
    let page = include_str!("../../../../docs/format/delta.md");
    let tests = [
        include_str!("adjusted.rs"),
        include_str!("chain.rs"),
        include_str!("hostile.rs"),
        include_str!("kernel.rs"),
        include_str!("round_trip.rs"),
    ];
    assert_all_tested(page, "D", &tests);
}
