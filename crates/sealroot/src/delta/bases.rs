// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which object of the old release a new one resembles: names tell.

use std::collections::HashMap;

use sealroot_format::tree::Tree;

use super::text::{Objects, external};

/// The objects of the old release under the names of their files.
pub(super) struct Bases {
    paths: HashMap<Box<[u8]>, usize>,
    plain_paths: HashMap<Box<[u8]>, usize>,
    /// With their sizes.
    plain_names: HashMap<Box<[u8]>, Vec<(u64, usize)>>,
}

impl Bases {
    /// Those of the old release.
    pub(super) fn of(tree: &Tree, objects: &Objects) -> Self {
        let mut bases = Self {
            paths: HashMap::new(),
            plain_paths: HashMap::new(),
            plain_names: HashMap::new(),
        };
        let mut walk = tree.walk();
        while let Some((path, id)) = walk.next() {
            let Some((digest, size_bytes)) = external(tree.inode(id)) else {
                continue;
            };
            if let Some(number) = objects.number(&digest) {
                let plain = without_versions(path);
                let name = file_name(&plain).into();
                let named = bases.plain_names.entry(name).or_default();
                named.push((size_bytes, number));
                bases.plain_paths.entry(plain).or_insert(number);
                bases.paths.insert(path.into(), number);
            }
        }
        bases
    }

    /// For each new object the number of an old one.
    pub(super) fn choose(&self, tree: &Tree, new: &Objects) -> Vec<Option<usize>> {
        let mut chosen = vec![None; new.all.len()];
        let mut walk = tree.walk();
        while let Some((path, id)) = walk.next() {
            if let Some((digest, size_bytes)) = external(tree.inode(id))
                && let Some(number) = new.number(&digest)
                && chosen[number].is_none()
            {
                chosen[number] = self.find(path, size_bytes);
            }
        }
        chosen
    }

    /// The same path; the same but for versions; the same name but for versions, of the size that is
    /// next.
    fn find(&self, path: &[u8], size_bytes: u64) -> Option<usize> {
        let same = || self.paths.get(path).copied();
        let plain = without_versions(path);
        let moved = || self.plain_paths.get(&plain).copied();
        let named = || {
            let named = self.plain_names.get(file_name(&plain))?.iter();
            let nearest = named.min_by_key(|(size, _)| size.abs_diff(size_bytes))?;
            Some(nearest.1)
        };
        same().or_else(moved).or_else(named)
    }
}

/// A path with `#` for each number in it.
fn without_versions(path: &[u8]) -> Box<[u8]> {
    let mut plain = Vec::with_capacity(path.len());
    for byte in path {
        let byte = if byte.is_ascii_digit() { b'#' } else { *byte };
        if byte != b'#' || plain.last() != Some(&b'#') {
            plain.push(byte);
        }
    }
    plain.into()
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::without_versions;

    #[test]
    fn versions_do_not_count() {
        let plain = |path: &str| without_versions(path.as_bytes());
        let module = |version| format!("/usr/lib/modules/{version}-amd64/kernel/fs/ext4/ext4.ko");
        assert_eq!(plain(&module("6.1.0-50")), plain(&module("6.1.0-9")));
        assert_ne!(plain(&module("6.1.0-50")), plain(&module("6.1.0")));
        assert_eq!(*plain("/libx.so.1.22"), *b"/libx.so.#.#");
    }
}
