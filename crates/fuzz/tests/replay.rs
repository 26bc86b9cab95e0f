// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer left, run again: what held for it holds still.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sealroot_fuzz::{TARGETS, Target};

/// Files of one target: more would be another way to the same.
const MAX_FILES: usize = 300;

/// Bytes of all of them: they are in the repository.
const MAX_BYTES: u64 = 2 << 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn corpus(target: &Target) -> Vec<PathBuf> {
    let directory = fuzz().join("corpus").join(target.name);
    let entries = fs::read_dir(&directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort_unstable();
    files
}

#[test]
fn what_holds_for_every_input_holds_for_the_corpus() {
    let mut broken = Vec::new();
    for target in TARGETS {
        for path in corpus(target) {
            let data = fs::read(&path).expect("a readable file");
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&data))).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_corpus_is_small() {
    let mut bytes = 0;
    for target in TARGETS {
        let files = corpus(target);
        assert!(
            (1..=MAX_FILES).contains(&files.len()),
            "{}: {} files",
            target.name,
            files.len()
        );
        let sizes = files
            .iter()
            .map(|path| fs::metadata(path).expect("a file").len());
        bytes += sizes.sum::<u64>();
    }
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
}

#[test]
fn every_target_has_a_program_a_corpus_and_a_length() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.into()).collect();
    assert_eq!(names.len(), TARGETS.len());
    let list = fs::read_to_string(fuzz().join("targets")).expect("the list");
    let listed: BTreeMap<String, usize> = (list.lines())
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().expect("a name, a length and a reason");
            let (name, max_bytes, reason) = (word(), word(), word());
            assert!(!reason.is_empty());
            (name.into(), max_bytes.parse().expect("a length"))
        })
        .collect();
    assert!(listed.keys().eq(&names), "fuzz/targets lists others");
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let programs = manifest.lines().filter_map(|line| {
        let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
        (name != "sealroot-fuzz-targets").then(|| name.to_owned())
    });
    assert_eq!(programs.collect::<BTreeSet<_>>(), names, "other programs");
    let entries = fs::read_dir(fuzz().join("corpus")).expect("the corpus");
    let names_of = entries.map(|entry| entry.expect("a directory").file_name());
    let corpora: BTreeSet<String> = names_of
        .filter_map(|name| name.into_string().ok())
        .collect();
    assert_eq!(corpora, names, "other corpora");
    for name in &names {
        let path = fuzz().join(format!("fuzz_targets/{name}.rs"));
        let program = fs::read_to_string(path).expect("a program");
        assert!(
            program.contains(&format!("sealroot_fuzz::{name}(data)")),
            "{name}"
        );
    }
}
