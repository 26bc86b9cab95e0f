// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything a root says about itself, listed with plain system calls.
//!
//! The independent judge of what a machine has booted: it shares no code with the formats it
//! judges. Two manifests are compared by [`Manifest::compare`], which tells a file that cannot be
//! read from one that lies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::Result;
use sealroot_format::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What stands at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Attributes and content, as one line of text each.
    Entry {
        /// Type, mode, owner, time, size, links, device, xattrs.
        attributes: String,
        /// Target of a symlink, SHA-256 of a file, empty for the rest.
        content: String,
    },
    /// It, its content or the names in it cannot be read: the number of the error.
    Error(i32),
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
    /// Lies: a path too many, one that is missing, other attributes, other content.
    pub wrong: Vec<String>,
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
        let found = match describe(path, name, links) {
            Ok((attributes, content)) => Found::Entry {
                attributes,
                content,
            },
            Err(error) => Found::Error(error.raw_os_error().unwrap_or(0)),
        };
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
) -> io::Result<(String, String)> {
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
         device={device} xattrs=[{}]",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        xattrs(path)?
    );
    Ok((attributes, content))
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

fn xattrs(path: &Path) -> io::Result<String> {
    const CAPACITY: usize = 65536;
    let mut names = vec![0; CAPACITY];
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut names: Vec<&[u8]> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let mut value = vec![0; CAPACITY];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        let value = value[..length].escape_ascii();
        text.extend([
            &name.escape_ascii().to_string(),
            "=",
            &value.to_string(),
            " ",
        ]);
    }
    Ok(text)
}

/// The manifest of a root without what is mounted on it.
///
/// # Errors
/// If the root cannot be cloned; errors below it are part of the manifest.
pub fn without_submounts(root: &Path) -> Result<Manifest> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    use std::os::fd::AsRawFd;

    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = open_tree(rustix::fs::CWD, root, flags)?;
    // The slash makes it the directory and not the link of procfs.
    Ok(Manifest::read(Path::new(&format!(
        "/proc/self/fd/{}/",
        clone.as_raw_fd()
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &str) -> Found {
        Found::Entry {
            attributes: "mode=100644".into(),
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

        for wrong in [
            manifest(&[
                ("./a", entry("9")),
                ("./d", entry("")),
                ("./d/x", entry("2")),
            ]),
            manifest(&[("./a", entry("1")), ("./d", entry(""))]),
            manifest(&[
                ("./a", entry("1")),
                ("./d", Found::Error(5)),
                ("./e", Found::Error(5)),
            ]),
        ] {
            assert_eq!(wrong.compare(&expected).wrong.len(), 1, "{wrong:?}");
        }
    }
}
