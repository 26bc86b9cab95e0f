// SPDX-License-Identifier: MIT OR Apache-2.0
//! Users and groups that a kept file lacks and the new release has.

use std::collections::BTreeSet;

use sealroot_format::tree::{FileContent, Kind, Tree};

/// The files, below `/etc`.
const FILES: [&str; 2] = ["passwd", "group"];

/// Largest file that is looked into, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Names that are new in the release's default and not in the local file, which stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingAccounts {
    /// `passwd` or `group`.
    pub file: &'static str,
    /// The names, sorted.
    pub names: Vec<String>,
}

/// What a merged `/etc` lacks of the users and groups that the new default has and the old one had
/// not. They are there after systemd-sysusers has run, if the release has them in `sysusers.d`.
pub(super) fn missing(old: &Tree, merged: &Tree, new: &Tree) -> Vec<MissingAccounts> {
    let missing_in = |file: &'static str| {
        let (old, merged, new) = (names(old, file)?, names(merged, file)?, names(new, file)?);
        let lacks = |name: &&Vec<u8>| !old.contains(*name) && !merged.contains(*name);
        let names: Vec<String> = (new.iter().filter(lacks))
            .map(|name| name.escape_ascii().to_string())
            .collect();
        (!names.is_empty()).then_some(MissingAccounts { file, names })
    };
    FILES.into_iter().filter_map(missing_in).collect()
}

/// The first fields of all lines; `None` for what is no small file.
fn names(tree: &Tree, file: &str) -> Option<BTreeSet<Vec<u8>>> {
    let inode = tree.inode(tree.lookup([file.as_bytes()])?);
    let Kind::Regular(FileContent::Inline(content)) = &inode.kind else {
        return None;
    };
    if content.size_bytes() > MAX_BYTES {
        return None;
    }
    let bytes = content.read().ok()?;
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let first = |line: &[u8]| line.split(|byte| *byte == b':').next().map(<[u8]>::to_vec);
    Some(lines.filter_map(first).collect())
}
