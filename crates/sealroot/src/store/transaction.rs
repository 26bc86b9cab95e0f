// SPDX-License-Identifier: MIT OR Apache-2.0
//! A change of a store: objects, packs and statements that become durable together.
//!
//! Objects come from many threads. Each is written into a file without a name, or in a store with
//! fs-verity with one in `tmp/`; batches of such files are made durable with one sync and only then get
//! their own. What a statement or deployment relies on
//! is durable, names and all, before that itself appears (store.md L4).

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;

use super::Store;
use super::create::write_unnamed;
use super::durable::{Batch, DirtyDirectories, held};
use super::error::StoreError;
use super::files::{again, failed};
use super::io::{OnTaken, StoreIo};
use super::path::{StoreDir, StorePath, known, object_path};
use super::presence::Presence;
use super::signature::Signing;
use super::staged::{Known, Staged, Target};
use crate::monitor::Monitor;
use crate::object::{ObjectContent, ObjectSink};

/// The directory that says: names may be there which are not durable (store.md L3).
pub(super) fn marker_path() -> StorePath {
    known("tmp/transaction")
}

/// Parts of the set of known objects, each with its own lock.
const SHARDS: usize = 64;

/// How much of a stream is in memory at a time, bytes.
const COPY_BUFFER_BYTES: usize = 1024 * 1024;

/// At what addresses memory must start to be written past the page cache.
const COPY_ALIGN_BYTES: usize = 4096;

/// A change of a store under way; see [`Store::begin`].
///
/// After any error it can only be dropped. Dropping it unfinished loses nothing that was in the
/// store before; what it has added so far may or may not stay.
pub struct Transaction<'s, I: StoreIo = super::KernelIo> {
    store: &'s Store<I>,
    monitor: &'s dyn Monitor,
    _lock: I::Lock,
    /// Objects that are there or on their way through this transaction.
    known: [Mutex<HashSet<VerityDigest>>; SHARDS],
    pub(super) batch: Batch<I::File>,
    pub(super) dirty: DirtyDirectories,
    /// Names of which the files do not count, whatever they measure.
    pub(super) distrusted: Mutex<BTreeSet<StorePath>>,
    is_marked: Mutex<bool>,
    pub(super) signing: Signing<'s>,
    /// What failed first.
    failure: Mutex<Option<String>>,
    added: Counter,
    pub(super) linked: Counter,
    present: Counter,
}

impl<I: StoreIo> fmt::Debug for Transaction<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("location", &self.store.location())
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter {
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(super) fn count(&self, size_bytes: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size_bytes, Ordering::Relaxed);
    }
}

/// What a transaction did, each object counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionSummary {
    /// Objects that were new and written.
    pub added_objects: u64,
    /// Their content.
    pub added_bytes: u64,
    /// Objects that were new here, and are files that were there already, or share the content of one.
    pub linked_objects: u64,
    /// Their content.
    pub linked_bytes: u64,
    /// Objects that were there already.
    pub present_objects: u64,
    /// Their content.
    pub present_bytes: u64,
}

impl<'s, I: StoreIo> Transaction<'s, I> {
    pub(super) fn new(store: &'s Store<I>, lock: I::Lock, monitor: &'s dyn Monitor) -> Self {
        Self {
            store,
            monitor,
            _lock: lock,
            known: std::array::from_fn(|_| Mutex::default()),
            batch: Batch::new(),
            dirty: DirtyDirectories::default(),
            distrusted: Mutex::default(),
            is_marked: Mutex::new(false),
            signing: Signing::new(monitor),
            failure: Mutex::new(None),
            added: Counter::default(),
            linked: Counter::default(),
            present: Counter::default(),
        }
    }

    /// The store that is being changed.
    pub fn store(&self) -> &'s Store<I> {
        self.store
    }

    /// Lets no more than so many bytes of complete objects wait for their names: what has none yet is
    /// lost when the process is killed. Each time, all that waits is made durable.
    pub fn limit_waiting(&self, max_bytes: u64) {
        self.batch.limit(max_bytes);
    }

    /// Makes everything durable and ends the transaction.
    pub fn finish(self) -> Result<TransactionSummary, StoreError> {
        self.barrier()?;
        if *held(&self.is_marked) {
            let io = &self.store.io;
            let path = marker_path();
            again(|| io.remove_directory(&path)).map_err(failed(io, "remove", &path))?;
        }
        let Counter { objects, bytes } = self.added;
        Ok(TransactionSummary {
            added_objects: objects.into_inner(),
            added_bytes: bytes.into_inner(),
            linked_objects: self.linked.objects.into_inner(),
            linked_bytes: self.linked.bytes.into_inner(),
            present_objects: self.present.objects.into_inner(),
            present_bytes: self.present.bytes.into_inner(),
        })
    }

    /// Makes everything so far durable, names included.
    pub(crate) fn barrier(&self) -> Result<(), StoreError> {
        self.attempt(|| {
            self.flush(false)?;
            self.store.sync_directories(&self.dirty)
        })
    }

    /// Notes a failure: after one, nothing of this transaction counts.
    pub(crate) fn attempt<T, E: From<StoreError> + fmt::Display>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(cause) = &*held(&self.failure) {
            return Err(E::from(StoreError::Failed {
                location: self.store.location().into(),
                cause: cause.clone(),
            }));
        }
        work().inspect_err(|error| {
            held(&self.failure).get_or_insert_with(|| error.to_string());
        })
    }

    /// Says on the filesystem that there may be names which are not durable. Before the first.
    pub(crate) fn mark(&self) -> Result<(), StoreError> {
        let mut is_marked = held(&self.is_marked);
        if !*is_marked {
            let io = &self.store.io;
            let path = marker_path();
            again(|| io.create_directory(&path)).map_err(failed(io, "create", &path))?;
            *is_marked = true;
        }
        Ok(())
    }

    /// Renames something that is durable. The new name is, once the transaction is finished.
    pub(crate) fn rename(
        &self,
        from: &StorePath,
        to: &StorePath,
        on_taken: OnTaken,
    ) -> Result<(), StoreError> {
        let io = &self.store.io;
        again(|| io.rename(from, to, on_taken)).map_err(failed(io, "create", to))?;
        let (directory, _) = to.split().expect("the store itself is not renamed");
        self.dirty.add(directory);
        Ok(())
    }

    /// Puts a small file in the place of whatever is there, durable before it has the name.
    pub(crate) fn replace_small(&self, path: &StorePath, bytes: &[u8]) -> Result<(), StoreError> {
        let io = self.store().io();
        let file = write_unnamed(io, path, bytes)?;
        again(|| io.sync_file(&file)).map_err(failed(io, "sync", path))?;
        let aside = known("tmp/replacement");
        again(|| io.link(&file, &aside)).map_err(failed(io, "create", &aside))?;
        self.rename(&aside, path, OnTaken::Replace)
    }

    /// Removes the name of a small file; whether there was one.
    pub(crate) fn remove_small(&self, path: &StorePath) -> Result<bool, StoreError> {
        let io = &self.store.io;
        match again(|| io.remove_file(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result.map_err(failed(io, "remove", path))?,
        }
        let (directory, _) = path.split().expect("the store itself is no file");
        self.dirty.add(directory);
        Ok(true)
    }

    /// What is told how the work goes on.
    pub fn monitor(&self) -> &'s dyn Monitor {
        self.monitor
    }

    /// Makes durable and names what waits.
    pub(super) fn flush(&self, only_full: bool) -> Result<(), StoreError> {
        self.batch.flush(only_full, |files| {
            if files.is_empty() {
                return Ok(());
            }
            self.mark()?;
            self.make_durable_and_link(&files)
        })
    }

    pub(super) fn shard(&self, digest: &VerityDigest) -> &Mutex<HashSet<VerityDigest>> {
        &self.known[usize::from(digest.as_bytes()[0]) % SHARDS]
    }

    /// Whether an object is there and can be trusted.
    pub fn has_object(&self, digest: &VerityDigest, size_bytes: u64) -> Result<bool, StoreError> {
        if held(self.shard(digest)).contains(digest) {
            return Ok(true);
        }
        let path = object_path(digest);
        if self.is_distrusted(&path) {
            return Ok(false);
        }
        let presence = self.attempt(|| self.store.presence(&path, digest, Some(size_bytes)))?;
        if !matches!(presence, Presence::Trusted(_)) {
            return Ok(false);
        }
        if held(self.shard(digest)).insert(*digest) {
            self.present.count(size_bytes);
        }
        Ok(true)
    }

    /// Adds an object unless this transaction has it already.
    pub fn add_object(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: ObjectContent<'_>,
    ) -> Result<(), StoreError> {
        self.attempt(|| {
            if !held(self.shard(digest)).insert(*digest) {
                return Ok(());
            }
            let target = Target::object(*digest, size_bytes);
            let staged = self.stage_object(target, content)?;
            self.enqueue(staged, &self.added)
        })
    }

    /// Counts a complete file that has not got its name yet, and has it wait for its batch.
    pub(super) fn enqueue(
        &self,
        staged: Staged<I::File>,
        counter: &Counter,
    ) -> Result<(), StoreError> {
        counter.count(staged.target.size_bytes);
        if self.batch.push(staged) {
            self.flush(true)?;
        }
        Ok(())
    }

    /// Makes a complete file the object that it turned out to be, unless that is there.
    pub(super) fn enqueue_new(
        &self,
        staged: Staged<I::File>,
        counter: &Counter,
    ) -> Result<(), StoreError> {
        let Target {
            digest, size_bytes, ..
        } = staged.target;
        if self.has_object(&digest, size_bytes)? || !held(self.shard(&digest)).insert(digest) {
            return (staged.aside.iter()).try_for_each(|aside| self.store.drop_aside(aside));
        }
        self.enqueue(staged, counter)
    }

    /// Adds an object of which only the size is known, and says which it is. It is written whole by
    /// `write` before that shows.
    pub fn add_unknown(
        &self,
        size_bytes: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<VerityDigest, StoreError> {
        self.attempt(|| {
            let nameless = known("objects");
            let file = self.unnamed_file(StoreDir::Objects)?;
            let staged =
                (self.store).stage_unknown(file, &nameless, size_bytes, &self.signing, write)?;
            let digest = staged.target.digest;
            self.enqueue_new(staged, &self.added)?;
            Ok(digest)
        })
    }

    /// Adds an object from somewhere that may give anything. Where that is not the object, nothing
    /// has happened, and the transaction can go on.
    pub fn add_foreign_object(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: &mut dyn io::Read,
    ) -> Result<(), StoreError> {
        if !held(self.shard(digest)).insert(*digest) {
            return Ok(());
        }
        let target = Target::object(*digest, size_bytes);
        match self.stage_object(target, ObjectContent::Stream(content)) {
            Err(error) if error.is_about_content() => {
                held(self.shard(digest)).remove(digest);
                Err(error)
            }
            staged => self.attempt(|| self.enqueue(staged?, &self.added)),
        }
    }

    fn stage_object(
        &self,
        target: Target,
        content: ObjectContent<'_>,
    ) -> Result<Staged<I::File>, StoreError> {
        let file = self.unnamed_file(StoreDir::Objects)?;
        match content {
            ObjectContent::Hashed(bytes) => {
                self.store
                    .stage(file, target, Known::Hashed, &self.signing, |out| {
                        out.write_all(bytes)
                    })
            }
            ObjectContent::Stream(reader) => {
                self.store
                    .stage(file, target, Known::Claimed, &self.signing, |out| {
                        copy(reader, out)
                    })
            }
        }
    }

    /// A new file; where descriptors run out, those of the waiting files are given back first.
    pub(super) fn unnamed_file(&self, directory: StoreDir) -> Result<I::File, StoreError> {
        match self.store.unnamed_file(directory) {
            Err(StoreError::Io { source, .. })
                if matches!(
                    Errno::from_io_error(&source),
                    Some(Errno::MFILE | Errno::NFILE)
                ) =>
            {
                self.flush(false)?;
                self.store.unnamed_file(directory)
            }
            result => result,
        }
    }
}

impl<I: StoreIo> ObjectSink for Transaction<'_, I> {
    fn has(&self, digest: &VerityDigest, size_bytes: u64) -> io::Result<bool> {
        Ok(self.has_object(digest, size_bytes)?)
    }

    fn add(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: ObjectContent<'_>,
    ) -> io::Result<()> {
        Ok(self.add_object(digest, size_bytes, content)?)
    }
}

/// Copies in large pieces, unlike [`io::copy`] from a `dyn Read`.
fn copy(reader: &mut dyn io::Read, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES + COPY_ALIGN_BYTES];
    let start = buffer.as_ptr().align_offset(COPY_ALIGN_BYTES);
    let buffer = &mut buffer[start.min(COPY_ALIGN_BYTES)..][..COPY_BUFFER_BYTES];
    loop {
        match again(|| reader.read(buffer))? {
            0 => return Ok(()),
            len => out.write_all(&buffer[..len])?,
        }
    }
}
