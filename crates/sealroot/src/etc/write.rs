// SPDX-License-Identifier: MIT OR Apache-2.0
//! A merged `/etc` written into a store, complete before it has its name.

use std::collections::HashMap;
use std::io;

use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_format::tree::{FileContent, InlineContent, Inode, InodeId, Kind, Tree};

use super::current::Current;
use super::error::{EtcError, text_of};
use crate::monitor::{Monitor, Unit};
use crate::store::{
    Store, StoreDir, StoreError, StoreIo, StorePath, Transaction, again, failed, full_path,
    write_all,
};

/// How much of a file is in memory at a time, bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Where an `/etc` is put together. There is one at a time: the store is locked.
const UNDER_CONSTRUCTION: &str = "etc";

/// Writes a tree into the store's `tmp/`, durable. Large files are taken from the present `/etc` or
/// from the objects of the store.
pub(super) fn write<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    tree: &Tree,
    current: &Current,
) -> Result<StorePath, EtcError> {
    let root = StoreDir::Tmp
        .join(UNDER_CONSTRUCTION)
        .expect("a valid name");
    transaction.mark()?;
    let mut writer = Writer {
        store: transaction.store(),
        monitor: transaction.monitor(),
        tree,
        current,
        root: root.clone(),
    };
    let total = tree.len() as u64;
    writer
        .monitor
        .start("writing /etc", Unit::Items, Some(total));
    writer.write()?;
    writer.store.sync_all()?;
    Ok(root)
}

struct Writer<'w, I: StoreIo> {
    store: &'w Store<I>,
    monitor: &'w dyn Monitor,
    tree: &'w Tree,
    current: &'w Current,
    root: StorePath,
}

impl<I: StoreIo> Writer<'_, I> {
    fn write(&mut self) -> Result<(), EtcError> {
        let (tree, io) = (self.tree, self.store.io());
        // Of inodes with several names the path of the first.
        let mut first_paths: HashMap<InodeId, StorePath> = HashMap::new();
        let mut directories = Vec::new();
        let mut walk = tree.walk();
        while let Some((path, id)) = walk.next() {
            let inode = tree.inode(id);
            let there = self.path_of(path)?;
            self.monitor.advance(1);
            if let Some(first) = first_paths.get(&id) {
                let (file, _) = again(|| io.open(first)).map_err(failed(io, "open", first))?;
                again(|| io.link(&file, &there)).map_err(failed(io, "create", &there))?;
                continue;
            }
            match &inode.kind {
                Kind::Directory(_) => {
                    let made = again(|| io.create_directory(&there));
                    made.map_err(failed(io, "create", &there))?;
                    directories.push((there, id));
                    continue;
                }
                Kind::Regular(content) => self.file(path, &there, content)?,
                Kind::Symlink(target) => {
                    let made = again(|| io.create_symlink(&there, target));
                    made.map_err(failed(io, "create", &there))?;
                }
                // Not carried over, so not in a merged tree.
                _ => continue,
            }
            self.set_attributes(&there, inode)?;
            // A symlink with several names becomes several: it has no handle to link.
            if inode.name_count() > 1 && matches!(inode.kind, Kind::Regular(_)) {
                first_paths.insert(id, there);
            }
        }
        // Last, since making files in a directory changes its time.
        for (path, id) in directories.iter().rev() {
            self.set_attributes(path, tree.inode(*id))?;
        }
        Ok(())
    }

    fn path_of(&self, path: &[u8]) -> Result<StorePath, EtcError> {
        let names = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty());
        let joined = names
            .into_iter()
            .try_fold(self.root.clone(), |path, name| path.join(name));
        joined.ok_or_else(|| EtcError::TooLong {
            path: text_of(path),
        })
    }

    fn set_attributes(&self, path: &StorePath, inode: &Inode) -> Result<(), EtcError> {
        let io = self.store.io();
        let set = again(|| io.set_attributes(path, &inode.metadata));
        Ok(set.map_err(failed(io, "set the attributes of", path))?)
    }

    fn file(&self, path: &[u8], there: &StorePath, content: &FileContent) -> Result<(), EtcError> {
        let io = self.store.io();
        let tmp = StoreDir::Tmp.path();
        let file = again(|| io.create_unnamed(&tmp)).map_err(failed(io, "create", there))?;
        let mut write = |bytes: &[u8]| -> Result<(), StoreError> {
            write_all(bytes, |part| io.write(&file, part)).map_err(failed(io, "write", there))
        };
        match content {
            FileContent::Inline(inline) => copy_inline(path, inline, &mut write)?,
            FileContent::External { digest, size_bytes } => match self.current.large(digest) {
                Some(local) => copy_inline(path, local, &mut write)?,
                None => self.copy_object(*digest, *size_bytes, &mut write)?,
            },
        }
        Ok(again(|| io.link(&file, there)).map_err(failed(io, "create", there))?)
    }

    /// Copies an object, hashed on the way.
    fn copy_object(
        &self,
        digest: VerityDigest,
        size_bytes: u64,
        write: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), EtcError> {
        let object = self.store.open_object(&digest, size_bytes)?;
        let mut reader = object.reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut hasher = VerityHasher::new();
        loop {
            let read = io::Read::read(&mut reader, &mut buffer);
            let read = read.map_err(|error| object.unreadable(error))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            write(bytes)?;
        }
        let found = hasher.finish();
        if found == digest {
            return Ok(());
        }
        Err(object.with_other_content(digest, found).into())
    }
}

fn copy_inline(
    path: &[u8],
    content: &InlineContent,
    write: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), EtcError> {
    let unreadable = |source| EtcError::Content {
        path: text_of(path),
        source,
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = 0;
    while at < content.size_bytes() {
        let left = usize::try_from(content.size_bytes() - at).unwrap_or(usize::MAX);
        let part = buffer.get_mut(..left.min(BUFFER_BYTES)).unwrap_or_default();
        content.read_exact_at(part, at).map_err(unreadable)?;
        write(part)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Where a deployment's own `/etc` is, for messages.
pub(super) fn location<I: StoreIo>(store: &Store<I>, path: &StorePath) -> std::path::PathBuf {
    full_path(store.io(), path)
}
