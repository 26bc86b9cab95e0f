// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making many things durable at the price of few.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Store;
use super::error::StoreError;
use super::files::{again, failed};
use super::io::StoreIo;
use super::path::StorePath;
use super::staged::Staged;

/// Most complete files that wait open for one sync. Bounds the descriptors in use.
pub(super) const MAX_BATCH_FILES: usize = 256;

/// Most bytes that wait for one sync, unless it is said otherwise. Bounds how long the last one takes.
const MAX_BATCH_BYTES: u64 = 64 << 20;

/// Up to this many files or directories are synced one by one: a sync of the whole filesystem
/// also waits for what others have written.
pub(super) const FEW: usize = 8;

/// Complete files that wait to be made durable and named together.
#[derive(Debug)]
pub(super) struct Batch<F> {
    waiting: Mutex<Waiting<F>>,
    /// Held while a batch is synced, so that at most one more fills up meanwhile.
    flushing: Mutex<()>,
}

#[derive(Debug)]
struct Waiting<F> {
    files: Vec<Staged<F>>,
    bytes: u64,
    max_bytes: u64,
}

impl<F> Batch<F> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                files: Vec::new(),
                bytes: 0,
                max_bytes: MAX_BATCH_BYTES,
            }),
            flushing: Mutex::new(()),
        }
    }

    /// Lets no more bytes wait.
    pub(super) fn limit(&self, max_bytes: u64) {
        held(&self.waiting).max_bytes = max_bytes;
    }

    /// Adds a file; whether the batch is full now.
    pub(super) fn push(&self, staged: Staged<F>) -> bool {
        let mut waiting = held(&self.waiting);
        waiting.bytes = waiting.bytes.saturating_add(staged.target.size_bytes);
        waiting.files.push(staged);
        waiting.is_full()
    }

    /// Gives what waits to `flush`, one caller at a time: only a full batch, or any.
    pub(super) fn flush<E>(
        &self,
        only_full: bool,
        flush: impl FnOnce(Vec<Staged<F>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let _one_at_a_time = held(&self.flushing);
        let files = {
            let mut waiting = held(&self.waiting);
            if only_full && !waiting.is_full() {
                return Ok(());
            }
            waiting.bytes = 0;
            std::mem::take(&mut waiting.files)
        };
        flush(files)
    }
}

impl<F> Waiting<F> {
    fn is_full(&self) -> bool {
        self.files.len() >= MAX_BATCH_FILES || self.bytes >= self.max_bytes
    }
}

/// Locks what no panic can leave half-changed.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Directories with new names in them that are not durable yet.
#[derive(Debug, Default)]
pub(super) struct DirtyDirectories(Mutex<BTreeSet<StorePath>>);

impl DirtyDirectories {
    /// Notes a directory.
    pub(super) fn add(&self, directory: StorePath) {
        held(&self.0).insert(directory);
    }

    /// All that were noted since the last time.
    fn take(&self) -> BTreeSet<StorePath> {
        std::mem::take(&mut *held(&self.0))
    }
}

impl<I: StoreIo> Store<I> {
    /// Makes the names in the noted directories durable.
    pub(super) fn sync_directories(&self, dirty: &DirtyDirectories) -> Result<(), StoreError> {
        let directories = dirty.take();
        if directories.len() > FEW {
            return self.sync_all();
        }
        directories.iter().try_for_each(|path| {
            again(|| self.io.sync_directory(path)).map_err(failed(&self.io, "sync", path))
        })
    }

    /// Makes everything durable.
    pub(crate) fn sync_all(&self) -> Result<(), StoreError> {
        let root = StorePath::root();
        again(|| self.io.sync_filesystem()).map_err(failed(&self.io, "sync", &root))
    }

    /// Makes a directory unless it is there.
    pub(super) fn create_directory(
        &self,
        path: &StorePath,
        dirty: &DirtyDirectories,
    ) -> Result<(), StoreError> {
        let (parent, _) = path.split().expect("the store itself is there");
        let mut created = again(|| self.io.create_directory(path));
        if let Err(error) = &created
            && error.kind() == io::ErrorKind::NotFound
            && parent != StorePath::root()
        {
            // Somebody has removed what it is in.
            self.create_directory(&parent, dirty)?;
            created = again(|| self.io.create_directory(path));
        }
        match created {
            Ok(()) => {
                dirty.add(parent);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(&self.io, "create", path)(error)),
        }
    }
}
