// SPDX-License-Identifier: MIT OR Apache-2.0
//! Complete files get their names, and take the place of what is wrong (docs/format/store.md O5).

use std::io;

use rustix::io::Errno;

use super::Transaction;
use super::durable::{FEW, held};
use super::error::StoreError;
use super::files::{again, failed, full_path};
use super::io::{OnTaken, StoreIo};
use super::path::{StoreDir, StorePath, known};
use super::presence::Presence;
use super::staged::{Staged, Target};

impl<I: StoreIo> Transaction<'_, I> {
    /// Has what is at a path not count, whatever it measures: its content was read, and is not right.
    /// What comes takes its place.
    pub(crate) fn distrust(&self, path: StorePath) {
        held(&self.distrusted).insert(path);
    }

    /// See [`Transaction::distrust`].
    pub(crate) fn is_distrusted(&self, path: &StorePath) -> bool {
        held(&self.distrusted).contains(path)
    }

    /// Gives a file, which is right and durable, a name in place of whatever has it; whether the
    /// filesystem allowed one more link.
    pub(crate) fn put_in_place(
        &self,
        file: &I::File,
        path: &StorePath,
    ) -> Result<bool, StoreError> {
        self.attempt(|| {
            self.mark()?;
            match self.give_name(file, path, &mut || self.exchange(file, path)) {
                Err(StoreError::Io { source, .. })
                    if Errno::from_io_error(&source) == Some(Errno::MLINK) =>
                {
                    Ok(false)
                }
                result => result.map(|()| true),
            }
        })
    }

    /// Puts what is wrong, and nothing takes the place of, into the trash.
    pub(crate) fn put_away(&self, path: &StorePath) -> Result<(), StoreError> {
        self.attempt(|| {
            self.mark()?;
            self.store().move_to_trash(path)?;
            let (directory, _) = path.split().expect("not the store itself");
            self.dirty.add(directory);
            self.dirty.add(StoreDir::Trash.path());
            Ok(())
        })
    }

    /// Makes complete files durable, all of them, and then gives each its name.
    pub(super) fn make_durable_and_link(
        &self,
        files: &[Staged<I::File>],
    ) -> Result<(), StoreError> {
        let store = self.store();
        if files.len() <= FEW {
            for Staged { file, target, .. } in files {
                let synced = again(|| store.io().sync_file(file));
                synced.map_err(failed(store.io(), "sync", &target.path))?;
            }
        } else {
            store.sync_all()?;
        }
        files.iter().try_for_each(|staged| self.place(staged))
    }

    /// Gives a durable file its name. Where the name is taken, what has it is looked at: the
    /// right thing stays, anything else goes to the trash (store.md O3, O5, O8).
    fn place(&self, staged: &Staged<I::File>) -> Result<(), StoreError> {
        let Staged {
            file,
            aside,
            target,
        } = staged;
        let path = &target.path;
        if self.is_distrusted(path) {
            self.give_name(file, path, &mut || self.exchange(file, path))?;
            held(&self.distrusted).remove(path);
        } else {
            self.give_name(file, path, &mut || self.keep_or_clear(target))?;
        }
        aside
            .iter()
            .try_for_each(|aside| self.store().drop_aside(aside))
    }

    /// Gives a file a name. Where it is taken, `when_taken` is asked: whether nothing is left to be done.
    fn give_name(
        &self,
        file: &I::File,
        path: &StorePath,
        when_taken: &mut dyn FnMut() -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let store = self.store();
        let io = store.io();
        let (directory, _) = path.split().expect("no name is that of the store itself");
        // Once for a missing directory, once for a wrong file, once for luck.
        let mut attempts = 3;
        loop {
            attempts -= 1;
            match again(|| io.link(file, path)) {
                Ok(()) => {
                    self.dirty.add(directory);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts > 0 => {
                    store.create_directory(&directory, &self.dirty)?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {
                    if when_taken()? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(failed(io, "create", path)(error)),
            }
        }
    }

    /// Whether what has a name is the right thing. Anything else is put into the trash.
    fn keep_or_clear(&self, target: &Target) -> Result<bool, StoreError> {
        let Target {
            path,
            digest,
            size_bytes,
        } = target;
        let store = self.store();
        match store.presence(path, digest, Some(*size_bytes))? {
            Presence::Trusted(_) => Ok(true),
            Presence::Absent => Ok(false),
            Presence::Wrong(fault) => {
                let trash = store.move_to_trash(path)?;
                self.dirty.add(StoreDir::Trash.path());
                self.monitor().warn(format!(
                    "{} was replaced: {fault}; what was there is now {trash}",
                    full_path(store.io(), path).display()
                ));
                Ok(false)
            }
        }
    }

    /// Has a file and what has a name change places, so that there is always something; then what was
    /// there goes to the trash. Whether anything has the name.
    fn exchange(&self, file: &I::File, path: &StorePath) -> Result<bool, StoreError> {
        let store = self.store();
        let io = store.io();
        let aside = known("tmp/exchange");
        again(|| io.link(file, &aside)).map_err(failed(io, "create", &aside))?;
        match again(|| io.rename(&aside, path, OnTaken::Exchange)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                again(|| io.remove_file(&aside)).map_err(failed(io, "remove", &aside))?;
                return Ok(false);
            }
            Err(error) => return Err(failed(io, "replace", path)(error)),
        }
        store.move_to_trash_as(&aside, path)?;
        let (directory, _) = path.split().expect("no name is that of the store itself");
        self.dirty.add(directory);
        self.dirty.add(StoreDir::Trash.path());
        Ok(true)
    }
}
