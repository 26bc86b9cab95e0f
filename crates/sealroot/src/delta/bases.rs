// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which object of the old release a new one resembles: names tell.

use std::collections::HashMap;

use sealroot_format::tree::Tree;

use super::text::{Objects, external};

/// The objects of the old release under the names of their files.
pub(super) struct Bases {
    paths: HashMap<Box<[u8]>, usize>,
    /// By what is left of a path, with their sizes: see [`Likeness`].
    alike: [HashMap<Box<[u8]>, Vec<SizedObject>>; 3],
}

/// The size of an object, bytes, and its number.
type SizedObject = (u64, usize);

/// What two paths may have in common, the most first. Not all numbers are versions: those in the names
/// of drivers tell one from another.
#[derive(Clone, Copy)]
enum Likeness {
    /// All but the numbers in the directories.
    SameName,
    /// All but the numbers.
    SameWords,
    /// The name of the file, but for the numbers.
    NameOfSameWords,
}

impl Likeness {
    const ALL: [Self; 3] = [Self::SameName, Self::SameWords, Self::NameOfSameWords];

    fn key(self, path: &[u8]) -> Box<[u8]> {
        let name = file_name(path);
        let directory = &path[..path.len() - name.len()];
        match self {
            Self::SameName => [&without_numbers(directory)[..], name].concat().into(),
            Self::SameWords => without_numbers(path),
            Self::NameOfSameWords => without_numbers(name),
        }
    }
}

impl Bases {
    /// Those of the old release.
    pub(super) fn of(tree: &Tree, objects: &Objects) -> Self {
        let mut bases = Self {
            paths: HashMap::new(),
            alike: Default::default(),
        };
        let mut walk = tree.walk();
        while let Some((path, id)) = walk.next() {
            let Some((digest, size_bytes)) = external(tree.inode(id)) else {
                continue;
            };
            if let Some(number) = objects.number(&digest) {
                for (likeness, known) in Likeness::ALL.iter().zip(&mut bases.alike) {
                    let known = known.entry(likeness.key(path)).or_default();
                    known.push((size_bytes, number));
                }
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

    /// That of the same path; else of those that are most alike the one whose size is next.
    fn find(&self, path: &[u8], size_bytes: u64) -> Option<usize> {
        if let Some(same) = self.paths.get(path) {
            return Some(*same);
        }
        let mut levels = Likeness::ALL.iter().zip(&self.alike);
        levels.find_map(|(likeness, known)| {
            let known = known.get(&likeness.key(path))?.iter();
            let nearest = known.min_by_key(|(size, _)| size.abs_diff(size_bytes))?;
            Some(nearest.1)
        })
    }
}

/// A path with `#` for each number in it.
fn without_numbers(path: &[u8]) -> Box<[u8]> {
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
    use super::{Likeness, without_numbers};

    #[test]
    fn versions_do_not_count() {
        let plain = |path: &str| without_numbers(path.as_bytes());
        let module = |version| format!("/usr/lib/modules/{version}-amd64/kernel/fs/ext4/ext4.ko");
        assert_eq!(plain(&module("6.1.0-50")), plain(&module("6.1.0-9")));
        assert_ne!(plain(&module("6.1.0-50")), plain(&module("6.1.0")));
        assert_eq!(*plain("/libx.so.1.22"), *b"/libx.so.#.#");
    }

    #[test]
    fn drivers_are_told_apart_by_their_numbers() {
        let key = |name: &str| {
            let path = format!("/usr/lib/modules/6.12.94/kernel/{name}.ko");
            Likeness::SameName.key(path.as_bytes())
        };
        assert_ne!(key("iwl3945"), key("iwl4965"));
        let later = b"/usr/lib/modules/6.12.95/kernel/iwl3945.ko";
        assert_eq!(key("iwl3945"), Likeness::SameName.key(later));
    }
}
