// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything a root says about itself, listed with plain system calls.
//!
//! The independent judge of what a machine has booted: it shares no code with the formats it
//! judges. Two manifests are compared by [`Manifest::compare`], which tells a file that cannot be
//! read from one that lies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use sealroot_format::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What stands at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Attributes and content, as one line of text each.
    Entry {
        /// Type, mode, owner, time, size, links, device.
        attributes: String,
        /// The xattrs, with escaped names and values.
        xattrs: BTreeMap<String, String>,
        /// Target of a symlink, SHA-256 of a file, empty for the rest.
        content: String,
    },
    /// It, its content or the names in it cannot be read: the number of the error.
    Error(i32),
}

impl Found {
    /// Whether it is a file that is the same but for its content.
    fn is_but_for_content(&self, other: &Self) -> bool {
        match (self.clone(), other) {
            (
                Self::Entry {
                    attributes, xattrs, ..
                },
                Self::Entry { content, .. },
            ) => {
                *other
                    == Self::Entry {
                        attributes,
                        xattrs,
                        content: content.clone(),
                    }
            }
            _ => false,
        }
    }

    fn has_content_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entry { content, .. }, Self::Entry { content: other, .. }) => content == other,
            _ => false,
        }
    }
}

/// A root directory, listed. Paths are relative, `.` for the root itself; bytes that are not
/// printable ASCII are escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What is where.
    pub entries: BTreeMap<String, Found>,
}

/// How a manifest differs from the one expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Paths that cannot be read, and what is not seen because of that. Refusals, not lies.
    pub unreadable: Vec<String>,
    /// Paths with the right content and other attributes.
    pub other_attributes: Vec<String>,
    /// Paths with the right attributes and other content.
    pub other_content: Vec<String>,
    /// Other lies: a path too many, one that is missing, one that is something else.
    pub wrong: Vec<String>,
}

impl Comparison {
    /// Whether there are differences, all of them in one of the lists.
    pub fn differs_only_in(&self, list: &[String]) -> bool {
        let all = [
            &self.unreadable,
            &self.other_attributes,
            &self.other_content,
            &self.wrong,
        ];
        let count: usize = all.iter().map(|list| list.len()).sum();
        count > 0 && list.len() == count
    }
}

impl Manifest {
    /// Lists what is below `root`, on this filesystem and those mounted on it.
    pub fn read(root: &Path) -> Self {
        let mut manifest = Self::default();
        let mut links = BTreeMap::new();
        manifest.add(root, ".", &mut links);
        manifest
    }

    fn add(&mut self, path: &Path, name: &str, links: &mut BTreeMap<(u64, u64), String>) {
        let found = describe(path, name, links)
            .unwrap_or_else(|error| Found::Error(error.raw_os_error().unwrap_or(0)));
        self.entries.insert(name.to_owned(), found);
        if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            return;
        }
        if let Err(error) = self.add_children(path, name, links) {
            let number = error.raw_os_error().unwrap_or(0);
            self.entries.insert(name.to_owned(), Found::Error(number));
        }
    }

    fn add_children(
        &mut self,
        path: &Path,
        name: &str,
        links: &mut BTreeMap<(u64, u64), String>,
    ) -> io::Result<()> {
        let mut children = fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        children.sort();
        for child in children {
            let child_name = format!("{name}/{}", child.as_bytes().escape_ascii());
            self.add(&path.join(&child), &child_name, links);
        }
        Ok(())
    }

    /// Compares with what is expected.
    pub fn compare(&self, expected: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        for (path, expected) in &expected.entries {
            match self.entries.get(path) {
                Some(found) if found == expected => {}
                Some(Found::Error(_)) => comparison.unreadable.push(path.clone()),
                None if self.is_below_error(path) => comparison.unreadable.push(path.clone()),
                None => comparison.wrong.push(format!("{path} is missing")),
                Some(found) if found.has_content_of(expected) => {
                    comparison.other_attributes.push(path.clone());
                }
                Some(found) if found.is_but_for_content(expected) => {
                    comparison.other_content.push(path.clone());
                }
                Some(found) => comparison
                    .wrong
                    .push(format!("{path}: {expected:?}, {found:?}")),
            }
        }
        for path in self.entries.keys() {
            if !expected.entries.contains_key(path) {
                comparison.wrong.push(format!("{path} should not be there"));
            }
        }
        comparison
    }

    fn is_below_error(&self, path: &str) -> bool {
        path.match_indices('/')
            .any(|(end, _)| matches!(self.entries.get(&path[..end]), Some(Found::Error(_))))
    }
}

fn describe(
    path: &Path,
    name: &str,
    links: &mut BTreeMap<(u64, u64), String>,
) -> io::Result<Found> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    let mut content = String::new();
    if kind.is_symlink() {
        content = fs::read_link(path)?
            .as_os_str()
            .as_bytes()
            .escape_ascii()
            .to_string();
    } else if kind.is_file() {
        content = hash(path)?;
    }
    // Sizes and link counts of directories are the filesystem's own business.
    let (size, link_count) = if kind.is_dir() {
        (0, 0)
    } else {
        (metadata.size(), metadata.nlink())
    };
    let device = if kind.is_char_device() || kind.is_block_device() {
        metadata.rdev()
    } else {
        0
    };
    let first_name = if link_count > 1 {
        let inode = (metadata.dev(), metadata.ino());
        links
            .entry(inode)
            .or_insert_with(|| name.to_owned())
            .clone()
    } else {
        name.to_owned()
    };
    let attributes = format!(
        "mode={:o} owner={}:{} mtime={}.{:09} size={size} links={link_count} first={first_name} \
         device={device}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    );
    Ok(Found::Entry {
        attributes,
        xattrs: xattrs(path)?,
        content,
    })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 65536];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<String, String>> {
    const CAPACITY: usize = 65536;
    let mut names = vec![0; CAPACITY];
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut xattrs = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0) {
        if !name.is_empty() {
            let mut value = vec![0; CAPACITY];
            let length = rustix::fs::lgetxattr(path, name, &mut value)?;
            let value = value[..length].escape_ascii().to_string();
            xattrs.insert(name.escape_ascii().to_string(), value);
        }
    }
    Ok(xattrs)
}

/// A detached copy of a root without what is mounted on it.
#[derive(Debug)]
pub struct BareRoot(OwnedFd);

impl BareRoot {
    /// Of the directory at `root`, which must be a mount point. Needs root's rights.
    pub fn of(root: &Path) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(Self(open_tree(CWD, root, flags)?))
    }

    /// Where it is seen, as long as it lives.
    pub fn path(&self) -> PathBuf {
        // The slash makes it the directory and not the link of procfs.
        format!("/proc/self/fd/{}/", self.0.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &str) -> Found {
        Found::Entry {
            attributes: "mode=100644".into(),
            xattrs: BTreeMap::new(),
            content: content.into(),
        }
    }

    fn manifest(entries: &[(&str, Found)]) -> Manifest {
        Manifest {
            entries: entries
                .iter()
                .map(|(path, found)| ((*path).into(), found.clone()))
                .collect(),
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_lie_and_everything_else_is() {
        let expected = manifest(&[
            ("./a", entry("1")),
            ("./d", entry("")),
            ("./d/x", entry("2")),
        ]);
        let same = expected.clone().compare(&expected);
        assert_eq!(same, Comparison::default());

        let unreadable = manifest(&[("./a", Found::Error(5)), ("./d", Found::Error(5))]);
        let comparison = unreadable.compare(&expected);
        assert_eq!(comparison.unreadable, ["./a", "./d", "./d/x"]);
        assert!(comparison.wrong.is_empty());

        let other = manifest(&[
            ("./a", entry("9")),
            ("./d", entry("")),
            ("./d/x", entry("2")),
        ]);
        let comparison = other.compare(&expected);
        assert_eq!(comparison.other_content, ["./a"]);
        assert!(comparison.differs_only_in(&comparison.other_content));
        assert!(!comparison.differs_only_in(&comparison.wrong));

        for wrong in [
            manifest(&[("./a", entry("1")), ("./d", entry(""))]),
            manifest(&[
                ("./a", entry("1")),
                ("./d", Found::Error(5)),
                ("./e", Found::Error(5)),
            ]),
        ] {
            assert_eq!(wrong.compare(&expected).wrong.len(), 1, "{wrong:?}");
        }
        let mut other = expected.clone();
        let setuid = Found::Entry {
            attributes: "mode=104755".into(),
            xattrs: BTreeMap::new(),
            content: "1".into(),
        };
        other.entries.insert("./a".into(), setuid);
        assert_eq!(other.compare(&expected).other_attributes, ["./a"]);
    }
}
