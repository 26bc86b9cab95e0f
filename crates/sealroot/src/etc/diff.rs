// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is different in an `/etc` from the default it began as.

use std::collections::BTreeSet;

use sealroot_format::tree::{InodeId, Tree};

use super::compare::{Aspect, differences};

/// One difference of an `/etc` from a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Below `/etc`, with a slash in front; the slash alone is `/etc` itself.
    pub path: Box<[u8]>,
    /// What is different.
    pub change: Change,
}

/// How an entry is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The default does not have it. What is in a directory is not listed.
    Added,
    /// Only the default has it. What is in a directory is not listed.
    Removed,
    /// It is different in these.
    Changed(Vec<Aspect>),
}

/// The differences of `current` from `default`, in the order of a walk.
pub fn diff(default: &Tree, current: &Tree) -> Vec<Difference> {
    let mut differ = Differ {
        default,
        current,
        path: Vec::new(),
        found: Vec::new(),
    };
    differ.compare(InodeId::ROOT, InodeId::ROOT);
    differ.found
}

/// Whether something in `current` was changed from its `default`, and is not so in `other`.
pub fn has_changes_beyond(default: &Tree, current: &Tree, other: &Tree) -> bool {
    let local = diff(default, current);
    let is_in = |outer: &[u8], path: &[u8]| {
        let below = path.strip_prefix(outer);
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    };
    diff(other, current).iter().any(|beyond| {
        let mut local = local.iter();
        local.any(|local| is_in(&local.path, &beyond.path) || is_in(&beyond.path, &local.path))
    })
}

struct Differ<'t> {
    default: &'t Tree,
    current: &'t Tree,
    path: Vec<u8>,
    found: Vec<Difference>,
}

impl Differ<'_> {
    fn note(&mut self, change: Change) {
        let path: &[u8] = if self.path.is_empty() {
            b"/"
        } else {
            &self.path
        };
        self.found.push(Difference {
            path: path.into(),
            change,
        });
    }

    fn compare(&mut self, default: InodeId, current: InodeId) {
        let (a, b) = (self.default.inode(default), self.current.inode(current));
        let aspects = differences(a, b);
        if !aspects.is_empty() {
            self.note(Change::Changed(aspects));
        }
        let (Some(a), Some(b)) = (a.as_directory(), b.as_directory()) else {
            return;
        };
        let names: BTreeSet<&[u8]> = a.iter().chain(b.iter()).map(|(name, _)| name).collect();
        for name in names {
            let len = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(name);
            match (a.get(name), b.get(name)) {
                (Some(default), Some(current)) => self.compare(default, current),
                (Some(_), None) => self.note(Change::Removed),
                (None, Some(_)) => self.note(Change::Added),
                (None, None) => {}
            }
            self.path.truncate(len);
        }
    }
}
