// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deltas that somebody has changed, or that are meant for something else: nothing comes of them.

use sealroot::check::{self, Depth, Severity};
use sealroot::delta::DeltaError;
use sealroot::monitor::Silent;

use crate::support::{ENTRY, Files, TABLE, Update, bytes};

fn update() -> Update {
    let files = |content: Vec<u8>| {
        Files::from([("usr/bin/one", content), ("usr/small", b"small\n".to_vec())])
    };
    let content = bytes(1, 20_000);
    let mut changed = content.clone();
    changed.splice(9000..9003, *b"other");
    Update::between(&files(content), &files(changed))
}

impl Update {
    fn refused(&self, delta: &[u8], when: &str) -> DeltaError {
        let error = self.device.apply(&self.old, &self.new.statement, delta);
        let error = error.expect_err(when);
        assert!(
            !self.device.has_pack(&self.new.statement.pack_digest),
            "{when}"
        );
        error
    }

    fn assert_undamaged(&self) {
        self.device.assert_has(&self.old.statement);
        let report = check::check(&self.device.store, Depth::Full, &Silent).expect("checked");
        let damage = |finding: &&check::Finding| finding.code.severity() != Severity::Leftover;
        assert!(
            report.findings.iter().find(damage).is_none(),
            "{:?}",
            report.findings
        );
    }
}

// Rules: D1, D2
#[test]
fn every_changed_byte_and_every_end_is_refused() {
    let update = update();
    for at in 0..update.delta.len() {
        let mut delta = update.delta.clone();
        delta[at] ^= 1 << (at % 8);
        update.refused(&delta, &format!("byte {at}"));
        if at % 7 == 0 {
            update.refused(&update.delta[..at], &format!("{at} bytes"));
        }
    }
    update.assert_undamaged();
    let (delta, to) = (&update.delta, &update.new.statement);
    update
        .device
        .apply(&update.old, to, delta)
        .expect("the right one");
    update.device.assert_has(to);
}

// Rules: D8
#[test]
fn a_delta_of_other_releases_says_so() {
    let update = update();
    let other = update
        .device
        .build(&Files::from([("usr/other", b"other".to_vec())]));
    let error = update
        .device
        .apply(&other, &update.new.statement, &update.delta)
        .expect_err("from another");
    assert!(matches!(error, DeltaError::OtherRelease { .. }), "{error}");
    let error = update
        .device
        .apply(&update.old, &other.statement, &update.delta)
        .expect_err("to another");
    assert!(matches!(error, DeltaError::OtherRelease { .. }), "{error}");
}

// Rules: D3
#[test]
fn groups_that_are_missing_or_too_many_are_refused() {
    const COUNT: usize = TABLE - 4;
    let update = update();
    let delta = &update.delta;
    assert_eq!(
        update.field(COUNT),
        2,
        "one for the pack, one for the objects"
    );
    let entries = [TABLE, TABLE + ENTRY];
    let first = TABLE + 2 * ENTRY;
    let second = first + update.field(entries[0]);
    assert_eq!(delta.len(), second + update.field(entries[1]));
    let groups = [&delta[first..second], &delta[second..]];
    let with = |numbers: &[usize]| {
        let mut with = delta[..COUNT].to_vec();
        with.extend(u32::try_from(numbers.len()).expect("few").to_le_bytes());
        let entry = |number: &usize| &delta[entries[*number]..entries[*number] + ENTRY];
        with.extend(numbers.iter().flat_map(entry));
        with.extend(numbers.iter().flat_map(|number| groups[*number]));
        with
    };
    assert!(with(&[0, 1]) == *delta);
    for numbers in [
        &[][..],
        &[0],
        &[1],
        &[1, 0],
        &[0, 0],
        &[0, 1, 1],
        &[0, 1, 0],
    ] {
        let error = update.refused(&with(numbers), "other groups");
        let is_told = matches!(
            error,
            DeltaError::Invalid { .. } | DeltaError::Patch(_) | DeltaError::Tree(_)
        );
        assert!(is_told, "{numbers:?}: {error}");
    }
    update.assert_undamaged();
}

// Rules: D8, D9
#[test]
fn what_comes_out_must_be_what_was_signed() {
    let update = update();
    let mut statement = update.new.statement.clone();
    statement.tree_digest = update.old.statement.tree_digest;
    let error = update
        .device
        .apply(&update.old, &statement, &update.delta)
        .expect_err("another tree");
    let DeltaError::Differs { differences } = &error else {
        panic!("{error}");
    };
    assert_eq!(differences[0].what, "tree-digest");
    let mut long = update.delta.clone();
    long[84..92].copy_from_slice(&(2_u64 << 20).to_le_bytes());
    let error = update.refused(&long, "more text than so few inodes have");
    let DeltaError::Invalid { what, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*what, "length of the tree's text");
    let mut statement = update.new.statement.clone();
    statement.object_bytes -= 1;
    let error = update
        .device
        .apply(&update.old, &statement, &update.delta)
        .expect_err("more than was signed");
    assert!(matches!(error, DeltaError::Invalid { .. }), "{error}");
    update.assert_undamaged();
}
