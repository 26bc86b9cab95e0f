// SPDX-License-Identifier: MIT OR Apache-2.0
//! OSTree repositories as a source: a commit read into a tree and objects.
//!
//! Every object is verified against its checksum while it is read, so a tree that comes out is
//! the commit's, whatever state the repository is in. What is read and why the tree is as it is:
//! `docs/design/ostree.md`.

mod assemble;
mod content;
mod directories;
mod error;
pub mod format;
mod gvariant;
mod inflate;
mod keyfile;
mod open;
mod repository;
mod rules;
mod xattrs;

use std::path::Path;

use sealroot_format::digest::{CommitId, Sha256Digest};
use sealroot_format::tree::Tree;

pub use error::{ObjectAt, ObjectError, ObjectKind, ObjectName, OstreeError};
pub use gvariant::NotNormal;
pub use inflate::InflateError;

use self::assemble::Skeleton;
use self::content::ContentReader;
use self::directories::Directories;
use self::format::Commit;
use self::repository::Repository;
use crate::monitor::Monitor;
use crate::object::ObjectSink;
use crate::spool::Spool;

/// How to read a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Files up to this many bytes are part of the tree; larger ones go to the sink.
    pub threshold_bytes: u32,
}

/// What a commit says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The first line of what the committer wrote; may be empty.
    pub subject: String,
    /// When the commit was made, seconds since 1970.
    pub timestamp_seconds: u64,
    /// The version of the OS: the key `version`.
    pub version: Option<String>,
    /// The architecture it is for: the key `ostree.architecture`.
    pub architecture: Option<String>,
    /// The release of its kernel: the key `ostree.linux`.
    pub kernel: Option<String>,
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

/// Reads the commit that `rev` names (a checksum, a local ref, or `remote:ref`) from the repository
/// at `repository`. The content of small files goes to `spool`, once for all names of an object;
/// large files are offered to `sink`.
///
/// Every checksum from the commit down is verified. Whether the commit is the right one is for the
/// caller to know: a ref can be moved by whoever can write to the repository.
pub fn read_commit(
    repository: &Path,
    rev: &str,
    options: &ReadOptions,
    spool: &Spool<'_>,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<OstreeTree, OstreeError> {
    let repository = &Repository::open(repository)?;
    let commit = repository.resolve(rev)?;
    repository.check_complete(commit)?;
    let object = ObjectName {
        checksum: Sha256Digest::from_bytes(*commit.as_bytes()),
        kind: ObjectKind::Commit,
    };
    let bytes = repository
        .read_metadata(object)
        .map_err(|error| error.at(object, None))?;
    let parsed =
        Commit::parse(&bytes).map_err(|error| ObjectError::from(error).at(object, None))?;
    let directories = Directories::read(repository, &parsed, monitor)?;
    let mut skeleton = Skeleton::build(&parsed, &directories)?;
    drop(directories);
    rules::check_etc(&skeleton.tree)?;
    rules::add_mount_points(&mut skeleton.tree)?;
    let reader = ContentReader {
        repository,
        threshold_bytes: options.threshold_bytes,
        spool,
        sink,
    };
    Ok(OstreeTree {
        commit,
        tree: skeleton.fill(&reader, monitor)?,
        info: CommitInfo::of(&parsed),
    })
}

impl CommitInfo {
    fn of(commit: &Commit<'_>) -> Self {
        let string = |key| commit.metadata_string(key).map(str::to_owned);
        Self {
            subject: commit.subject.to_owned(),
            timestamp_seconds: commit.timestamp_seconds,
            version: string("version"),
            architecture: string("ostree.architecture"),
            kernel: string("ostree.linux"),
        }
    }
}
