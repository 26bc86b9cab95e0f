// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`StoreIo`](sealroot::store::StoreIo) and [`BootIo`](sealroot::entry::BootIo) in memory: every operation can fail, and the power can go at every operation.
//!
//! A [`MemoryDisk`] is a filesystem that tells what processes see from what is durable. A
//! [`MemoryIo`] is one process that uses it, with or without a [`Trouble`] ahead.
//! [`MemoryDisk::crash`] gives the disk that is found after a power cut.

mod boot;
mod crash;
mod disk;
mod keyring;
mod store;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use sealroot::store::{FileKind, LockKind, StorePath};
use sealroot_format::tree::Metadata;

pub use crash::WriteBack;
use disk::{Content, Disk, Inode, InodeId};
pub use keyring::{MemoryKeyring, OTHER_CERTIFICATE, good_signature};

/// Most bytes one write takes: longer ones are short writes.
const MAX_WRITE_BYTES: usize = 3000;

/// A filesystem in memory. Clones are the same filesystem; [`MemoryDisk::copy`] is another.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    /// An empty filesystem, with fs-verity or without.
    pub fn new(has_verity: bool) -> Self {
        Self::of(Disk::new(has_verity))
    }

    /// An empty filesystem without fs-verity whose files take at most so much.
    pub fn with_capacity(capacity_bytes: u64) -> Self {
        Self::of(Disk {
            capacity_bytes: Some(capacity_bytes),
            ..Disk::new(false)
        })
    }

    fn of(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Another filesystem with the same state, durable and not.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::of(self.disk().clone())
    }

    /// The filesystem as it is found after a power cut.
    #[must_use]
    pub fn crash(&self, order: WriteBack) -> Self {
        Self::of(crash::crash(&self.disk(), order))
    }

    /// A process that uses it.
    pub fn process(&self, trouble: Trouble) -> MemoryIo {
        MemoryIo {
            disk: self.clone(),
            trouble,
            calls: Arc::default(),
            intruder: None,
        }
    }

    /// A process that is not alone: before each of its operations, of which it is told the name,
    /// `intruder` does something to the disk.
    pub fn process_watched(
        &self,
        intruder: impl Fn(&'static str, &Self) + Send + Sync + 'static,
    ) -> MemoryIo {
        MemoryIo {
            intruder: Some(Arc::new(intruder)),
            ..self.process(Trouble::None)
        }
    }

    /// All files and their content as processes see them, by path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        let mut files = BTreeMap::new();
        let mut open = vec![(disk::ROOT, String::new())];
        while let Some((directory, path)) = open.pop() {
            for (name, inode) in disk.children(directory) {
                let path = format!("{path}/{}", name.escape_ascii());
                match &disk.inodes[inode] {
                    Inode::Directory => open.push((inode, path)),
                    Inode::File { now, .. } => {
                        files.insert(path, now.bytes.clone());
                    }
                }
            }
        }
        files
    }

    /// Puts a file without fs-verity in the place of whatever is there, durable.
    ///
    /// # Panics
    /// If the parent of its directory is not there.
    pub fn plant(&self, path: &StorePath, bytes: &[u8]) {
        let mut disk = self.disk();
        let content = Content {
            bytes: bytes.into(),
            verity: None,
            signature: None,
        };
        let inode = disk.add(Inode::File {
            now: content.clone(),
            durable: content,
            writers: 0,
        });
        if disk.remove(path, FileKind::Regular) == Err(Errno::NOENT)
            && let Some((directory, _)) = path.split()
            && disk.resolve(&directory).is_err()
        {
            disk.create_directory(&directory).expect("a parent");
        }
        disk.link(inode, path).expect("nothing has the name");
        disk.sync_all();
    }

    /// Whether it has fs-verity.
    pub fn has_verity(&self) -> bool {
        self.disk().has_verity
    }

    /// The kernel verifies built-in signatures from now on.
    pub fn set_keyring(&self, keyring: MemoryKeyring) {
        self.disk().keyring = Some(keyring);
    }

    /// Whether the file at a path has a built-in signature, durable.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn is_signed(&self, path: &StorePath) -> bool {
        let disk = self.disk();
        match &disk.inodes[disk.resolve(path).expect("it is there")] {
            Inode::File { durable, .. } => durable.signature.is_some(),
            Inode::Directory => panic!("{path} is no file"),
        }
    }

    /// Changes the content of a file and of all links to it, as a bad block does: what is measured stays.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn rot(&self, path: &StorePath) {
        let mut disk = self.disk();
        let inode = disk.resolve(path).expect("it is there");
        let Inode::File { now, durable, .. } = &mut disk.inodes[inode] else {
            panic!("{path} is no file");
        };
        for content in [now, durable] {
            content.bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
    }

    /// The owner, mode and so on that were set, by path.
    pub fn attributes(&self) -> BTreeMap<String, Metadata> {
        let disk = self.disk();
        let mut found = BTreeMap::new();
        let mut open = vec![(disk::ROOT, String::new())];
        while let Some((directory, path)) = open.pop() {
            for (name, inode) in disk.children(directory) {
                let path = format!("{path}/{}", name.escape_ascii());
                if matches!(disk.inodes[inode], Inode::Directory) {
                    open.push((inode, path.clone()));
                }
                if let Some((now, _)) = disk.attributes.get(&inode) {
                    found.insert(path, now.clone());
                }
            }
        }
        found
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What will go wrong for a process. Operations are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Operation `at` fails, once.
    FailsOnce {
        /// Which one.
        at: usize,
        /// How.
        errno: Errno,
    },
    /// Operation `at` and all later ones fail.
    FailsFrom {
        /// The first one.
        at: usize,
        /// How.
        errno: Errno,
    },
    /// The process is killed before its `at`th operation that changes something: that one and
    /// all later ones fail and do nothing.
    KilledAtChange {
        /// Which one.
        at: usize,
    },
}

/// What a process has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All operations.
    pub all: usize,
    /// Those that change something, syncs included.
    pub changes: usize,
    /// How often each.
    pub by_name: BTreeMap<&'static str, usize>,
}

impl Calls {
    /// How often one operation was called.
    pub fn of(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or_default()
    }
}

/// Counts what a process does.
#[derive(Clone, Debug)]
pub struct CallCounter(Arc<Mutex<Calls>>);

impl CallCounter {
    /// What has been done so far.
    pub fn get(&self) -> Calls {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.clone()
    }
}

type Intruder = Arc<dyn Fn(&'static str, &MemoryDisk) + Send + Sync>;

/// One process that uses a [`MemoryDisk`]. Clones are the same process.
#[derive(Clone)]
pub struct MemoryIo {
    disk: MemoryDisk,
    trouble: Trouble,
    calls: Arc<Mutex<Calls>>,
    intruder: Option<Intruder>,
}

impl fmt::Debug for MemoryIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryIo")
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Changes,
}

impl MemoryIo {
    /// To ask what has been done when the process itself is gone.
    pub fn calls(&self) -> CallCounter {
        CallCounter(Arc::clone(&self.calls))
    }

    fn count(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, or fails it.
    fn step(&self, name: &'static str, effect: Effect) -> Result<MutexGuard<'_, Disk>, Errno> {
        if let Some(intruder) = &self.intruder {
            intruder(name, &self.disk);
        }
        let mut calls = self.count();
        let (this, this_change) = (calls.all, calls.changes);
        calls.all += 1;
        calls.changes += usize::from(effect == Effect::Changes);
        *calls.by_name.entry(name).or_default() += 1;
        match self.trouble {
            Trouble::FailsOnce { at, errno } if this == at => Err(errno),
            Trouble::FailsFrom { at, errno } if this >= at => Err(errno),
            Trouble::KilledAtChange { at }
                if this_change > at || this_change == at && effect == Effect::Changes =>
            {
                Err(Errno::SHUTDOWN)
            }
            _ => Ok(self.disk.disk()),
        }
    }

    fn handle(&self, inode: InodeId, is_writer: bool) -> MemoryFile {
        MemoryFile {
            disk: self.disk.clone(),
            inode,
            is_writer,
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    inode: InodeId,
    is_writer: bool,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.is_writer
            && let Inode::File { writers, .. } = &mut self.disk.disk().inodes[self.inode]
        {
            *writers = writers.saturating_sub(1);
        }
    }
}

/// A lock.
#[derive(Debug)]
pub struct MemoryLock {
    disk: MemoryDisk,
    kind: LockKind,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut disk = self.disk.disk();
        match self.kind {
            LockKind::Shared => disk.shared_locks -= 1,
            LockKind::Exclusive => disk.is_locked = false,
        }
    }
}
