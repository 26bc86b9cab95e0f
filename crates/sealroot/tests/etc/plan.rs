// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules, one case each. Columns: the old default, the present `/etc`, the new default.

use sealroot::etc::{ClashKind, EtcError, MAX_DEPTH, Outcome, Sides};
use sealroot_format::digest::compute_verity_digest;
use sealroot_format::tree::{FileContent, Kind};

use crate::support::{lookup, merge, text, tree};

/// Merges, and compares what comes of it.
#[track_caller]
fn assert_merged(old: &str, current: &str, new: &str, expected: &str) {
    let plan = merge(&tree(old), &tree(current), &tree(new));
    assert_eq!(plan.clashes, []);
    let merged = text(&plan.merged);
    assert_eq!(merged, text(&tree(expected)), "{old} | {current} | {new}");
}

#[track_caller]
fn assert_outcome(old: &str, current: &str, new: &str, path: &str, expected: &Outcome) {
    let plan = merge(&tree(old), &tree(current), &tree(new));
    let decision = plan.decisions.iter().find(|d| *d.path == *path.as_bytes());
    assert_eq!(
        decision.map(|d| &d.outcome),
        Some(expected),
        "{:?}",
        plan.decisions
    );
}

#[test]
fn what_nobody_touched_follows_the_release() {
    assert_merged("/a file 1", "/a file 1", "/a file 2", "/a file 2");
    assert_merged("/a file 1", "/a file 1", "", "");
    assert_merged("", "", "/a file 1", "/a file 1");
    assert_merged(
        "/a file 1",
        "/a file 1",
        "/a dir\n/a/b file 1",
        "/a dir\n/a/b file 1",
    );
    assert_merged(
        "/a dir\n/a/b file 1",
        "/a dir\n/a/b file 1",
        "/a link b",
        "/a link b",
    );
    let whole = "/a file 1 mode=600\n/b link x\n/c dir label=l\n/c/d file 2 uid=3";
    assert_merged(whole, whole, whole, whole);
}

#[test]
fn what_was_changed_stays() {
    assert_merged("/a file 1", "/a file mine", "/a file 2", "/a file mine");
    assert_merged("/a file 1", "/a file mine", "", "/a file mine");
    assert_merged("/a link 1", "/a link mine", "/a link 2", "/a link mine");
    assert_merged("/a file 1", "/a link mine", "/a file 2", "/a link mine");
    assert_merged("", "/a file mine", "/a file 2", "/a file mine");
    assert_merged(
        "",
        "/d dir mode=700\n/d/a file 1",
        "",
        "/d dir mode=700\n/d/a file 1",
    );
    let kept = Outcome::Kept {
        release_changed: true,
    };
    assert_outcome("/a file 1", "/a file mine", "/a file 2", "/a", &kept);
    let kept = Outcome::Kept {
        release_changed: false,
    };
    assert_outcome("/a file 1", "/a file mine", "/a file 1", "/a", &kept);
    assert_outcome("/a file 1", "/a file mine", "", "/a", &Outcome::KeptDropped);
    assert_outcome("", "/a file mine", "", "/a", &Outcome::Added);
}

#[test]
fn what_was_removed_stays_away() {
    assert_merged("/a file 1", "", "/a file 2", "");
    assert_merged(
        "/d dir\n/d/a file 1",
        "",
        "/d dir\n/d/a file 1\n/d/b file 1",
        "",
    );
    assert_merged(
        "/d dir\n/d/a file 1",
        "/d dir",
        "/d dir\n/d/a file 2",
        "/d dir",
    );
    assert_outcome("/a file 1", "", "/a file 2", "/a", &Outcome::StaysRemoved);
}

#[test]
fn attributes_are_kept_one_by_one() {
    // OSTree loses a label and pins the content of a file whose mode was changed.
    assert_merged(
        "/a file 1 label=old",
        "/a file 1 label=mine",
        "/a file 2 label=old",
        "/a file 2 label=mine",
    );
    assert_merged(
        "/a file 1",
        "/a file 1 mode=600",
        "/a file 2 uid=7",
        "/a file 2 mode=600 uid=7",
    );
    assert_merged(
        "/a file 1",
        "/a file 1 gid=5",
        "/a file 1 gid=6",
        "/a file 1 gid=5",
    );
    assert_merged(
        "/a file 1 user.x=1 user.y=1",
        "/a file 1 user.x=mine user.z=mine",
        "/a file 1 user.x=2 user.y=2 user.v=new",
        "/a file 1 user.v=new user.x=mine user.z=mine",
    );
    // Mode and ACL are one thing: the mode's group bits are the mask of the ACL.
    assert_merged(
        "/a file 1 mode=640 acl=old",
        "/a file 1 mode=660 acl=old",
        "/a file 1 mode=644 acl=new",
        "/a file 1 mode=660 acl=old",
    );
}

#[test]
fn attributes_of_directories_are_kept() {
    assert_merged(
        "/d dir\n/d/a file 1",
        "/d dir mode=700 label=mine\n/d/a file 1",
        "/d dir gid=4\n/d/a file 2",
        "/d dir mode=700 gid=4 label=mine\n/d/a file 2",
    );
    // Also of one that the release drops, unless it is the label alone.
    assert_merged("/d dir", "/d dir mode=700", "", "/d dir mode=700");
    assert_merged("/d dir", "/d dir label=mine", "", "");
}

#[test]
fn a_label_alone_keeps_no_file_that_the_release_drops() {
    assert_merged("/a file 1", "/a file 1 label=mine", "", "");
    assert_merged("/a file 1", "/a file 1 mode=600", "", "/a file 1 mode=600");
    assert_merged("/a file 1", "/a file 1 label=mine", "/a dir", "/a dir");
}

#[test]
fn the_content_of_a_dropped_directory_stays_if_it_was_changed() {
    assert_merged(
        "/d dir\n/d/a file 1\n/d/b file 1",
        "/d dir\n/d/a file 1\n/d/b file mine",
        "",
        "/d dir\n/d/b file mine",
    );
    assert_merged("/d dir\n/d/a file 1", "/d dir\n/d/a file 1", "", "");
}

#[track_caller]
fn assert_clash(old: &str, current: &str, new: &str, path: &str, kind: ClashKind) {
    let plan = merge(&tree(old), &tree(current), &tree(new));
    let found: Vec<_> = (plan.clashes.iter()).map(|c| (&*c.path, c.kind)).collect();
    assert_eq!(found, [(path.as_bytes(), kind)]);
}

#[test]
fn a_directory_and_something_else_of_one_name_clash() {
    use ClashKind::{NewDirectory, NewFile};
    assert_clash("/a file 1", "/a file mine", "/a dir", "/a", NewDirectory);
    assert_clash(
        "/a file 1",
        "/a file 1 mode=600",
        "/a dir",
        "/a",
        NewDirectory,
    );
    assert_clash("", "/a link x", "/a dir\n/a/b file 1", "/a", NewDirectory);
    assert_clash("", "/a dir", "/a file 1", "/a", NewFile);
    assert_clash(
        "/a dir",
        "/a dir\n/a/b file mine",
        "/a file 1",
        "/a",
        NewFile,
    );
    assert_clash("/a dir", "/a dir mode=700", "/a file 1", "/a", NewFile);
    let plan = merge(&tree("/a file 1"), &tree("/a file mine"), &tree("/a dir"));
    assert_eq!(
        plan.clashes[0].to_string(),
        "/etc/a is no directory here and is one in the new release: move it away, or take back \
         the change (sealroot etc reset)"
    );
}

#[test]
fn what_was_put_in_the_place_of_the_other_kind_has_stood_since() {
    // OSTree refuses the first of these at each update.
    assert_merged(
        "/d dir\n/d/a file 1",
        "/d link x",
        "/d dir\n/d/a file 2",
        "/d link x",
    );
    assert_merged("/d dir\n/d/a file 1", "/d link x", "", "/d link x");
    assert_merged(
        "/a file 1",
        "/a dir\n/a/b file 1",
        "/a file 2",
        "/a dir\n/a/b file 1",
    );
    assert_merged(
        "/a file 1",
        "/a dir\n/a/b file 1",
        "",
        "/a dir\n/a/b file 1",
    );
    assert_merged(
        "/a file 1",
        "/a dir\n/a/b file 1",
        "/a dir\n/a/c file 2",
        "/a dir\n/a/b file 1\n/a/c file 2",
    );
}

#[test]
fn sockets_fifos_and_devices_are_left_behind_and_told() {
    let plan = merge(
        &tree("/b file 1"),
        &tree("/a fifo\n/b fifo\n/d dir\n/d/c fifo"),
        &tree("/b file 2"),
    );
    assert_eq!(text(&plan.merged), "/b file 2\n/d dir");
    let skipped: Vec<_> = plan
        .skipped
        .iter()
        .map(|path| path.escape_ascii().to_string())
        .collect();
    assert_eq!(skipped, ["/a", "/b", "/d/c"]);
    // Neither are the release's own.
    let plan = merge(
        &tree("/a fifo"),
        &tree("/a fifo"),
        &tree("/a fifo\n/d dir\n/d/c fifo"),
    );
    assert_eq!(text(&plan.merged), "/d dir");
    assert!(plan.skipped.is_empty() && plan.decisions.is_empty());
}

#[test]
fn the_mark_of_an_update_is_not_carried_over() {
    assert_merged(
        "",
        "/.updated file 1\n/d dir\n/d/.updated file 1",
        "",
        "/d dir\n/d/.updated file 1",
    );
}

#[test]
fn content_is_the_same_whether_it_is_in_the_pack_or_an_object() {
    let outside = |text: &str| {
        let mut tree = tree(text);
        let id = lookup(&tree, "/a").expect("the file");
        let kind = &mut tree.inode_mut(id).kind;
        let Kind::Regular(FileContent::Inline(content)) = &*kind else {
            panic!("a small file")
        };
        let bytes = content.read().expect("in memory");
        *kind = Kind::Regular(FileContent::External {
            digest: compute_verity_digest(&bytes),
            size_bytes: bytes.len() as u64,
        });
        tree
    };
    let plan = merge(
        &outside("/a file 1"),
        &tree("/a file 1"),
        &tree("/a file 2"),
    );
    assert_eq!(text(&plan.merged), "/a file 2");
    let plan = merge(
        &outside("/a file 0"),
        &tree("/a file 1"),
        &tree("/a file 2"),
    );
    assert_eq!(text(&plan.merged), "/a file 1");
}

#[test]
fn local_hardlinks_stay_hardlinks() {
    let mut current = tree("/a file mine");
    let id = lookup(&current, "/a").expect("the file");
    current
        .link(sealroot_format::tree::InodeId::ROOT, b"b", id)
        .expect("linked");
    let plan = merge(&tree(""), &current, &tree(""));
    assert_eq!(lookup(&plan.merged, "/a"), lookup(&plan.merged, "/b"));
    assert_eq!(text(&plan.merged), "/a file mine\n/b file mine");
}

#[test]
fn what_could_not_be_cleared_away_is_refused() {
    let nested = |depth: usize| {
        let lines: Vec<String> = (1..=depth)
            .map(|n| format!("{} dir", "/d".repeat(n)))
            .collect();
        tree(&lines.join("\n"))
    };
    let none = tree("");
    let plan = |current: &_| {
        sealroot::etc::plan(Sides {
            old: &none,
            current,
            new: &none,
        })
        .map(|plan| text(&plan.merged))
    };
    let (deepest, deeper) = (nested(MAX_DEPTH), nested(MAX_DEPTH + 1));
    assert!(plan(&deepest).is_ok());
    let error = plan(&deeper).expect_err("too deep");
    assert!(matches!(error, EtcError::TooDeep { .. }), "{error}");
}
