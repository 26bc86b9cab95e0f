// SPDX-License-Identifier: MIT OR Apache-2.0
//! A source into a pack and objects of a store, and the statement to be signed.
//!
//! The same tree built again reads its files once and writes nothing; a statement that says the
//! same but for its time of creation stays, and its signatures with it; one that is signed is never
//! replaced.

mod checks;
mod error;
mod index;

use std::io;
use std::path::Path;

use rayon::ThreadPoolBuilder;
use sealroot_format::digest::{CommitId, TreeDigest};
use sealroot_format::pack::{self, PackError, PackPlan, PackSummary};
use sealroot_format::sign::{Name, Statement, Unverified, Word};
use sealroot_format::tree::{Tree, dump};

use crate::monitor::{Monitor, Unit};
use crate::object::{LookOnly, ObjectSink};
use crate::ostree::{self, CommitInfo};
use crate::source::{self, Compressed, Devices, DirectoryOptions};
use crate::spool::{self, Spool};
use crate::store::{Store, Transaction, TransactionSummary};

pub use error::BuildError;

use checks::{check_apart, kernel_of, warn_unless_bootable};
use index::check_index;

/// Threads for each processor, so that some compute while others wait for the disk.
const THREADS_FACTOR: usize = 2;

/// Where there are as many processors, there are always some that compute.
const MAX_WAITING_THREADS: usize = 16;

/// Where a tree comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A directory, which must hold still.
    Directory {
        /// The directory.
        path: &'a Path,
        /// What becomes of device nodes in it.
        devices: Devices,
        /// What becomes of compressed modules and documentation in it.
        compressed: Compressed,
    },
    /// A commit of an OSTree repository.
    Ostree {
        /// The repository.
        repository: &'a Path,
        /// A checksum, a local ref or `remote:ref`.
        rev: &'a str,
    },
}

/// What the vendor says about a release; the rest of the statement follows from the tree.
#[derive(Clone, Debug)]
pub struct Release {
    /// The OS.
    pub os: Name,
    /// The edition of the OS.
    pub variant: Option<Name>,
    /// The line of releases.
    pub stream: Name,
    /// The machine architecture, as `uname -m` gives it.
    pub arch: Name,
    /// The version for people; `None` takes an OSTree commit's own.
    pub version: Option<Word>,
    /// Number of the release in its stream.
    pub index: u64,
    /// Security epoch.
    pub epoch: u64,
    /// The kernel release; `None` takes the only one in the tree's `/usr/lib/modules`.
    pub kernel: Option<Word>,
    /// When the release is made, seconds since 1970.
    pub created: u64,
    /// Files up to this many bytes go inside the pack.
    pub threshold_bytes: u32,
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    /// The statement, signed by nobody yet unless it was there before.
    pub statement: Statement,
    /// Whether pack or statement are new in the store.
    pub is_new: bool,
    /// What became of the objects.
    pub objects: TransactionSummary,
}

struct Source {
    tree: Tree,
    tree_digest: TreeDigest,
    commit: CommitId,
    /// Of an OSTree commit.
    info: Option<CommitInfo>,
}

impl Source {
    /// What was read, and what an OSTree repository says of it.
    fn new(tree: Tree, known: Option<(CommitId, CommitInfo)>) -> Result<Self, BuildError> {
        let tree_digest = dump::digest(&tree).map_err(PackError::Content)?;
        let (commit, info) = match known {
            Some((commit, info)) => (commit, Some(info)),
            None => (CommitId::from_bytes(*tree_digest.as_bytes()), None),
        };
        Ok(Self {
            tree,
            tree_digest,
            commit,
            info,
        })
    }
}

/// Builds `origin` into `store`.
pub fn build(
    store: &Store,
    origin: Origin<'_>,
    release: &Release,
    monitor: &dyn Monitor,
) -> Result<Built, BuildError> {
    if let Origin::Directory { path, .. } = origin {
        check_apart(store.location(), path)?;
    }
    let transaction = store.begin(monitor)?;
    let Source {
        tree,
        tree_digest,
        commit,
        info,
    } = read_new(origin, release, &transaction, monitor)?;
    monitor.start("packing", Unit::Items, None);
    let plan = PackPlan::new(&tree, release.threshold_bytes)?;
    let summary = plan.summarize()?;
    let statement = state(release, &tree, commit, tree_digest, info.as_ref(), &summary)?;
    let present = present_statement(store, &statement, monitor)?;
    if present.is_none() {
        check_index(store, release, commit)?;
    }
    let is_new_pack = transaction.add_pack(&summary.digest, summary.size_bytes, |out| {
        plan.write(out).map_err(|error| match error {
            PackError::Write(error) => error,
            other => io::Error::other(other),
        })
    })?;
    let is_new = is_new_pack || present.is_none();
    let statement = if let Some(present) = present {
        present
    } else {
        let bytes = Unverified::unsigned(&statement)?.to_string();
        transaction.write_statement(&commit, &statement.stream, bytes.as_bytes())?;
        statement
    };
    let objects = transaction.finish()?;
    warn_unless_bootable(&tree, &statement, monitor);
    Ok(Built {
        statement,
        is_new,
        objects,
    })
}

/// Runs `work` on more threads than there are processors. Where they cannot be had, without them.
fn on_many_threads<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let usual = rayon::current_num_threads();
    let threads = (usual * THREADS_FACTOR).min(MAX_WAITING_THREADS).max(usual);
    match ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

/// Reads what is to be built. Where its index may be refused, which hangs on the commit, nothing is
/// written before that is known; the release that has the index has its objects too.
fn read_new(
    origin: Origin<'_>,
    release: &Release,
    transaction: &Transaction<'_>,
    monitor: &dyn Monitor,
) -> Result<Source, BuildError> {
    let store = transaction.store();
    let read = |sink: &dyn ObjectSink| read(origin, release.threshold_bytes, store, sink, monitor);
    if !index::is_new(store, release)? {
        let look = LookOnly::new(transaction);
        let source = read(&look)?;
        check_index(store, release, source.commit)?;
        if !look.has_missed() {
            return Ok(source);
        }
    }
    on_many_threads(|| read(transaction))
}

fn read(
    origin: Origin<'_>,
    threshold_bytes: u32,
    store: &Store,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<Source, BuildError> {
    let io = store.io();
    let spool = Spool::new(spool::MEMORY_BYTES, || io.create_scratch());
    match origin {
        Origin::Directory {
            path,
            devices,
            compressed,
        } => {
            let options = DirectoryOptions {
                threshold_bytes,
                devices,
                compressed,
            };
            let tree = source::read_directory(path, &options, &spool, sink, monitor)?;
            Source::new(tree, None)
        }
        Origin::Ostree { repository, rev } => {
            let options = ostree::ReadOptions {
                threshold_bytes,
                files: ostree::FileCheck::Checksums,
            };
            let commit = ostree::read_commit(repository, rev, &options, &spool, sink, monitor)?;
            Source::new(commit.tree, Some((commit.commit, commit.info)))
        }
    }
}

/// What the vendor and the tree say about the release.
fn state(
    release: &Release,
    tree: &Tree,
    commit: CommitId,
    tree_digest: TreeDigest,
    info: Option<&CommitInfo>,
    summary: &PackSummary,
) -> Result<Statement, BuildError> {
    let commit_word = |field, value: Option<&String>| {
        let parsed = value.map(|text| text.parse()).transpose();
        parsed.map_err(|source| BuildError::Word { field, source })
    };
    Ok(Statement {
        os: release.os.clone(),
        variant: release.variant.clone(),
        stream: release.stream.clone(),
        arch: release.arch.clone(),
        version: match &release.version {
            Some(version) => Some(version.clone()),
            None => commit_word("version", info.and_then(|info| info.version.as_ref()))?,
        },
        index: release.index,
        epoch: release.epoch,
        commit,
        tree_digest,
        pack_format: pack::FORMAT_VERSION,
        pack_digest: summary.digest,
        pack_size_bytes: summary.size_bytes,
        entries: summary.entries,
        objects: summary.objects,
        object_bytes: summary.object_bytes,
        threshold_bytes: release.threshold_bytes,
        kernel: match kernel_of(tree, release.kernel.as_ref())? {
            Some(kernel) => Some(kernel),
            None => commit_word("kernel", info.and_then(|info| info.kernel.as_ref()))?,
        },
        created: release.created,
    })
}

/// The statement in the store that differs from `statement` in its time of creation at most: it
/// stays, with its signatures.
///
/// A signed one that says something else stays too, and nothing is built: signatures may be hard
/// to get again, and a deployment may need them to boot.
fn present_statement(
    store: &Store,
    statement: &Statement,
    monitor: &dyn Monitor,
) -> Result<Option<Statement>, BuildError> {
    let Some(bytes) = store.read_statement(&statement.commit, &statement.stream)? else {
        return Ok(None);
    };
    let present = Unverified::<Statement>::parse(&bytes)
        .and_then(|document| Ok((Statement::parse(document.body())?, document)));
    match present {
        Ok((present, _)) if is_same_release(&present, statement) => Ok(Some(present)),
        Ok((present, document)) if !document.signatures().is_empty() => {
            Err(signed_otherwise(&present, statement))
        }
        Ok(_) => Ok(None),
        Err(error) => {
            monitor.warn(format!("a damaged statement is replaced: {error}"));
            Ok(None)
        }
    }
}

fn signed_otherwise(present: &Statement, new: &Statement) -> BuildError {
    let (expected, found) = (present.to_string(), new.to_string());
    let mut lines = expected.lines().zip(found.lines());
    let (expected, found) = lines
        .find(|(expected, found)| expected != found)
        .unwrap_or_default();
    BuildError::Signed {
        commit: new.commit,
        stream: new.stream.clone(),
        expected: expected.into(),
        found: found.into(),
    }
}

fn is_same_release(present: &Statement, new: &Statement) -> bool {
    let with_its_time = Statement {
        created: present.created,
        ..new.clone()
    };
    *present == with_its_time
}
