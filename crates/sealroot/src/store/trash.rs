// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trash: what was put aside stays there until a later operation empties it.

use std::io;

use sealroot_format::limits::MAX_PATH_BYTES;

use super::error::StoreError;
use super::files::{again, failed};
use super::io::{FileKind, OnTaken, StoreIo};
use super::path::{StoreDir, StorePath};
use super::{Store, Transaction};

/// Longest path of a directory that is emptied in its place, bytes: any name in it still fits. What
/// lies deeper is moved up first.
const MAX_PATH_IN_PLACE_BYTES: usize = MAX_PATH_BYTES / 2;

/// What emptying the trash has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emptied {
    /// Files that had no other name.
    pub files: u64,
    /// What they took on the disk, bytes.
    pub freed_bytes: u64,
    /// Names of files that have others.
    pub links: u64,
}

impl<I: StoreIo> Store<I> {
    /// Whether there is anything in the trash.
    pub(crate) fn has_trash(&self) -> Result<bool, StoreError> {
        let trash = StoreDir::Trash.path();
        let entries = again(|| self.io.list(&trash)).map_err(failed(&self.io, "list", &trash))?;
        Ok(!entries.is_empty())
    }
}

impl<I: StoreIo> Transaction<'_, I> {
    /// Removes all that is in the trash. Writes nothing before, so that it makes room on a disk that is
    /// full to the last block.
    pub(crate) fn empty_trash(&self) -> Result<Emptied, StoreError> {
        self.attempt(|| {
            let mut emptied = Emptied::default();
            // What lay too deep has been moved up, and is found the next time round.
            while self.store().has_trash()? {
                self.remove_all(&StoreDir::Trash.path(), &mut emptied)?;
            }
            self.dirty.add(StoreDir::Trash.path());
            Ok(emptied)
        })
    }

    fn remove_all(&self, directory: &StorePath, emptied: &mut Emptied) -> Result<(), StoreError> {
        let io = self.store().io();
        for entry in again(|| io.list(directory)).map_err(failed(io, "list", directory))? {
            let path = directory.join(&entry.name);
            let path = path.expect("moved up before it is too long");
            if entry.kind != FileKind::Directory {
                let usage = again(|| io.usage(&path)).map_err(failed(io, "look at", &path))?;
                again(|| io.remove_file(&path)).map_err(failed(io, "remove", &path))?;
                if usage.links > 1 {
                    emptied.links += 1;
                } else {
                    emptied.files += 1;
                    emptied.freed_bytes += usage.allocated_bytes;
                }
            } else if path.as_bytes().len() > MAX_PATH_IN_PLACE_BYTES {
                self.move_up(&path)?;
            } else {
                self.remove_all(&path, emptied)?;
                again(|| io.remove_directory(&path)).map_err(failed(io, "remove", &path))?;
            }
        }
        Ok(())
    }

    /// Moves a directory that lies deep in the trash to its top.
    fn move_up(&self, path: &StorePath) -> Result<(), StoreError> {
        let io = self.store().io();
        let mut number = 0_u64;
        loop {
            let top = StoreDir::Trash.join(format!("deep-{number}"));
            let top = top.expect("a short name");
            match again(|| io.rename(path, &top, OnTaken::Fail)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                result => return result.map_err(failed(io, "move up", path)),
            }
        }
    }

    /// A new directory in the trash, for what one operation puts aside.
    pub(crate) fn new_trash(&self) -> Result<StorePath, StoreError> {
        self.attempt(|| {
            self.mark()?;
            let io = self.store().io();
            let mut number = 0_u64;
            loop {
                let path = StoreDir::Trash.join(format!("pruned-{number}"));
                let path = path.expect("a short name");
                match again(|| io.create_directory(&path)) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                    result => {
                        result.map_err(failed(io, "create", &path))?;
                        self.dirty.add(StoreDir::Trash.path());
                        return Ok(path);
                    }
                }
            }
        })
    }

    /// Moves something into a directory of the trash, under its own name or, for an object, under
    /// that and the first digits. Whether it was there.
    pub(crate) fn put_aside(
        &self,
        trash: &StorePath,
        path: &StorePath,
    ) -> Result<bool, StoreError> {
        self.attempt(|| {
            let io = self.store().io();
            let (from, name) = path.split().expect("not the store itself");
            let to = trash.join(name).expect("a name that was there");
            match again(|| io.rename(path, &to, OnTaken::Fail)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                result => result.map_err(failed(io, "put aside", path))?,
            }
            self.dirty.add(from);
            self.dirty.add(trash.clone());
            Ok(true)
        })
    }
}
