// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote/`: what is known of where releases come from, and what of them has come so far
//! (docs/format/store.md 11). Both are only bytes here.

use std::fs::File;
use std::io;

use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits::MAX_REMOTE_BYTES;
use sealroot_format::sign::Name;

use super::error::StoreError;
use super::files::{again, failed, full_path};
use super::io::{FileKind, StoreIo};
use super::path::{StorePath, known};
use super::{KernelIo, Store, Transaction};

/// Its name in a store.
pub const REMOTE_NAME: &str = "remote";

fn directory() -> StorePath {
    known(REMOTE_NAME)
}

fn path_of(remote: &Name) -> StorePath {
    known(&format!("{REMOTE_NAME}/{remote}.toml"))
}

fn part_path(head: &Sha256Digest) -> StorePath {
    known(&format!("{REMOTE_NAME}/{head}.part"))
}

/// What has a name in `remote/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RemoteEntry {
    /// What is known of a remote.
    Remote(Name),
    /// What has come of a file.
    Part(Sha256Digest),
}

impl RemoteEntry {
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        match name.strip_suffix(".part") {
            Some(head) => Sha256Digest::from_hex(head).map(Self::Part),
            None => name.strip_suffix(".toml")?.parse().ok().map(Self::Remote),
        }
    }
}

impl<I: StoreIo> Store<I> {
    /// What is known of a remote; `None` if there is none of that name. The bytes are not verified.
    pub fn read_remote(&self, remote: &Name) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_small(&path_of(remote), MAX_REMOTE_BYTES)
    }

    /// The remotes there are, sorted.
    pub fn list_remotes(&self) -> Result<Vec<Name>, StoreError> {
        self.list_remote_directory(|entry| match entry {
            RemoteEntry::Remote(name) => Some(name),
            RemoteEntry::Part(_) => None,
        })
    }

    fn list_remote_directory<T>(
        &self,
        pick: impl Fn(RemoteEntry) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let path = directory();
        match again(|| self.io.list(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => {
                let entries = listed.map_err(failed(&self.io, "list", &path))?;
                let parsed = entries.iter().map(|entry| RemoteEntry::parse(&entry.name));
                Ok(parsed.flatten().filter_map(pick).collect())
            }
        }
    }
}

impl<I: StoreIo> Transaction<'_, I> {
    /// Notes what is known of a remote, in the place of what was known, at once and whole.
    pub fn write_remote(&self, remote: &Name, bytes: &[u8]) -> Result<(), StoreError> {
        let path = path_of(remote);
        if bytes.len() as u64 > MAX_REMOTE_BYTES {
            return Err(StoreError::TooLarge {
                path: full_path(self.store().io(), &path),
                found_bytes: bytes.len() as u64,
                max_bytes: MAX_REMOTE_BYTES,
            });
        }
        self.attempt(|| {
            self.mark()?;
            self.make_remote_directory()?;
            self.replace_small(&path, bytes)
        })
    }

    /// Forgets a remote; whether there was one.
    pub fn remove_remote(&self, remote: &Name) -> Result<bool, StoreError> {
        self.attempt(|| {
            self.mark()?;
            self.remove_small(&path_of(remote))
        })
    }

    fn make_remote_directory(&self) -> Result<(), StoreError> {
        let io = self.store().io();
        let path = directory();
        match again(|| io.create_directory(&path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(failed(io, "create", &path))?,
        }
        // Also where it is there: who keeps a part makes it without the lock, and not durable.
        self.dirty.add(StorePath::root());
        Ok(())
    }
}

/// What has come of files so far: nothing in a store relies on it, and whoever goes on with it checks
/// it from its beginning.
impl Store<KernelIo> {
    /// Opens what has come of the file with this head, to read and go on; it is made if need be.
    /// Nobody else has it meanwhile.
    pub fn open_part(&self, head: &Sha256Digest) -> Result<File, StoreError> {
        let (io, path) = (&self.io, part_path(head));
        let opened = match again(|| io.open_to_change(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = again(|| io.create_directory(&directory()));
                made.map_err(failed(io, "create", &directory()))?;
                again(|| io.open_to_change(&path))
            }
            opened => opened,
        };
        let file = opened.map_err(failed(io, "open", &path))?;
        if !again(|| file.metadata())
            .map_err(failed(io, "look at", &path))?
            .is_file()
        {
            return Err(StoreError::NotRegular {
                path: full_path(io, &path),
                found: FileKind::Special,
            });
        }
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Busy {
                lock: full_path(io, &path),
                waited_ms: 0,
            }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(io, "lock", &path)(error)),
        }
    }

    /// Forgets what has come of a file.
    pub fn remove_part(&self, head: &Sha256Digest) -> Result<(), StoreError> {
        let (io, path) = (&self.io, part_path(head));
        match again(|| io.remove_file(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed(io, "remove", &path)),
        }
    }

    /// How many bytes have come of a file, unless somebody goes on with it now.
    pub fn part_bytes(&self, head: &Sha256Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.idle_part(head)?.map(|(_, bytes)| bytes))
    }

    /// Like [`Store::remove_part`], unless somebody goes on with it now; how many bytes had come.
    pub fn remove_idle_part(&self, head: &Sha256Digest) -> Result<Option<u64>, StoreError> {
        let Some((_locked, bytes)) = self.idle_part(head)? else {
            return Ok(None);
        };
        self.remove_part(head)?;
        Ok(Some(bytes))
    }

    fn idle_part(&self, head: &Sha256Digest) -> Result<Option<(File, u64)>, StoreError> {
        let part = match self.open_part(head) {
            Err(StoreError::Busy { .. }) => return Ok(None),
            opened => opened?,
        };
        let looked = again(|| part.metadata());
        let stat = looked.map_err(failed(&self.io, "look at", &part_path(head)))?;
        Ok(Some((part, stat.len())))
    }

    /// The files of which something has come.
    pub fn list_parts(&self) -> Result<Vec<Sha256Digest>, StoreError> {
        self.list_remote_directory(|entry| match entry {
            RemoteEntry::Part(head) => Some(head),
            RemoteEntry::Remote(_) => None,
        })
    }

    /// A file without a name to read and write, on the filesystem of the store.
    pub fn create_scratch(&self) -> io::Result<File> {
        self.io.create_scratch()
    }
}
