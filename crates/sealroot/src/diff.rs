// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an update changes, by groups of paths that belong together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::{FileContent, Kind, Tree, dump};

/// Directories whose children are groups of their own; of all else the second level is.
const DEEP: [&[u8]; 4] = [b"/usr/lib", b"/usr/share", b"/usr/lib64", b"/usr/local"];

/// What has changed below one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The path.
    pub path: Box<[u8]>,
    /// Names that are new.
    pub added: u64,
    /// Names that are gone.
    pub removed: u64,
    /// Names that have other content, another target, or are of another kind.
    pub changed: u64,
    /// Names that have other metadata and nothing else.
    pub touched: u64,
    /// Content that the old tree has nowhere, each counted once, bytes.
    pub content_bytes: u64,
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Groups in which something has changed, the most new content first.
    pub groups: Vec<Group>,
    /// The group of each new object, by its place in `groups`.
    pub objects: HashMap<VerityDigest, usize>,
}

/// A line of a dump: what is said of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry<'l> {
    /// All but the path.
    line: &'l str,
    kind: &'l str,
    /// Digest and size of a file; target of a link, number of a device.
    content: &'l str,
    size_bytes: u64,
}

impl<'l> Entry<'l> {
    fn of(line: &'l str) -> Option<(&'l str, Self)> {
        let (path, line) = line.split_once(' ')?;
        let mut fields = line.split(' ');
        let kind = fields.next()?;
        let (content, size_bytes) = match kind {
            "h" => (fields.next()?, 0),
            "f" => {
                let size = fields.nth(4)?;
                (fields.next()?, size.parse().ok()?)
            }
            _ => (fields.nth(4).unwrap_or_default(), 0),
        };
        let has_content = matches!(kind, "h" | "f" | "l" | "c" | "b");
        let entry = Self {
            line,
            kind,
            content: if has_content { content } else { "" },
            size_bytes,
        };
        Some((path, entry))
    }
}

/// Compares two trees.
pub fn diff(from: &Tree, to: &Tree) -> io::Result<Diff> {
    let [old, new] = [text(from)?, text(to)?];
    let old: BTreeMap<&str, Entry<'_>> = old.lines().skip(1).filter_map(Entry::of).collect();
    let new: BTreeMap<&str, Entry<'_>> = new.lines().skip(1).filter_map(Entry::of).collect();
    let mut known: HashSet<&str> = old.values().map(|entry| entry.content).collect();
    let mut groups: BTreeMap<&[u8], Group> = BTreeMap::new();
    let mut first_names: HashMap<&str, &[u8]> = HashMap::new();
    for (path, entry) in &new {
        let name = group_of(path.as_bytes());
        let before = old.get(path);
        if before == Some(entry) {
            continue;
        }
        let group = groups.entry(name).or_default();
        match before {
            None => group.added += 1,
            Some(before) if before.kind == entry.kind && before.content == entry.content => {
                group.touched += 1;
            }
            Some(_) => group.changed += 1,
        }
        if entry.kind == "f" && known.insert(entry.content) {
            group.content_bytes += entry.size_bytes;
            first_names.insert(entry.content, name);
        }
    }
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        groups.entry(group_of(path.as_bytes())).or_default().removed += 1;
    }
    let mut groups: Vec<Group> = groups
        .into_iter()
        .map(|(path, group)| Group {
            path: path.into(),
            ..group
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.content_bytes));
    let places = groups.iter().enumerate();
    let places: HashMap<&[u8], usize> = places.map(|(at, group)| (&*group.path, at)).collect();
    let objects = to.inodes().filter_map(|(_, inode)| match &inode.kind {
        Kind::Regular(FileContent::External { digest, .. }) => {
            let place = places.get(first_names.get(&*digest.to_hex())?)?;
            Some((*digest, *place))
        }
        _ => None,
    });
    let objects = objects.collect();
    Ok(Diff { groups, objects })
}

fn text(tree: &Tree) -> io::Result<String> {
    let mut text = Vec::new();
    dump::write_dump(tree, &mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

/// The group that a path belongs to: two names of its directory, or three below [`DEEP`].
fn group_of(path: &[u8]) -> &[u8] {
    let slashes: Vec<usize> = (0..path.len()).filter(|at| path[*at] == b'/').collect();
    let names = |count: usize| match slashes.get(count).or(slashes.last()) {
        None | Some(0) => &b"/"[..],
        Some(end) => &path[..*end],
    };
    let two = names(2);
    if DEEP.contains(&two) { names(3) } else { two }
}

#[cfg(test)]
mod tests {
    use super::group_of;

    #[test]
    fn what_belongs_together_is_a_group() {
        for (path, group) in [
            ("/", "/"),
            ("/etc", "/"),
            ("/etc/hostname", "/etc"),
            ("/etc/ssh/sshd_config", "/etc/ssh"),
            ("/etc/ssh/sshd_config.d/one", "/etc/ssh"),
            ("/usr/bin/vim", "/usr/bin"),
            ("/usr/lib/modules/6.1.0-50/a.ko", "/usr/lib/modules"),
            ("/usr/lib/libm.so", "/usr/lib"),
            ("/usr/share/doc/vim/copyright", "/usr/share/doc"),
        ] {
            assert_eq!(group_of(path.as_bytes()), group.as_bytes());
        }
    }
}
