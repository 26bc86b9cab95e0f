// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every rule of docs/format/pack.md has a test that names it, and no test names another; the
//! example there is the golden pack.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const SOURCES: [&str; 9] = [
    "src/pack/hostile.rs",
    "src/pack/order.rs",
    "src/pack/place.rs",
    "tests/pack/damage.rs",
    "tests/pack/golden.rs",
    "tests/pack/judges.rs",
    "tests/pack/overlay.rs",
    "tests/pack/refused.rs",
    "tests/pack/roundtrip.rs",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_rule_has_a_test() {
    let page = read("../../docs/format/pack.md");
    let rules: Vec<&str> = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix("- **P")?.split_once("**")?.0))
        .filter(|rule| rule.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    let numbers: Vec<String> = (1..=rules.len()).map(|number| number.to_string()).collect();
    assert_eq!(rules, numbers);

    let sources = SOURCES.map(read);
    let tested: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| line.trim().strip_prefix("// Rules: "))
        .flat_map(|ids| ids.split(", "))
        .filter_map(|id| id.strip_prefix('P'))
        .collect();
    let rules: BTreeSet<&str> = rules.into_iter().collect();
    let untested: Vec<_> = rules.difference(&tested).collect();
    let unknown: Vec<_> = tested.difference(&rules).collect();
    assert!(untested.is_empty(), "rules without a test: {untested:?}");
    assert!(unknown.is_empty(), "no such rules: {unknown:?}");
}

#[test]
fn the_example_is_the_golden_pack() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/v1/pack/empty.pack");
    let pack = fs::read(path).expect("the golden pack");
    let mut lines = String::from("```text\n");
    for (number, line) in pack
        .chunks(16)
        .enumerate()
        .filter(|(_, line)| *line != [0; 16])
    {
        write!(lines, "{:08x}:", number * 16).expect("written");
        for pair in line.chunks(2) {
            write!(lines, " {:02x}{:02x}", pair[0], pair[1]).expect("written");
        }
        lines.push('\n');
    }
    lines.push_str("```\n");
    assert!(
        read("../../docs/format/pack.md").contains(&lines),
        "{lines}"
    );
}
