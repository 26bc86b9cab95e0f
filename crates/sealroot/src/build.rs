// SPDX-License-Identifier: MIT OR Apache-2.0
//! A source into a pack and objects of a store, and the statement to be signed.
//!
//! The same tree built again reads its files once and writes nothing; a statement that says the
//! same but for its time of creation stays, and its signatures with it.

use std::io;
use std::path::Path;

use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::pack::{self, PackError};
use sealroot_format::sign::{self, Name, Statement, Unverified, Word};
use sealroot_format::tree::{InodeId, Tree, dump};

use crate::monitor::{Monitor, Unit};
use crate::ostree::{self, CommitInfo, OstreeError};
use crate::source::{self, Devices, DirectoryOptions, SourceError};
use crate::store::{Store, StoreError, Transaction, TransactionSummary};

/// Where a tree comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A directory, which must hold still.
    Directory {
        /// The directory.
        path: &'a Path,
        /// What becomes of device nodes in it.
        devices: Devices,
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

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The directory could not be read as it is.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The OSTree commit could not be read or verified.
    #[error(transparent)]
    Ostree(#[from] OstreeError),
    /// The tree does not fit into a pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The statement cannot be written down.
    #[error(transparent)]
    Statement(#[from] sign::Error),
    /// The version or kernel release of an OSTree commit cannot stand in a statement.
    #[error("the commit's own {field} cannot stand in a statement; name it with --{field}")]
    Word {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: sealroot_format::text::Error,
    },
}

impl BuildError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Source(error) => error.class(),
            Self::Ostree(error) => error.class(),
            Self::Pack(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Statement(error) => error.class(),
            Self::Word { .. } => ErrorClass::Usage,
        }
    }
}

struct Source {
    tree: Tree,
    /// Of an OSTree commit.
    known: Option<(CommitId, CommitInfo)>,
}

/// Builds `origin` into `store`.
pub fn build(
    store: &Store,
    origin: Origin<'_>,
    release: &Release,
    monitor: &dyn Monitor,
) -> Result<Built, BuildError> {
    let transaction = store.begin(monitor)?;
    let Source { tree, known } = read(origin, release.threshold_bytes, &transaction, monitor)?;
    monitor.start("packing", Unit::Items, None);
    let tree_digest = dump::digest(&tree);
    let (commit, info) = match known {
        Some((commit, info)) => (commit, Some(info)),
        None => (CommitId::from_bytes(*tree_digest.as_bytes()), None),
    };
    let summary = pack::write_pack(&tree, release.threshold_bytes, &mut io::sink())?;
    let is_new_pack = transaction.add_pack(&summary.digest, summary.size_bytes, |out| {
        let written = pack::write_pack(&tree, release.threshold_bytes, out);
        written.map(drop).map_err(|error| match error {
            PackError::Write(error) => error,
            other => io::Error::other(other),
        })
    })?;
    let commit_word = |field, value: Option<&String>| {
        let parsed = value.map(|text| text.parse()).transpose();
        parsed.map_err(|source| BuildError::Word { field, source })
    };
    let info = info.as_ref();
    let statement = Statement {
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
        kernel: match (&release.kernel, only_kernel(&tree)) {
            (Some(kernel), _) => Some(kernel.clone()),
            (None, Some(kernel)) => Some(kernel),
            (None, None) => commit_word("kernel", info.and_then(|info| info.kernel.as_ref()))?,
        },
        created: release.created,
    };
    let (statement, is_new_statement) = add_statement(store, &transaction, statement, monitor)?;
    let objects = transaction.finish()?;
    Ok(Built {
        statement,
        is_new: is_new_pack || is_new_statement,
        objects,
    })
}

fn read(
    origin: Origin<'_>,
    threshold_bytes: u32,
    transaction: &Transaction<'_>,
    monitor: &dyn Monitor,
) -> Result<Source, BuildError> {
    match origin {
        Origin::Directory { path, devices } => {
            let options = DirectoryOptions {
                threshold_bytes,
                devices,
            };
            let tree = source::read_directory(path, &options, transaction, monitor)?;
            Ok(Source { tree, known: None })
        }
        Origin::Ostree { repository, rev } => {
            let options = ostree::ReadOptions { threshold_bytes };
            let commit = ostree::read_commit(repository, rev, &options, transaction, monitor)?;
            Ok(Source {
                tree: commit.tree,
                known: Some((commit.commit, commit.info)),
            })
        }
    }
}

/// Writes `statement`, unless the store has one that differs only in its time of creation, which
/// then stays with its signatures. Which one the store has now, and whether it is new.
fn add_statement(
    store: &Store,
    transaction: &Transaction<'_>,
    statement: Statement,
    monitor: &dyn Monitor,
) -> Result<(Statement, bool), BuildError> {
    let (commit, stream) = (&statement.commit, &statement.stream);
    if let Some(bytes) = store.read_statement(commit, stream)? {
        let present = Unverified::<Statement>::parse(&bytes)
            .and_then(|document| Ok((Statement::parse(document.body())?, document)));
        match present {
            Ok((present, _)) if is_same_release(&present, &statement) => {
                return Ok((present, false));
            }
            Ok((_, document)) if !document.signatures().is_empty() => monitor.warn(format!(
                "the statement of {commit} in stream {stream} says something new now: its {} \
                 signatures are gone, sign it again",
                document.signatures().len()
            )),
            Ok(_) => {}
            Err(error) => monitor.warn(format!("a damaged statement is replaced: {error}")),
        }
    }
    let bytes = Unverified::unsigned(&statement)?.to_string();
    transaction.write_statement(commit, stream, bytes.as_bytes())?;
    Ok((statement, true))
}

fn is_same_release(present: &Statement, new: &Statement) -> bool {
    let with_its_time = Statement {
        created: present.created,
        ..new.clone()
    };
    *present == with_its_time
}

/// The only directory in `/usr/lib/modules`, or `/lib/modules` in a tree without merged `/usr`.
fn only_kernel(tree: &Tree) -> Option<Word> {
    let paths: [&[&[u8]]; 2] = [&[b"usr", b"lib", b"modules"], &[b"lib", b"modules"]];
    let modules = paths
        .into_iter()
        .find_map(|path| tree.lookup(path.iter().copied()))?;
    let is_directory = |id: InodeId| tree.inode(id).as_directory().is_some();
    let mut kernels = (tree.inode(modules).as_directory()?.iter())
        .filter(|(_, id)| is_directory(*id))
        .map(|(name, _)| name);
    match (kernels.next(), kernels.next()) {
        (Some(only), None) => std::str::from_utf8(only).ok()?.parse().ok(),
        _ => None,
    }
}
