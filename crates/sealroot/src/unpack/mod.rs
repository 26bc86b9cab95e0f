// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree written out as plain files, with everything it says about them.
//!
//! What is written belongs to root alone until it is complete, and is never reached through a
//! symlink. A new directory appears with all that is in it, durable, or not at all; one that was
//! there, and empty, is empty again after an error.
//!
//! Of what a tree can say, a filesystem of Linux may have no room for the permissions of a symlink
//! and for times outside its range: they are then what the filesystem makes of them.

mod error;
mod node;
mod place;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Tree};

use crate::monitor::{Monitor, Unit};
use crate::store::{Store, StoreError, StoredFile};

pub use error::UnpackError;
use node::{Call, Failure, Nodes};
use place::Place;

/// How much of an object is in memory at a time, bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// The parts of a file that become holes where they are zero, bytes.
const HOLE_BYTES: usize = 64 * 1024;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Files of all kinds and directories, the root among them.
    pub entries: u64,
    /// The content of all files.
    pub content_bytes: u64,
}

/// Writes `tree` into `directory`, which must be empty or not there yet. Large files are taken from
/// the objects of `store`, each hashed on the way.
///
/// Needs root rights. Whether all objects are there is found out before anything is written.
pub fn unpack(
    tree: &Tree,
    store: Option<&Store>,
    directory: &Path,
    monitor: &dyn Monitor,
) -> Result<Unpacked, UnpackError> {
    let uid = rustix::process::geteuid();
    if !uid.is_root() {
        return Err(UnpackError::NotRoot {
            directory: directory.into(),
            uid: uid.as_raw(),
        });
    }
    check_tree(tree, store)?;
    let content_bytes = tree.inodes().map(|(_, inode)| size_bytes(inode)).sum();
    monitor.start("unpacking", Unit::Bytes, Some(content_bytes));
    let place = Place::open(directory)?;
    let mut writer = Writer {
        tree,
        store,
        nodes: Nodes::new(place.root()),
        place: &place,
        content_bytes,
        monitor,
    };
    match writer.write().and_then(|()| place.finish()) {
        Ok(()) => Ok(Unpacked {
            entries: tree.len() as u64,
            content_bytes,
        }),
        Err(error) => {
            place.clear(monitor);
            Err(error)
        }
    }
}

/// Writes `bytes`, leaving holes for long runs of zeros.
fn write_sparse(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for part in bytes.chunks(HOLE_BYTES) {
        if part.iter().all(|byte| *byte == 0) {
            file.seek_relative(part.len().try_into().unwrap_or(i64::MAX))?;
        } else {
            file.write_all(part)?;
        }
    }
    Ok(())
}

fn size_bytes(inode: &Inode) -> u64 {
    match &inode.kind {
        Kind::Regular(content) => content.size_bytes(),
        _ => 0,
    }
}

/// Refuses what can be known to fail.
fn check_tree(tree: &Tree, store: Option<&Store>) -> Result<(), UnpackError> {
    let mut seen = HashSet::new();
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        let inode = tree.inode(id);
        let metadata = &inode.metadata;
        for (what, id) in [("owner", metadata.uid), ("group", metadata.gid)] {
            // chown(2) takes it for "leave it as it is".
            if id == u32::MAX {
                let path = path.escape_ascii().to_string();
                return Err(UnpackError::Owner { path, what, id });
            }
        }
        if let Kind::Regular(FileContent::External { digest, size_bytes }) = &inode.kind
            && seen.insert(digest)
        {
            open_object(store, path, digest, *size_bytes)?;
        }
    }
    Ok(())
}

fn open_object<'s>(
    store: Option<&'s Store>,
    path: &[u8],
    digest: &VerityDigest,
    size_bytes: u64,
) -> Result<StoredFile<'s>, UnpackError> {
    let store = store.ok_or_else(|| UnpackError::NoStore {
        path: path.escape_ascii().to_string(),
        digest: *digest,
    })?;
    let opened = store.open_object(digest, size_bytes);
    opened.map_err(|source| object_error(path, source))
}

fn object_error(path: &[u8], source: StoreError) -> UnpackError {
    UnpackError::Object {
        path: path.escape_ascii().to_string(),
        source,
    }
}

struct Writer<'u> {
    tree: &'u Tree,
    store: Option<&'u Store>,
    nodes: Nodes<'u>,
    place: &'u Place,
    content_bytes: u64,
    monitor: &'u dyn Monitor,
}

impl Writer<'_> {
    fn write(&mut self) -> Result<(), UnpackError> {
        let tree = self.tree;
        // Of inodes with several names the path of the first.
        let mut first_paths: Vec<Option<Box<[u8]>>> = vec![None; tree.len()];
        let mut directories: Vec<(Box<[u8]>, InodeId)> = Vec::new();
        let mut walk = tree.walk();
        while let Some((path, id)) = walk.next() {
            let inode = tree.inode(id);
            if inode.as_directory().is_some() {
                directories.push((path.into(), id));
                if id != InodeId::ROOT {
                    let made = self.nodes.make_directory(path);
                    made.map_err(|failure| self.failed(path, failure))?;
                }
                continue;
            }
            let first = first_paths.get_mut(id.index());
            if let Some(Some(first)) = &first {
                let linked = self.nodes.link(first, path);
                linked.map_err(|failure| self.failed(path, failure))?;
                continue;
            }
            if let Some(first) = first.filter(|_| inode.name_count() > 1) {
                *first = Some(path.into());
            }
            self.entry(path, inode)?;
        }
        // Last, since making files in a directory changes its time and may inherit its ACL.
        for (path, id) in directories.iter().rev() {
            let set = self.nodes.set_directory(path, &tree.inode(*id).metadata);
            set.map_err(|failure| self.failed(path, failure))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], inode: &Inode) -> Result<(), UnpackError> {
        let Kind::Regular(content) = &inode.kind else {
            let made = self.nodes.make_special(path, inode);
            return made.map_err(|failure| self.failed(path, failure));
        };
        let created = self.nodes.create_file(path);
        let mut file = File::from(created.map_err(|failure| self.failed(path, failure))?);
        match content {
            FileContent::Inline(content) => {
                let bytes = content.read().call("read the content of");
                let written = bytes.and_then(|bytes| file.write_all(&bytes).call("write"));
                written.map_err(|failure| self.failed(path, failure))?;
                self.monitor.advance(content.size_bytes());
            }
            FileContent::External { digest, size_bytes } => {
                let object = open_object(self.store, path, digest, *size_bytes)?;
                self.copy(path, &object, *digest, &mut file)?;
            }
        }
        node::set(&file, &inode.metadata).map_err(|failure| self.failed(path, failure))
    }

    fn copy(
        &self,
        path: &[u8],
        object: &StoredFile<'_>,
        expected: VerityDigest,
        file: &mut File,
    ) -> Result<(), UnpackError> {
        let mut reader = object.reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut hasher = VerityHasher::new();
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(read) => read,
                Err(error) => return Err(object_error(path, object.unreadable(error))),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            let written = write_sparse(file, bytes).call("write");
            written.map_err(|failure| self.failed(path, failure))?;
            self.monitor.advance(bytes.len() as u64);
        }
        // A hole at the end has no byte that was written.
        let sized = file.set_len(object.size_bytes()).call("write");
        sized.map_err(|failure| self.failed(path, failure))?;
        let found = hasher.finish();
        if found == expected {
            return Ok(());
        }
        Err(object_error(
            path,
            object.with_other_content(expected, found),
        ))
    }

    fn failed(&self, path: &[u8], failure: Failure) -> UnpackError {
        failure.at(self.place.path_of(path), self.content_bytes)
    }
}
