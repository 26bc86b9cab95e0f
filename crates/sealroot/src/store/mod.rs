// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/ostree/verity`: packs, objects, statements and deployments, durable and deduplicated.
//!
//! The layout and its rules are docs/format/store.md. What this module promises:
//!
//! * a name appears only when what it names is complete, durable and has the right digest;
//! * an object or pack that is there already counts only after it was looked at again: measured
//!   where the filesystem has fs-verity, by name and size elsewhere;
//! * after a crash or an error at any point, everything that was there before is still there, and
//!   doing the same again ends in the same store.
//!
//! It works on bytes and digests and knows neither the format of packs nor that of statements.
//! All it does to the filesystem goes through [`StoreIo`].

mod absence;
mod aside;
mod attributes;
mod config;
mod create;
mod durable;
mod error;
mod files;
mod foreign;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod io;
mod kernel;
mod lock;
mod pack;
mod path;
mod place;
mod presence;
mod remote;
mod signature;
mod staged;
mod transaction;
mod trash;
mod unswept;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::monitor::Monitor;
use lock::{Waiting, lock_on};

pub use absence::VerityAbsence;
pub use config::{STORE_VERSION, VeritySupport};
pub(crate) use create::write_unnamed;
pub use error::StoreError;
pub(crate) use files::{again, failed, full_path, measure, read_small_on, write_all};
pub(crate) use foreign::MAX_LINKS_TO_TAKE;
pub use foreign::{Taken, Untakable};
pub use io::{
    DirEntry, FileKind, FileStat, LockKind, OnTaken, SignatureKeyring, StoreIdentity, StoreIo,
    Usage,
};
pub use kernel::{KernelFile, KernelIo, KernelLock};
pub use path::{
    CONFIG_NAME, ImageName, LOCK_NAME, StoreDir, StorePath, deployment_path, image_path,
    object_path, pack_path, parse_deployment_name, parse_image_name, parse_object_name,
    parse_object_signature_name, parse_pack_name, parse_statement_name, statement_path,
};
pub(crate) use path::{object_path_in, object_signature_path};
pub(crate) use presence::{Fault, Presence};
pub use presence::{SequentialReader, StoredFile};
pub use remote::REMOTE_NAME;
pub(crate) use remote::RemoteEntry;
pub(crate) use staged::merkle_bytes;
pub use transaction::{Transaction, TransactionSummary};
pub use trash::Emptied;
pub use unswept::UNSWEPT_NAME;

/// An open store.
#[derive(Debug)]
pub struct Store<I: StoreIo = KernelIo> {
    io: I,
    verity: VeritySupport,
    is_new: bool,
    waiting: Waiting,
    /// How many names of `tmp/` files have had while fs-verity was enabled on them.
    asides: AtomicU64,
}

impl Store<KernelIo> {
    /// Opens the store whose directory is `location`.
    pub fn open(location: &Path) -> Result<Self, StoreError> {
        Self::open_on(KernelIo::open(location).map_err(opening(location))?)
    }

    /// Opens the store whose directory is `location`, making it first if there is none.
    pub fn open_or_create(location: &Path) -> Result<Self, StoreError> {
        Self::open_or_create_on(KernelIo::open_or_create(location).map_err(opening(location))?)
    }

    /// Opens the store of a sysroot: `ostree/verity` in it, reached without symbolic links.
    pub fn open_in_sysroot(sysroot: &Path) -> Result<Self, StoreError> {
        let location = sysroot.join(KernelIo::STORE_IN_SYSROOT);
        Self::open_on(KernelIo::open_in_sysroot(sysroot).map_err(opening(&location))?)
    }

    /// Like [`Store::open_in_sysroot`], making the store first if there is none.
    pub fn open_or_create_in_sysroot(sysroot: &Path) -> Result<Self, StoreError> {
        let location = sysroot.join(KernelIo::STORE_IN_SYSROOT);
        let io = KernelIo::open_or_create_in_sysroot(sysroot).map_err(opening(&location))?;
        Self::open_or_create_on(io)
    }
}

impl<I: StoreIo> Store<I> {
    /// Whether the filesystem enforces digests.
    pub fn verity(&self) -> VeritySupport {
        self.verity
    }

    /// Whether this handle made the store.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The store's directory, for messages.
    pub fn location(&self) -> &Path {
        self.io.location()
    }

    /// The filesystem under the store.
    pub fn io(&self) -> &I {
        &self.io
    }

    /// The same store, with another bound on how long it waits for the lock.
    #[must_use]
    pub fn with_lock_wait(mut self, wait: Duration) -> Self {
        self.waiting.most = wait;
        self
    }

    /// The same store; who waits for its lock tells this one.
    #[must_use]
    pub fn telling(mut self, monitor: Arc<dyn Monitor + Send>) -> Self {
        self.waiting.monitor = monitor;
        self
    }

    /// Begins to change the store. Nobody else changes it until the transaction is gone.
    ///
    /// What an earlier transaction left unfinished is made durable or cleared away first.
    pub fn begin<'s>(&'s self, monitor: &'s dyn Monitor) -> Result<Transaction<'s, I>, StoreError> {
        let lock = self.lock(LockKind::Exclusive)?;
        self.clear_leftovers()?;
        Ok(Transaction::new(self, lock, monitor))
    }

    /// Takes the lock, waiting a bounded time for whoever holds it.
    pub(crate) fn lock(&self, kind: LockKind) -> Result<I::Lock, StoreError> {
        lock_on(&self.io, kind, &self.waiting)
    }
}

fn opening(location: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    |source| StoreError::Io {
        operation: "open",
        path: location.into(),
        source,
    }
}
