// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archive repositories put together by hand, so that anything can be in them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use sealroot::ostree::{OstreeError, OstreeTree};
use sealroot_format::hex;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::encode::{Value, array, bytes, text, u32_be, u64_be};
use crate::entries::Objects;
use crate::repositories::read;

pub(crate) type Checksum = [u8; 32];

/// A repository that is being made.
pub(crate) struct Craft {
    directory: TempDir,
}

/// A content object that is being made; what is not said is as in any regular file.
#[derive(Clone)]
pub(crate) struct Content<'a> {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) rdev: u32,
    pub(crate) target: &'a [u8],
    pub(crate) xattrs: Value,
    /// What is hashed in place of `xattrs`.
    pub(crate) hashed_xattrs: Option<Value>,
    pub(crate) payload: &'a [u8],
    pub(crate) claimed_size_bytes: u64,
}

impl<'a> Content<'a> {
    pub(crate) fn regular(payload: &'a [u8]) -> Self {
        Self {
            mode: 0o100_644,
            uid: 0,
            rdev: 0,
            target: b"",
            xattrs: xattrs(&[]),
            hashed_xattrs: None,
            payload,
            claimed_size_bytes: payload.len() as u64,
        }
    }

    pub(crate) fn symlink(target: &'a [u8]) -> Self {
        Self {
            mode: 0o120_777,
            target,
            ..Self::regular(b"")
        }
    }

    fn header(&self, size: Option<u64>, xattrs: &Value) -> Vec<u8> {
        let mut members: Vec<Value> = size.into_iter().map(u64_be).collect();
        members.extend([self.uid, 0, self.mode, self.rdev].map(u32_be));
        members.extend([text(self.target), xattrs.clone()]);
        framed(&Value::Tuple(members).encode())
    }

    /// The checksum that OSTree gives it.
    pub(crate) fn checksum(&self) -> Checksum {
        let xattrs = self.hashed_xattrs.as_ref().unwrap_or(&self.xattrs);
        let header = self.header(None, xattrs);
        Sha256::digest([&header, self.payload].concat()).into()
    }

    /// The `.filez`.
    pub(crate) fn object(&self) -> Vec<u8> {
        let mut object = self.header(Some(self.claimed_size_bytes), &self.xattrs);
        if self.target.is_empty() {
            object.extend(deflate(self.payload));
        }
        object
    }
}

pub(crate) fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(payload).unwrap();
    encoder.finish().unwrap()
}

/// A header after its length and padding.
pub(crate) fn framed(header: &[u8]) -> Vec<u8> {
    let len = u32::try_from(header.len()).unwrap();
    [&len.to_be_bytes()[..], &[0; 4], header].concat()
}

/// Names without their NUL, and values, in the order given.
pub(crate) fn xattrs(xattrs: &[(&str, &[u8])]) -> Value {
    let pair = |(name, value): &(&str, &[u8])| {
        Value::Tuple(vec![bytes(format!("{name}\0")), bytes(value)])
    };
    array(1, xattrs.iter().map(pair).collect())
}

pub(crate) fn dirmeta(mode: u32, uid: u32, xattrs: Value) -> Vec<u8> {
    Value::Tuple(vec![u32_be(uid), u32_be(0), u32_be(mode), xattrs]).encode()
}

/// A directory in the order given.
pub(crate) fn dirtree(
    files: &[(&[u8], Checksum)],
    directories: &[(&[u8], Checksum, Checksum)],
) -> Vec<u8> {
    let files = files
        .iter()
        .map(|(name, file)| Value::Tuple(vec![text(name), bytes(file)]));
    let directories = directories
        .iter()
        .map(|(name, tree, meta)| Value::Tuple(vec![text(name), bytes(tree), bytes(meta)]));
    let lists = [array(1, files.collect()), array(1, directories.collect())];
    Value::Tuple(lists.into()).encode()
}

/// A commit with some metadata.
pub(crate) fn commit(tree: Checksum, meta: Checksum, metadata: &[(&str, Value, &str)]) -> Value {
    let entry = |(key, value, ty): &(&str, Value, &str)| {
        let variant = Value::Variant(Box::new(value.clone()), (*ty).into());
        Value::Tuple(vec![text(key), variant])
    };
    Value::Tuple(vec![
        array(8, metadata.iter().map(entry).collect()),
        bytes([]),
        array(1, Vec::new()),
        text("a subject"),
        text("a body"),
        u64_be(1_700_000_000),
        bytes(tree),
        bytes(meta),
    ])
}

impl Craft {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let craft = Self { directory };
        craft.write(
            "config",
            b"[core]\nrepo_version=1\nmode=archive-z2\n[remote \"origin\"]\ngpg-verify=false\n",
        );
        for name in ["objects", "refs/heads", "refs/remotes", "state", "tmp"] {
            fs::create_dir_all(craft.path().join(name)).unwrap();
        }
        craft
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn object_path(&self, checksum: Checksum, extension: &str) -> PathBuf {
        let hex = hex::encode(&checksum);
        let name = format!("objects/{}/{}.{extension}", &hex[..2], &hex[2..]);
        self.path().join(name)
    }

    /// Puts bytes where an object is expected.
    pub(crate) fn put_as(&self, checksum: Checksum, extension: &str, bytes: &[u8]) {
        let path = self.object_path(checksum, extension);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A metadata object under its right name.
    pub(crate) fn put(&self, extension: &str, bytes: &[u8]) -> Checksum {
        let checksum = Sha256::digest(bytes).into();
        self.put_as(checksum, extension, bytes);
        checksum
    }

    /// A content object under its right name.
    pub(crate) fn put_content(&self, content: &Content<'_>) -> Checksum {
        let checksum = content.checksum();
        self.put_as(checksum, "filez", &content.object());
        checksum
    }

    /// A directory of root's without xattrs.
    pub(crate) fn put_dirmeta(&self) -> Checksum {
        self.put("dirmeta", &dirmeta(0o040_755, 0, xattrs(&[])))
    }

    /// A commit of a root directory; gives its checksum in hex.
    pub(crate) fn put_commit(&self, tree: Checksum, meta: Checksum) -> String {
        let commit = commit(tree, meta, &[("version", text("1"), "s")]);
        hex::encode(&self.put("commit", &commit.encode()))
    }

    /// A commit of a root directory that has only this object as `file`.
    pub(crate) fn commit_file(&self, file: Checksum) -> String {
        self.commit_tree(&dirtree(&[(b"file", file)], &[]))
    }

    /// A commit of this root directory.
    pub(crate) fn commit_tree(&self, tree: &[u8]) -> String {
        let tree = self.put("dirtree", tree);
        self.put_commit(tree, self.put_dirmeta())
    }

    pub(crate) fn read(&self, rev: &str) -> Result<OstreeTree, OstreeError> {
        read(self.path(), rev, &Objects::default())
    }
}
