// SPDX-License-Identifier: MIT OR Apache-2.0
//! A filesystem in memory that knows what of it would survive a power cut.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use sealroot::store::{DirEntry, FileKind, StorePath};
use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Metadata;

use super::keyring::MemoryKeyring;

pub(super) type InodeId = usize;

/// A name in a directory.
pub(super) type Key = (InodeId, Box<[u8]>);

pub(super) const ROOT: InodeId = 0;

/// What every file and directory takes a multiple of.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// What a regular file is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) verity: Option<VerityDigest>,
    /// The built-in signature that this was enabled with.
    pub(super) signature: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) enum Inode {
    Directory,
    File {
        /// What a process sees.
        now: Content,
        /// What was synced; a file that never was is empty.
        durable: Content,
        /// Descriptors open for writing.
        writers: usize,
    },
}

/// One atomic change of names: what each names from then on.
pub(super) type NameChange = Vec<(Key, Option<InodeId>)>;

/// The filesystem: all inodes, the names processes see, the names that are durable, and the
/// changes in between, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<Key, InodeId>,
    pub(super) durable_names: BTreeMap<Key, InodeId>,
    pub(super) pending: Vec<NameChange>,
    pub(super) has_verity: bool,
    /// What the kernel does with built-in signatures, if it verifies any.
    pub(super) keyring: Option<MemoryKeyring>,
    /// Those of the inodes of files that are symlinks; their content is the target.
    pub(super) symlinks: BTreeSet<InodeId>,
    /// Owner, mode and so on, where they were set, as a process sees them and as they are durable.
    pub(super) attributes: BTreeMap<InodeId, (Metadata, Option<Metadata>)>,
    /// Files of the host's filesystem that are taken to be of this one, by device and inode.
    pub(super) foreign: BTreeMap<(u64, u64), InodeId>,
    /// Holders of the lock: that many who share it, or one who does not.
    pub(super) shared_locks: usize,
    pub(super) is_locked: bool,
    /// Bytes that all files together may have, in whole blocks; a boot partition is small.
    pub(super) capacity_bytes: Option<u64>,
    /// The firmware's variables of the same machine: each change of one is durable at once.
    pub(super) variables: BTreeMap<String, Vec<u8>>,
}

type Result<T> = std::result::Result<T, Errno>;

impl Disk {
    pub(super) fn new(has_verity: bool) -> Self {
        Self {
            inodes: vec![Inode::Directory],
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            has_verity,
            keyring: None,
            symlinks: BTreeSet::new(),
            attributes: BTreeMap::new(),
            foreign: BTreeMap::new(),
            shared_locks: 0,
            is_locked: false,
            capacity_bytes: None,
            variables: BTreeMap::new(),
        }
    }

    /// What can still be written, in whole blocks. What no path leads to takes no space.
    pub(super) fn available_bytes(&self) -> u64 {
        let mut taken_bytes = 0;
        let mut open = vec![ROOT];
        while let Some(directory) = open.pop() {
            for (_, inode) in self.children(directory) {
                taken_bytes += match &self.inodes[inode] {
                    Inode::Directory => {
                        open.push(inode);
                        BLOCK_BYTES
                    }
                    Inode::File { now, .. } => {
                        (now.bytes.len() as u64).next_multiple_of(BLOCK_BYTES)
                    }
                };
            }
        }
        let capacity_bytes = self.capacity_bytes.unwrap_or(1 << 40);
        capacity_bytes.saturating_sub(taken_bytes)
    }

    pub(super) fn kind(&self, inode: InodeId) -> FileKind {
        match self.inodes[inode] {
            Inode::Directory => FileKind::Directory,
            Inode::File { .. } if self.symlinks.contains(&inode) => FileKind::Symlink,
            Inode::File { .. } => FileKind::Regular,
        }
    }

    /// What a path names.
    pub(super) fn resolve(&self, path: &StorePath) -> Result<InodeId> {
        let Some(key) = self.key(path)? else {
            return Ok(ROOT);
        };
        self.names.get(&key).copied().ok_or(Errno::NOENT)
    }

    /// Directory and name of a path; `None` for the root.
    fn key(&self, path: &StorePath) -> Result<Option<Key>> {
        let Some((parent, name)) = path.split() else {
            return Ok(None);
        };
        let parent = self.resolve(&parent)?;
        match self.inodes[parent] {
            Inode::Directory => Ok(Some((parent, name.into()))),
            Inode::File { .. } => Err(Errno::NOTDIR),
        }
    }

    fn free_key(&self, path: &StorePath) -> Result<Key> {
        let key = self.key(path)?.ok_or(Errno::EXIST)?;
        if self.names.contains_key(&key) {
            return Err(Errno::EXIST);
        }
        Ok(key)
    }

    fn taken_key(&self, path: &StorePath) -> Result<(Key, InodeId)> {
        let key = self.key(path)?.ok_or(Errno::BUSY)?;
        let inode = self.names.get(&key).copied().ok_or(Errno::NOENT)?;
        Ok((key, inode))
    }

    pub(super) fn list(&self, directory: &StorePath) -> Result<Vec<DirEntry>> {
        let inode = self.resolve(directory)?;
        if self.kind(inode) != FileKind::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(self
            .children(inode)
            .map(|(name, child)| DirEntry {
                name: name.into(),
                kind: self.kind(child),
            })
            .collect())
    }

    pub(super) fn children(&self, inode: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
        (self.names.range((inode, Box::default())..))
            .take_while(move |((directory, _), _)| *directory == inode)
            .map(|((_, name), child)| (&**name, *child))
    }

    pub(super) fn add(&mut self, inode: Inode) -> InodeId {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    /// Changes names as processes see them.
    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }

    pub(super) fn link(&mut self, inode: InodeId, path: &StorePath) -> Result<()> {
        let key = self.free_key(path)?;
        self.change(vec![(key, Some(inode))]);
        Ok(())
    }

    pub(super) fn create_directory(&mut self, path: &StorePath) -> Result<()> {
        let key = self.free_key(path)?;
        let inode = self.add(Inode::Directory);
        self.change(vec![(key, Some(inode))]);
        Ok(())
    }

    /// A symlink, whose target is there as soon as its name.
    pub(super) fn create_symlink(&mut self, path: &StorePath, target: &[u8]) -> Result<()> {
        let key = self.free_key(path)?;
        let content = Content {
            bytes: target.into(),
            verity: None,
            signature: None,
        };
        let inode = self.add(Inode::File {
            now: content.clone(),
            durable: content,
            writers: 0,
        });
        self.symlinks.insert(inode);
        self.change(vec![(key, Some(inode))]);
        Ok(())
    }

    pub(super) fn set_attributes(&mut self, path: &StorePath, metadata: &Metadata) -> Result<()> {
        let inode = self.resolve(path)?;
        let now = metadata.clone();
        match self.attributes.get_mut(&inode) {
            Some(attributes) => attributes.0 = now,
            None => {
                self.attributes.insert(inode, (now, None));
            }
        }
        Ok(())
    }

    pub(super) fn exchange(&mut self, one: &StorePath, other: &StorePath) -> Result<()> {
        let (one, first) = self.taken_key(one)?;
        let (other, second) = self.taken_key(other)?;
        self.change(vec![(one, Some(second)), (other, Some(first))]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &StorePath, to: &StorePath, replace: bool) -> Result<()> {
        let (from, inode) = self.taken_key(from)?;
        let to = self.key(to)?.ok_or(Errno::BUSY)?;
        if let Some(taken) = self.names.get(&to) {
            if !replace {
                return Err(Errno::EXIST);
            }
            if self.kind(*taken) == FileKind::Directory {
                return Err(Errno::ISDIR);
            }
        }
        self.change(vec![(from, None), (to, Some(inode))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &StorePath, kind: FileKind) -> Result<()> {
        let (key, inode) = self.taken_key(path)?;
        match (kind, self.kind(inode)) {
            (FileKind::Directory, FileKind::Regular) => return Err(Errno::NOTDIR),
            (FileKind::Regular, FileKind::Directory) => return Err(Errno::ISDIR),
            _ => {}
        }
        if self.children(inode).next().is_some() {
            return Err(Errno::NOTEMPTY);
        }
        self.change(vec![(key, None)]);
        Ok(())
    }

    pub(super) fn sync_file(&mut self, inode: InodeId) {
        if let Inode::File { now, durable, .. } = &mut self.inodes[inode] {
            durable.clone_from(now);
        }
        if let Some((now, durable)) = self.attributes.get_mut(&inode) {
            *durable = Some(now.clone());
        }
    }

    /// Makes the changes in one directory durable, and whatever these depend on.
    pub(super) fn sync_directory(&mut self, path: &StorePath) -> Result<()> {
        let directory = self.resolve(path)?;
        let wanted: Vec<bool> = (self.pending.iter())
            .map(|change| change.iter().any(|((parent, _), _)| *parent == directory))
            .collect();
        self.make_names_durable(&wanted);
        Ok(())
    }

    pub(super) fn sync_all(&mut self) {
        for inode in 0..self.inodes.len() {
            self.sync_file(inode);
        }
        self.make_names_durable(&vec![true; self.pending.len()]);
    }

    /// Makes some of the pending changes durable: the wanted ones, and before each of them the
    /// older ones of the same names.
    pub(super) fn make_names_durable(&mut self, wanted: &[bool]) {
        let mut wanted = wanted.to_vec();
        for later in (0..wanted.len()).rev() {
            for earlier in 0..later {
                let share = |(key, _): &(Key, _)| self.pending[later].iter().any(|(k, _)| k == key);
                if wanted[later] && self.pending[earlier].iter().any(share) {
                    wanted[earlier] = true;
                }
            }
        }
        let pending = std::mem::take(&mut self.pending);
        for (change, is_wanted) in pending.into_iter().zip(wanted) {
            if is_wanted {
                apply(&mut self.durable_names, &change);
            } else {
                self.pending.push(change);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<Key, InodeId>, change: &NameChange) {
    for (key, inode) in change {
        match inode {
            Some(inode) => names.insert(key.clone(), *inode),
            None => names.remove(key),
        };
    }
}
