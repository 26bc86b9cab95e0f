// SPDX-License-Identifier: MIT OR Apache-2.0
//! OSTree repositories as a source: a commit read into a tree and objects.
//!
//! Every object is verified against its checksum while it is read, so a tree that comes out is
//! the commit's, whatever state the repository is in. What is read and why the tree is as it is:
//! `docs/design/ostree.md`.

mod assemble;
mod commit;
mod config;
mod content;
mod detached;
mod directories;
mod error;
mod files;
pub mod format;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gvariant;
mod inflate;
mod keyfile;
mod lock;
mod open;
mod publish;
mod refs;
mod repository;
mod rules;
mod signature;
mod xattrs;

use std::path::Path;

use sealroot_format::digest::CommitId;
use sealroot_format::tree::Tree;

pub use commit::{CommitInfo, CommitObject};
pub use detached::{PublishedStatement, STATEMENT_KEY, StatementPlace};
pub use error::{ObjectAt, ObjectError, ObjectKind, ObjectName, OstreeError};
pub use files::ContentObjects;
pub use gvariant::{Dictionary, NotNormal};
pub use inflate::InflateError;
pub use lock::RepositoryLock;
pub use publish::{Published, publish_on};
pub use refs::RefName;
pub use repository::{Mode, Repository};
pub use signature::{BadKey, Engine, Key, KeyDirectories, RemoteDemands, SignatureError, Vouched};

use self::assemble::Skeleton;
use self::content::ContentReader;
use self::directories::Directories;
use self::format::Commit;
use crate::monitor::Monitor;
use crate::object::{Discard, ObjectSink};
use crate::spool::Spool;

/// How to read a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Files up to this many bytes are part of the tree; larger ones go to the sink.
    pub threshold_bytes: u32,
    /// What says that the files are those of the commit.
    pub files: FileCheck,
}

/// What says that files, with what belongs to them, are those that were committed. Commit and
/// directories are compared with their checksums in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileCheck {
    /// Each one's own checksum.
    Checksums,
    /// A digest of the whole tree that comes out, with which the caller compares it before anything
    /// is done with it. So a file need not be hashed for OSTree, nor at all where the sink learns
    /// its digest from the kernel ([`ObjectSink::take_unread`]).
    DigestOfTree,
}

/// A commit, read and verified.
#[derive(Clone, Debug)]
pub struct OstreeTree {
    /// The commit's checksum.
    pub commit: CommitId,
    /// Its tree.
    pub tree: Tree,
    /// What it says about itself.
    pub info: CommitInfo,
}

/// Reads the commit that `rev` names (see [`Repository::resolve`]) from the repository
/// at `repository`. The content of small files goes to `spool`, once for all names of an object;
/// large files are offered to `sink`.
///
/// Every checksum from the commit down is verified, and of a `remote:ref` the signatures that the
/// remote demands. Whether the commit is the right one is for the caller to know: a ref can be moved
/// by whoever can write to the repository.
pub fn read_commit(
    repository: &Path,
    rev: &str,
    options: &ReadOptions,
    spool: &Spool<'_>,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<OstreeTree, OstreeError> {
    let repository = &Repository::open(repository)?;
    let directories = KeyDirectories::of_system(Path::new("/"));
    let commit = repository.demanded_commit(rev, &directories, monitor)?;
    read_tree(repository, &commit, options, spool, sink, monitor)
}

/// Reads the tree of a commit; see [`read_commit`].
pub fn read_tree(
    repository: &Repository,
    commit: &CommitObject,
    options: &ReadOptions,
    spool: &Spool<'_>,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<OstreeTree, OstreeError> {
    let parsed = Commit::parse(commit.bytes())
        .map_err(|error| ObjectError::from(error).at(commit::object_of(commit.id()), None))?;
    let directories = Directories::read(repository, &parsed, monitor)?;
    let mut skeleton = Skeleton::build(&parsed, &directories)?;
    drop(directories);
    rules::check_etc(&skeleton.tree)?;
    rules::add_mount_points(&mut skeleton.tree)?;
    let reader = ContentReader {
        repository,
        options: *options,
        spool,
        sink,
    };
    Ok(OstreeTree {
        commit: commit.id(),
        tree: skeleton.fill(&reader, monitor)?,
        info: commit.info().clone(),
    })
}

/// The tree of a commit in which only files of its default `/etc` have their content: all others are
/// empty. Nothing is stored.
pub fn read_etc(
    repository: &Repository,
    commit: &CommitObject,
    monitor: &dyn Monitor,
) -> Result<Tree, OstreeError> {
    let parsed = Commit::parse(commit.bytes())
        .map_err(|error| ObjectError::from(error).at(commit::object_of(commit.id()), None))?;
    let directories = Directories::read(repository, &parsed, monitor)?;
    let mut skeleton = Skeleton::build(&parsed, &directories)?;
    rules::check_etc(&skeleton.tree)?;
    rules::add_mount_points(&mut skeleton.tree)?;
    skeleton.retain_below(&[&[b"usr", b"etc"], &[b"etc"]]);
    let reader = ContentReader {
        repository,
        options: ReadOptions {
            threshold_bytes: sealroot_format::limits::DEFAULT_THRESHOLD_BYTES,
            files: FileCheck::Checksums,
        },
        spool: &Spool::in_temporary_directory(),
        sink: &Discard,
    };
    skeleton.fill(&reader, monitor)
}
