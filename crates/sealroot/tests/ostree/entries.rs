// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees as plain lists, from a directory on disk and from what was read.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealroot::object::{ObjectContent, ObjectSink};
use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::{FileContent, Kind, Timestamp, Tree};

/// One entry, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The bytes of a file, or the target of a symlink.
    pub(crate) content: Bytes,
    pub(crate) xattrs: Vec<(Bytes, Bytes)>,
}

/// Bytes that show only their beginning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.0[..self.0.len().min(40)];
        write!(f, "{} ({} bytes)", start.escape_ascii(), self.0.len())
    }
}

pub(crate) type Entries = BTreeMap<Vec<u8>, Entry>;

/// Keeps all objects in memory.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) kept: Mutex<HashMap<VerityDigest, Vec<u8>>>,
    pub(crate) streamed: AtomicUsize,
}

impl ObjectSink for Objects {
    fn has(&self, digest: &VerityDigest, _: u64) -> io::Result<bool> {
        Ok(self.kept.lock().unwrap().contains_key(digest))
    }

    fn add(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: ObjectContent<'_>,
    ) -> io::Result<()> {
        let bytes = match content {
            ObjectContent::Hashed(bytes) => bytes.to_vec(),
            ObjectContent::Stream(stream) => {
                self.streamed.fetch_add(1, Ordering::Relaxed);
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes)?;
                bytes
            }
        };
        assert_eq!(bytes.len() as u64, size_bytes);
        self.kept.lock().unwrap().insert(*digest, bytes);
        Ok(())
    }
}

/// What was read, with the objects put back in place.
pub(crate) fn of_tree(tree: &Tree, objects: &Objects) -> Entries {
    let kept = objects.kept.lock().unwrap();
    let mut entries = Entries::new();
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        let inode = tree.inode(id);
        let metadata = &inode.metadata;
        assert_eq!(metadata.mtime, Timestamp::default());
        assert!(inode.name_count() <= 1, "every name is its own inode");
        let content = match &inode.kind {
            Kind::Regular(FileContent::Inline(content)) => content.read().unwrap(),
            Kind::Regular(FileContent::External { digest, .. }) => kept[digest].clone(),
            Kind::Symlink(target) => target.to_vec(),
            _ => Vec::new(),
        };
        let entry = Entry {
            mode: inode.mode().into(),
            uid: metadata.uid,
            gid: metadata.gid,
            content: Bytes(content),
            xattrs: (metadata.xattrs.iter())
                .map(|xattr| (Bytes(xattr.name.to_vec()), Bytes(xattr.value.to_vec())))
                .collect(),
        };
        entries.insert(path.to_vec(), entry);
    }
    entries
}

/// What is on disk below `root`.
pub(crate) fn of_directory(root: &Path) -> Entries {
    let mut entries = Entries::new();
    let mut open = vec![(root.to_path_buf(), Vec::new())];
    while let Some((path, inside)) = open.pop() {
        let stat = path.symlink_metadata().unwrap();
        let content = if stat.is_symlink() {
            path.read_link().unwrap().as_os_str().as_bytes().to_vec()
        } else if stat.is_file() {
            std::fs::read(&path).unwrap()
        } else {
            for child in path.read_dir().unwrap() {
                let child = child.unwrap();
                let inside = [&inside, &b"/"[..], child.file_name().as_bytes()].concat();
                open.push((child.path(), inside));
            }
            Vec::new()
        };
        let entry = Entry {
            mode: stat.mode(),
            uid: stat.uid(),
            gid: stat.gid(),
            content: Bytes(content),
            xattrs: xattrs(&path),
        };
        let inside = if inside.is_empty() {
            b"/".to_vec()
        } else {
            inside
        };
        entries.insert(inside, entry);
    }
    entries
}

/// All xattrs of a file, directory or symlink, sorted.
pub(crate) fn xattrs(path: &Path) -> Vec<(Bytes, Bytes)> {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    names.truncate(len);
    let mut xattrs = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, CString::new(name).unwrap(), &mut value).unwrap();
        value.truncate(len);
        xattrs.push((Bytes(name.to_vec()), Bytes(value)));
    }
    xattrs.sort_unstable();
    xattrs
}

/// Fails with the first difference only: whole trees are too much to read.
pub(crate) fn assert_same(found: &Entries, expected: &Entries) {
    for (path, entry) in expected {
        let path_text = path.escape_ascii();
        let Some(other) = found.get(path) else {
            panic!("{path_text} is missing");
        };
        assert_eq!(other, entry, "{path_text}");
    }
    for path in found.keys() {
        assert!(
            expected.contains_key(path),
            "{} is too much",
            path.escape_ascii()
        );
    }
}
