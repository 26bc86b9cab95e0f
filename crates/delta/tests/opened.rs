// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compressed streams opened and closed: what real compressors make comes back bit for bit.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use sealroot_delta::opened::{self, CloseError, MAX_CLOSED_BYTES, MAX_OPENED_BYTES, Opened, Side};
use sealroot_delta::{GroupWriter, Tolerance, find_covers};

/// Text like that of a changelog: `seed` says of what.
fn text(seed: u32, lines: u32) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::new();
    for line in 0..lines {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let words = ["fix", "the", "parser", "of", "addresses", "in", "replies"];
        let word = |shift: u32| words[(state >> shift) as usize % words.len()];
        let (a, b, c) = (word(8), word(14), word(22));
        writeln!(out, "  * {a} {b} {c} ({line}; closes #{})", state >> 12).expect("memory");
    }
    out
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..len).map(next).collect()
}

fn gzip(options: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("written");
    output.stdout
}

/// The form of an object with gzip members, and how many were opened.
fn open(object: &[u8]) -> Option<(Vec<u8>, usize)> {
    let opened = opened::open(&object.to_vec(), Side::New, &mut || Ok(Vec::<u8>::new()));
    opened.expect("memory").map(|opened| match opened {
        Opened::Members { form, count } => (form, count),
        Opened::Framed { .. } => panic!("a kernel image"),
    })
}

fn close(form: &[u8], size: usize) -> Result<Vec<u8>, CloseError> {
    let mut object = Vec::new();
    opened::close(&form.to_vec(), size as u64, &mut object)?;
    Ok(object)
}

fn round_trip(object: &[u8], streams: usize) -> Vec<u8> {
    let (form, count) = open(object).expect("not too long");
    assert_eq!(count, streams);
    let closed = close(&form, object.len());
    assert!(closed.expect("a form") == object, "it is another object");
    form
}

#[test]
fn each_rule_has_a_test() {
    let page = include_str!("../../../docs/format/opened.md");
    let rules = page.lines().filter_map(|line| {
        let (rule, _) = line.strip_prefix("- **")?.split_once("**")?;
        rule.starts_with('O').then_some(rule)
    });
    let tests = [
        include_str!("opened.rs"),
        include_str!("framed.rs"),
        include_str!("../src/opened/zstd/nearest.rs"),
    ];
    let named = tests
        .iter()
        .flat_map(|tests| tests.lines())
        .map(str::trim_start)
        .filter_map(|line| line.strip_prefix("// Rules: "));
    let named: BTreeSet<_> = named.flat_map(|rules| rules.split(", ")).collect();
    assert_eq!(rules.collect::<BTreeSet<_>>(), named);
}

// Rules: O1, O4, O5
#[test]
fn what_gzip_makes_comes_back() {
    let inputs = [
        Vec::new(),
        b"x".to_vec(),
        text(1, 40),
        text(2, 9000),
        noise(100_000),
        vec![0; 300_000],
        [noise(70_000), text(3, 2000)].concat(),
    ];
    for input in inputs {
        for level in ["-1", "-4", "-6", "-9"] {
            let object = gzip(&[level, "-n"], &input);
            let form = round_trip(&object, 1);
            assert!(
                form.windows(input.len().max(1)).any(|found| found == input) || input.is_empty()
            );
        }
    }
}

// Rules: O2
#[test]
fn streams_are_found_inside_an_object() {
    let directory = tempfile::tempdir().expect("a directory");
    let named = directory.path().join("changelog");
    std::fs::write(&named, text(4, 300)).expect("written");
    let named = Command::new("gzip").arg("-c").arg(&named).output();
    let named = named.expect("gzip runs").stdout;
    let plain = gzip(&["-n"], &text(5, 100));
    let object = [
        b"before",
        &named[..],
        b"between\x1f\x8b\x08\x00",
        &plain,
        b"after",
    ]
    .concat();
    round_trip(&object, 2);
    round_trip(&object[..object.len() - 10], 1);
    round_trip(b"nothing of the kind", 0);
    round_trip(b"", 0);
}

#[test]
fn a_stream_that_is_damaged_stays_closed() {
    let object = gzip(&["-n"], &text(6, 500));
    for at in 10..object.len() {
        let mut damaged = object.clone();
        damaged[at] ^= 0x10;
        // Some changes leave a stream, of other content.
        let (form, _) = open(&damaged).expect("not too long");
        let closed = close(&form, damaged.len());
        assert!(closed.expect("a form") == damaged);
    }
    for len in 0..object.len() {
        round_trip(&object[..len], 0);
    }
}

// Rules: O6
#[test]
fn what_is_too_long_is_not_opened() {
    let [closed, opened] = [MAX_CLOSED_BYTES, MAX_OPENED_BYTES]
        .map(|most| usize::try_from(most).expect("memory has as much"));
    assert_eq!(open(&vec![0; closed + 1]), None);
    round_trip(&vec![0; closed], 0);
    let bomb = gzip(&["-9", "-n"], &vec![0; opened + 1]);
    round_trip(&bomb, 0);
}

// Rules: O3
#[test]
fn a_length_has_one_symbol() {
    // A literal, a match of 258 bytes at the distance 1 as 284 and 31, and the end, in fixed codes.
    let fields: [(u32, u32); 7] = [
        (1, 1),
        (1, 2),
        ((0x30 + u32::from(b'a')).reverse_bits() >> 24, 8),
        (u32::reverse_bits(0b1100_0100) >> 24, 8),
        (31, 5),
        (0, 5),
        (0, 7),
    ];
    let stream = |symbol: (u32, u32), extra: (u32, u32)| {
        let mut fields = fields;
        (fields[3], fields[4]) = (symbol, extra);
        let (mut bits, mut held) = (0_u64, 0);
        for (value, count) in fields {
            bits |= u64::from(value) << held;
            held += count;
        }
        let bytes = &bits.to_le_bytes()[..held.div_ceil(8) as usize];
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        [&head, bytes, &[0; 4], &259_u32.to_le_bytes()].concat()
    };
    round_trip(&stream(fields[3], fields[4]), 0);
    round_trip(
        &stream((u32::reverse_bits(0b1100_0101) >> 24, 8), (0, 0)),
        1,
    );
}

#[test]
fn an_update_of_a_compressed_file_is_small() {
    let old_text = text(7, 3000);
    let new_text = [b"  * the newest entry\n", &old_text[..]].concat();
    let [old, new] = [&old_text, &new_text].map(|text| gzip(&["-9", "-n"], text));
    let patch_bytes = |old: &[u8], new: &[u8]| {
        let mut group = GroupWriter::new();
        group.push(old, new, &find_covers(old, new, Tolerance::USUAL));
        group.finish().len()
    };
    let closed = patch_bytes(&old, &new);
    let [old, new] = [&old, &new].map(|object| round_trip(object, 1));
    let opened = patch_bytes(&old, &new);
    assert!(
        opened * 10 < closed,
        "{opened} bytes opened, {closed} closed"
    );
}

fn changed() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let object = gzip(&["-n"], &[text(8, 60), noise(300)].concat());
    let (form, _) = open(&object).expect("not too long");
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let size = object.len();
    (changes, 0..form.len()).prop_map(move |(changes, cut)| {
        let mut form = form.clone();
        for (at, byte) in changes {
            let at = at.index(form.len());
            form[at] = byte;
        }
        if cut % 3 == 0 {
            form.truncate(cut);
        }
        (form, size)
    })
}

proptest! {
    #[test]
    fn any_bytes_come_back(object in prop::collection::vec(any::<u8>(), 0..400)) {
        let headed = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &object].concat();
        for object in [&object, &headed] {
            let (form, _) = open(object).expect("short");
            prop_assert_eq!(&close(&form, object.len()).expect("a form"), object);
        }
    }

    // Rules: O7
    #[test]
    fn a_form_that_nobody_made_is_refused_or_has_the_size((form, size) in changed()) {
        if let Ok(object) = close(&form, size) {
            prop_assert_eq!(object.len(), size);
        }
    }
}
