// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every rule of `docs/format/kept.md` has a test that names it, and its table is the list.

use std::{collections::BTreeSet, fs, path::Path};

use sealroot_format::kept::{FILES, KeptFile};

const SOURCES: [&str; 4] = [
    "tests/kept/hostile.rs",
    "tests/kept/shadow.rs",
    "tests/kept/types.rs",
    "../testkit/tests/vm/etc_allowlist.rs",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_rule_has_a_test() {
    let page = read("../../docs/format/kept.md");
    let rules: BTreeSet<&str> = (page.lines())
        .filter_map(|line| Some(line.strip_prefix("- **")?.split_once("**")?.0))
        .collect();
    let sources = SOURCES.map(read);
    let tested: BTreeSet<&str> = (sources.iter().flat_map(|source| source.lines()))
        .filter_map(|line| line.trim().strip_prefix("// Rules: "))
        .flat_map(|ids| ids.split(", "))
        .filter(|id| id.starts_with('A'))
        .collect();
    assert_eq!(rules, tested);
}

// Rules: A1
#[test]
fn the_table_is_the_list() {
    let page = read("../../docs/format/kept.md");
    let rows: Vec<(&str, &str)> = (page.lines())
        .filter_map(|line| line.strip_prefix("| `/etc/")?.split_once("` | "))
        .map(|(path, rest)| {
            (
                path,
                rest.split(" | ")
                    .nth(1)
                    .unwrap_or_default()
                    .trim_end_matches(" |"),
            )
        })
        .collect();
    let mode = |file: &KeptFile| match file.path() {
        "/etc/shadow" => "the release's".to_owned(),
        _ => format!("0{:o}", file.permissions),
    };
    let modes: Vec<_> = FILES.iter().map(mode).collect();
    let paths = FILES.iter().map(KeptFile::path_in_etc);
    let list: Vec<_> = paths.zip(modes.iter().map(String::as_str)).collect();
    assert_eq!(rows, list);
}
