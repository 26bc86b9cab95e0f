// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every rule of the format of boot entries has a test that names it, and the page's example is
//! the golden file.

use std::collections::BTreeSet;

use sealroot::store::StorePath;
use sealroot_testkit::memory_io::MemoryDisk;

use crate::support::{Wanted, all, look};

const PAGE: &str = include_str!("../../../../docs/format/entries.md");
const NAME: &str = "sealroot-00000007-abababababab.0.conf";
const GOLDEN: &str =
    include_str!("../../../../testdata/v1/entry/sealroot-00000007-abababababab.0.conf");

const SOURCES: [&str; 11] = [
    include_str!("arguments.rs"),
    include_str!("change.rs"),
    include_str!("crash.rs"),
    include_str!("../../src/entry/find/detect.rs"),
    include_str!("find.rs"),
    include_str!("firmware.rs"),
    include_str!("firmware_crash.rs"),
    include_str!("initrd.rs"),
    include_str!("order.rs"),
    include_str!("repair_image.rs"),
    include_str!("scan.rs"),
];

#[test]
fn every_rule_has_a_test() {
    let rules: Vec<&str> = (PAGE.lines())
        .filter_map(|line| Some(line.strip_prefix("- **")?.split_once("**")?.0))
        .collect();
    let distinct: BTreeSet<&str> = rules.iter().copied().collect();
    assert_eq!(distinct.len(), rules.len(), "a rule's id is used twice");
    assert!(rules.len() > 20, "{rules:?}");
    let tested: BTreeSet<&str> = (SOURCES.iter().flat_map(|source| source.lines()))
        .filter_map(|line| line.trim().strip_prefix("// Rules: "))
        .flat_map(|ids| ids.split(", "))
        .collect();
    assert_eq!(distinct, tested);
}

#[test]
fn the_example_is_the_golden_file_and_what_is_written() {
    assert!(PAGE.contains(&format!(
        "`testdata/v1/entry/{NAME}`:\n\n```text\n{GOLDEN}```"
    )));
    let disk = MemoryDisk::new(false);
    let boot = look(&disk);
    Wanted::of(1).add(&boot, &all).expect("added");
    // The sixth change is there; somebody has changed its entry since.
    let sixth = StorePath::new("loader/entries/sealroot-00000006-000000000000.0.conf");
    disk.plant(&sixth.expect("a path"), b"title x\nlinux /none\n");
    let wanted = Wanted::of(0xab);
    wanted.add(&boot, &all).expect("added");
    let written = &disk.files()[&format!("/loader/entries/{NAME}")];
    assert_eq!(String::from_utf8_lossy(written), GOLDEN);
}
