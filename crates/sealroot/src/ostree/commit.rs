// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits of a repository: what they say, and whether they are there.

use rustix::fs::OFlags;
use rustix::io::Errno;
use sealroot_format::digest::{CommitId, Sha256Digest};

use super::error::{ObjectError, ObjectKind, ObjectName, OstreeError};
use super::format::Commit;
use super::gvariant::Dictionary;
use super::repository::{Repository, object_path, open_beneath};

/// What a commit says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The commit it follows.
    pub parent: Option<CommitId>,
    /// The first line of what the committer wrote; may be empty.
    pub subject: String,
    /// The rest of it.
    pub body: String,
    /// When the commit was made, seconds since 1970.
    pub timestamp_seconds: u64,
    /// The version of the OS: the key `version`.
    pub version: Option<String>,
    /// The architecture it is for: the key `ostree.architecture`.
    pub architecture: Option<String>,
    /// The release of its kernel: the key `ostree.linux`.
    pub kernel: Option<String>,
    /// Whether it says that it can be booted: the key `ostree.bootable`.
    pub is_bootable: bool,
    /// The refs it was made for: the key `ostree.ref-binding`.
    pub ref_binding: Vec<String>,
    /// The collection it was made for: the key `ostree.collection-binding`.
    pub collection_binding: Option<String>,
    /// That there will be no newer one, and why: the key `ostree.endoflife`.
    pub end_of_life: Option<String>,
    /// All of the commit's metadata.
    pub metadata: Dictionary,
}

impl CommitInfo {
    pub(super) fn of(commit: &Commit<'_>) -> Self {
        let metadata = commit.metadata.clone();
        let string = |key| metadata.string(key).map(str::to_owned);
        let refs = metadata.strings("ostree.ref-binding").unwrap_or_default();
        Self {
            parent: commit.parent,
            subject: commit.subject.to_owned(),
            body: commit.body.to_owned(),
            timestamp_seconds: commit.timestamp_seconds,
            version: string("version"),
            architecture: string("ostree.architecture"),
            kernel: string("ostree.linux"),
            is_bootable: metadata.boolean("ostree.bootable").unwrap_or_default(),
            ref_binding: refs.into_iter().map(str::to_owned).collect(),
            collection_binding: string("ostree.collection-binding"),
            end_of_life: string("ostree.endoflife"),
            metadata,
        }
    }
}

/// A commit object whose checksum was verified.
#[derive(Clone, Debug)]
pub struct CommitObject {
    pub(super) id: CommitId,
    pub(super) bytes: Vec<u8>,
    pub(super) info: CommitInfo,
}

impl CommitObject {
    /// The commit's checksum.
    pub const fn id(&self) -> CommitId {
        self.id
    }

    /// The object: what OSTree's signatures are over.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    pub const fn info(&self) -> &CommitInfo {
        &self.info
    }
}

/// The object that a commit is.
pub(super) fn object_of(commit: CommitId) -> ObjectName {
    ObjectName {
        checksum: Sha256Digest::from_bytes(*commit.as_bytes()),
        kind: ObjectKind::Commit,
    }
}

impl Repository {
    /// Reads and verifies a commit object. What it names need not be there; see
    /// [`Repository::check_complete`].
    pub fn commit(&self, id: CommitId) -> Result<CommitObject, OstreeError> {
        let object = object_of(id);
        let bytes = match self.read_metadata(object) {
            Err(ObjectError::Missing) if self.has_tombstone(id)? => {
                return Err(OstreeError::Deleted { commit: id });
            }
            result => result.map_err(|error| error.at(object, None))?,
        };
        let parsed =
            Commit::parse(&bytes).map_err(|error| ObjectError::from(error).at(object, None))?;
        let info = CommitInfo::of(&parsed);
        Ok(CommitObject { id, bytes, info })
    }

    /// Refuses a commit that is marked as there only in part.
    pub fn check_complete(&self, commit: CommitId) -> Result<(), OstreeError> {
        let marker = format!("state/{commit}.commitpartial");
        if self.is_there(&marker)? {
            return Err(OstreeError::Partial {
                repository: self.path.clone(),
                commit,
            });
        }
        Ok(())
    }

    /// Whether the commit was deleted and left a mark.
    fn has_tombstone(&self, commit: CommitId) -> Result<bool, OstreeError> {
        let checksum = object_of(commit).checksum;
        let path = object_path(&checksum, "tombstone-commit");
        self.is_there(&format!("objects/{path}"))
    }

    fn is_there(&self, path: &str) -> Result<bool, OstreeError> {
        match open_beneath(&self.root, path, OFlags::PATH | OFlags::CLOEXEC) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(OstreeError::Read {
                path: self.path.join(path),
                source: errno.into(),
            }),
        }
    }
}
