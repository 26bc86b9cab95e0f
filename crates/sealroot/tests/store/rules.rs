// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every rule of the store's format has a test that names it, and the page's examples are the
//! golden files.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../../docs/format/store.md");
const RECORD: &str = include_str!("../../../../testdata/v1/store/deployment.toml");

const RECORD_OF_MACHINE: &str =
    include_str!("../../../../testdata/v1/store/deployment-stateroot.toml");

const SOURCES: [&str; 15] = [
    include_str!("check.rs"),
    include_str!("crash.rs"),
    include_str!("deployments.rs"),
    include_str!("flags.rs"),
    include_str!("foreign.rs"),
    include_str!("hostile.rs"),
    include_str!("objects.rs"),
    include_str!("processes.rs"),
    include_str!("remote.rs"),
    include_str!("repair.rs"),
    include_str!("signatures.rs"),
    include_str!("../machine/boot.rs"),
    include_str!("../machine/crash.rs"),
    include_str!("../machine/prune.rs"),
    include_str!("../../../cli/tests/command/remote.rs"),
];

#[test]
fn every_rule_has_a_test() {
    let rules: Vec<&str> = (PAGE.lines())
        .filter_map(|line| Some(line.strip_prefix("- **")?.split_once("**")?.0))
        .collect();
    let distinct: BTreeSet<&str> = rules.iter().copied().collect();
    assert_eq!(distinct.len(), rules.len(), "a rule's id is used twice");
    assert!(rules.len() > 25, "{rules:?}");
    let tested: BTreeSet<&str> = (SOURCES.iter().flat_map(|source| source.lines()))
        .filter_map(|line| line.strip_prefix("// Rules: "))
        .flat_map(|ids| ids.split(", "))
        .collect();
    assert_eq!(distinct, tested);
}

#[test]
fn the_example_of_a_record_is_the_golden_file() {
    assert!(PAGE.contains(&format!("```toml\n{RECORD}```")));
    let more = RECORD_OF_MACHINE.strip_prefix(RECORD).expect("more keys");
    assert!(PAGE.contains(&format!("```toml\n{more}```")));
}
