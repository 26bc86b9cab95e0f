// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/format/patch.md: its rules and its example.

use sealroot_delta::{Cover, GroupReader, GroupWriter, PatchError};

const PAGE: &str = include_str!("../../../docs/format/patch.md");

const OLD: &[u8] = b"The quick brown fox";
const NEW: &[u8] = b"The slow brown fux!";

fn apply(group: &[u8], size_bytes: u64) -> Result<Vec<u8>, PatchError> {
    let mut out = Vec::new();
    let mut reader = GroupReader::open(group.to_vec(), 0)?;
    reader.apply(&OLD.to_vec(), size_bytes, &mut out)?;
    reader.finish()?;
    Ok(out)
}

/// A group of these parts.
fn group(controls: &[u8], residues: &[u8], literals: &[u8]) -> Vec<u8> {
    let len = |part: &[u8]| u8::try_from(part.len()).expect("short");
    let lens = [len(controls), len(residues)];
    [&lens[..], controls, residues, literals].concat()
}

#[test]
fn each_rule_has_a_test() {
    let tests = include_str!("format.rs");
    let rules = PAGE.lines().filter_map(|line| {
        let (rule, _) = line.strip_prefix("- **")?.split_once("**")?;
        Some(rule)
    });
    let named = |rule: &&str| {
        let mut lines = tests
            .lines()
            .filter_map(|line| line.strip_prefix("// Rules: "));
        !lines.any(|line| line.split(", ").any(|named| named == *rule))
    };
    let missing: Vec<_> = rules.filter(named).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

// Rules: V1, V2, C3
#[test]
fn the_example_is_what_the_writer_makes_and_the_reader_reads() {
    let covers = [
        Cover {
            old: 0,
            new: 0,
            len_bytes: 4,
        },
        Cover {
            old: 9,
            new: 8,
            len_bytes: 10,
        },
    ];
    let mut writer = GroupWriter::new();
    writer.push(OLD, NEW, &covers);
    let group = writer.finish();
    let hex: Vec<_> = group.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(PAGE.contains(&format!("\n{}\n", hex.join(" "))), "{hex:?}");
    assert_eq!(apply(&group, 19).expect("applied"), NEW);
}

// Rules: G1
#[test]
fn all_parts_are_used_up() {
    for (group, part) in [
        (group(&[0, 0], &[], b"x"), "controls"),
        (group(&[0], &[1], b"x"), "residues"),
        (group(&[0], &[], b"xy"), "literals"),
    ] {
        let error = apply(&group, 1).expect_err(part);
        let PatchError::Leftover {
            part: found,
            left_bytes: 1,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(found, part);
    }
    for (group, size_bytes, part) in [
        (group(&[], &[], b"x"), 1, "controls"),
        (group(&[1, 0, 0, 2, 0, 2], &[1], b""), 2, "residues"),
        (group(&[0], &[], b"x"), 2, "literals"),
        (vec![3, 0, 0], 0, "controls"),
        (vec![0, 3, 0], 0, "residues"),
    ] {
        let error = apply(&group, size_bytes).expect_err(part);
        let PatchError::Short { part: found } = error else {
            panic!("{error}");
        };
        assert_eq!(found, part);
    }
}

// Rules: C1
#[test]
fn a_cover_lies_inside_the_old_object() {
    for (moved, len) in [(1, 1), (36, 2), (40, 1), (0, 20)] {
        let group = group(&[1, 0, moved, len, len], &[], b"");
        let error = apply(&group, len.into()).expect_err("outside");
        assert!(matches!(error, PatchError::OutOfBase { .. }), "{error}");
    }
    let group = group(&[1, 0, 36, 1, 1], &[], b"");
    assert_eq!(apply(&group, 1).expect("the last byte"), b"x");
}

// Rules: C2
#[test]
fn the_turns_of_a_cover_are_its_length() {
    for turns in [&[5][..], &[2, 3], &[1, 0], &[0, 0]] {
        let controls = [&[1, 0, 0, 4], turns].concat();
        let error = apply(&group(&controls, &[0; 4], b""), 4).expect_err("wrong");
        assert!(matches!(error, PatchError::Control { .. }), "{error}");
    }
    let group = group(&[1, 0, 0, 4, 0, 1, 2, 1], &[1, 255], b"");
    assert_eq!(apply(&group, 4).expect("right"), b"Uhe\x1f");
}

// Rules: C4
#[test]
fn nothing_is_written_beyond_the_size() {
    for controls in [&[1, 0, 0, 5, 5][..], &[1, 3, 0, 2, 2]] {
        let group = group(controls, &[], b"abc");
        let mut out = Vec::new();
        let mut reader = GroupReader::open(group.clone(), 0).expect("a group");
        let error = reader.apply(&OLD.to_vec(), 4, &mut out);
        let error = error.expect_err("too long");
        assert!(matches!(error, PatchError::TooLong { .. }), "{error}");
        assert!(out.len() <= 4);
    }
}
