// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others say of our images: `fsck.erofs` and the kernel.

use std::path::Path;
use std::process::Command;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use sealroot_format::tree::Tree;
use sealroot_testkit::need;
use sealroot_testkit::trees::{split, trees};

use crate::written;

/// The same random trees in every run.
pub(crate) fn samples(count: usize, max_entries: usize) -> impl Iterator<Item = Tree> {
    let mut runner = TestRunner::deterministic();
    let strategy = trees(max_entries);
    (0..count).map(move |_| {
        strategy
            .new_tree(&mut runner)
            .expect("no local rejects")
            .current()
    })
}

fn fsck(fsck: &Path, image: &Path) {
    let output = Command::new(fsck)
        .arg("--extract")
        .arg(image)
        .output()
        .expect("fsck.erofs runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", said.escape_ascii());
}

#[test]
fn fsck_accepts_every_image() {
    let Some(tool) = need::tool("fsck.erofs") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let image = directory.path().join("image");
    for tree in samples(40, 60) {
        for threshold in [0, 64, 4096, 65_536] {
            std::fs::write(&image, written(&split(&tree, threshold), threshold)).expect("written");
            fsck(&tool, &image);
        }
    }
}
