// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every rule of the format documents has a test that names it, and no test names another.

use std::{collections::BTreeSet, fs, path::Path};

const SOURCES: [&str; 20] = [
    "tests/sign/channel.rs",
    "tests/sign/floor.rs",
    "tests/sign/keys.rs",
    "tests/sign/keyset.rs",
    "tests/sign/policy.rs",
    "tests/sign/statement.rs",
    "tests/sign/verify.rs",
    "src/policy/certificates.rs",
    "src/sign/key.rs",
    "../sealroot/tests/ostree/import.rs",
    "../sealroot/tests/ostree/publish.rs",
    "../sealroot/tests/ostree/publish_crash.rs",
    "../remote/src/trust.rs",
    "../remote/tests/remote/channel.rs",
    "../boot/src/floor.rs",
    "../sys/src/tpm/counter.rs",
    "../testkit/src/attack/policy.rs",
    "../testkit/tests/vm/etc.rs",
    "../testkit/tests/vm/etc_allowlist.rs",
    "../testkit/tests/vm/keyring.rs",
];

const PAGES: [&str; 5] = [
    "statement.md",
    "channel.md",
    "keyset.md",
    "policy.md",
    "floor.md",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_rule_has_a_test() {
    let pages = PAGES.map(|page| read(&format!("../../docs/format/{page}")));
    let rules: Vec<&str> = (pages.iter().flat_map(|page| page.lines()))
        .filter_map(|line| Some(line.strip_prefix("- **")?.split_once("**")?.0))
        .collect();
    assert!(rules.len() > 40, "{rules:?}");
    let distinct: BTreeSet<&str> = rules.iter().copied().collect();
    assert_eq!(distinct.len(), rules.len(), "a rule's id is used twice");

    let sources = SOURCES.map(read);
    let tested: BTreeSet<&str> = (sources.iter().flat_map(|source| source.lines()))
        .filter_map(|line| line.trim().strip_prefix("// Rules: "))
        .flat_map(|ids| ids.split(", "))
        // Those of kept.md, whose own test looks for them.
        .filter(|id| !id.starts_with('A'))
        .collect();
    let untested: Vec<_> = distinct.difference(&tested).collect();
    let unknown: Vec<_> = tested.difference(&distinct).collect();
    assert!(untested.is_empty(), "rules without a test: {untested:?}");
    assert!(
        unknown.is_empty(),
        "tests name rules that are not there: {unknown:?}"
    );
}
