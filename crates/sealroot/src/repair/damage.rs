// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is damaged, as data.

use std::fmt;

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::sign::Name;

use crate::check::FindingCode;
use crate::store::StorePath;

/// Most files of a release that are named for one object.
pub(super) const MAX_FILES: usize = 8;

/// A thing that releases need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The statement of a commit in a stream.
    Statement(CommitId, Name),
    /// A pack.
    Pack(VerityDigest),
    /// An object.
    Object(VerityDigest),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(commit, stream) => write!(f, "statement {commit}.{stream}"),
            Self::Pack(digest) => write!(f, "pack {digest}"),
            Self::Object(digest) => write!(f, "object {digest}"),
        }
    }
}

/// A name of it that is of nothing, or of something wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name.
    pub path: StorePath,
    /// What is wrong there, as a check would find it.
    pub code: FindingCode,
    /// The particulars, for people.
    pub detail: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it was only looked for.
    Found,
    /// Every name of it is of the right content now.
    Repaired {
        /// Where that came from.
        from: String,
    },
    /// It is as it was.
    Left {
        /// What each source said, in the order they were asked.
        reasons: Vec<String>,
    },
}

/// A thing that releases need, and that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What.
    pub what: What,
    /// Its length; `None` where nothing says it.
    pub size_bytes: Option<u64>,
    /// The names of it that are damaged, at least one.
    pub places: Vec<Place>,
    /// The first files of a release whose content it is, as paths in the tree.
    pub files: Vec<Box<[u8]>>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Damage {
    pub(super) fn new(what: What, size_bytes: Option<u64>, places: Vec<Place>) -> Self {
        Self {
            what,
            size_bytes,
            places,
            files: Vec::new(),
            outcome: Outcome::Found,
        }
    }

    /// Whether it is as it should be now.
    pub const fn is_repaired(&self) -> bool {
        matches!(self.outcome, Outcome::Repaired { .. })
    }
}

/// What was looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is or was not as it should be: statements, packs, objects.
    pub damage: Vec<Damage>,
    /// Packs that were looked at.
    pub packs: u64,
    /// Objects that were looked at, each counted once.
    pub objects: u64,
    /// Bytes that were read and hashed.
    pub hashed_bytes: u64,
}

impl Report {
    /// What is still not as it should be.
    pub fn left(&self) -> impl Iterator<Item = &Damage> {
        self.damage.iter().filter(|damage| !damage.is_repaired())
    }
}
