// SPDX-License-Identifier: MIT OR Apache-2.0
//! The release statement: all that a vendor says about one release, in one canonical text.

use std::fmt;

use super::{Error, Name, Word};
use crate::{
    digest::{CommitId, TreeDigest, VerityDigest},
    limits,
    text::{Lines, OrNone, Tagged},
};

const WHAT: &str = "release statement";

/// Version of the statement's format.
const VERSION: u32 = 1;

/// How a tree digest begins.
const TREE_TAG: &str = "sha256:";

const COMMIT: &str = "64 lowercase hex digits";
const TREE: &str = "sha256: and 64 lowercase hex digits";

/// Which release of its stream, and how old it may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReleaseNumbers {
    /// Counts the releases of a stream.
    pub index: u64,
    /// Rises only when older releases must no longer boot.
    pub epoch: u64,
}

/// What a release is. Any statement can be written down; only a
/// [`Verified`](super::Verified) one says that the vendor did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statement {
    /// The OS, as `ID` in os-release.
    pub os: Name,
    /// The edition of the OS, where there are several.
    pub variant: Option<Name>,
    /// The line of releases this one belongs to, such as `stable`.
    pub stream: Name,
    /// The machine architecture, as `uname -m` gives it.
    pub arch: Name,
    /// The version for people; ordered by nobody.
    pub version: Option<Word>,
    /// Number of the release in its stream; rises with every release.
    pub index: u64,
    /// Security epoch; rises when all older releases must not boot any more.
    pub epoch: u64,
    /// The tree: OSTree's commit, or the SHA-256 of the canonical dump.
    pub commit: CommitId,
    /// The SHA-256 of the tree's canonical dump.
    pub tree_digest: TreeDigest,
    /// Version of the pack's format: which frozen writer makes these bytes.
    pub pack_format: u32,
    /// The fs-verity digest of the pack.
    pub pack_digest: VerityDigest,
    /// The length of the pack.
    pub pack_size_bytes: u64,
    /// The number of inodes in the tree.
    pub entries: u64,
    /// The number of distinct objects the pack names.
    pub objects: u64,
    /// The length of these objects together.
    pub object_bytes: u64,
    /// Files up to this many bytes are inside the pack.
    pub threshold_bytes: u32,
    /// The kernel release (`uname -r`) the tree's modules are for.
    pub kernel: Option<Word>,
    /// When the release was made, seconds since 1970.
    pub created: u64,
}

impl Statement {
    /// Its index and epoch.
    pub const fn numbers(&self) -> ReleaseNumbers {
        ReleaseNumbers {
            index: self.index,
            epoch: self.epoch,
        }
    }

    /// Reads a statement that is trusted for where it comes from: one just built here, or the
    /// body of a document just verified.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut lines = Lines::new(WHAT, text, limits::MAX_SIGN_FILE_BYTES)?;
        lines.header("release", VERSION)?;
        let statement = Self {
            os: lines.field("os")?.name()?,
            variant: (lines.field("variant")?).optional(Name::EXPECTED, Name::accept)?,
            stream: lines.field("stream")?.name()?,
            arch: lines.field("arch")?.name()?,
            version: (lines.field("version")?).optional(Word::EXPECTED, Word::accept)?,
            index: lines.field("index")?.number()?,
            epoch: lines.field("epoch")?.number()?,
            commit: (lines.field("commit")?).parse(COMMIT, CommitId::from_hex)?,
            tree_digest: lines.field("tree-digest")?.parse(TREE, tree_digest)?,
            pack_format: lines.field("pack-format")?.number()?,
            pack_digest: (lines.field("pack-digest")?).parse(Tagged::EXPECTED, Tagged::parse)?,
            pack_size_bytes: lines.field("pack-size")?.number()?,
            entries: lines.field("entries")?.number()?,
            objects: lines.field("objects")?.number()?,
            object_bytes: lines.field("object-bytes")?.number()?,
            threshold_bytes: lines.field("threshold")?.number()?,
            kernel: (lines.field("kernel")?).optional(Word::EXPECTED, Word::accept)?,
            created: lines.field("created")?.number()?,
        };
        lines.end()?;
        Ok(statement)
    }
}

fn tree_digest(text: &str) -> Option<TreeDigest> {
    TreeDigest::from_hex(text.strip_prefix(TREE_TAG)?)
}

/// The canonical text.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sealroot release {VERSION}")?;
        writeln!(f, "os {}", self.os)?;
        writeln!(f, "variant {}", OrNone(self.variant.as_ref()))?;
        writeln!(f, "stream {}", self.stream)?;
        writeln!(f, "arch {}", self.arch)?;
        writeln!(f, "version {}", OrNone(self.version.as_ref()))?;
        writeln!(f, "index {}", self.index)?;
        writeln!(f, "epoch {}", self.epoch)?;
        writeln!(f, "commit {}", self.commit)?;
        writeln!(f, "tree-digest {TREE_TAG}{}", self.tree_digest)?;
        writeln!(f, "pack-format {}", self.pack_format)?;
        writeln!(f, "pack-digest {}", Tagged(&self.pack_digest))?;
        writeln!(f, "pack-size {}", self.pack_size_bytes)?;
        writeln!(f, "entries {}", self.entries)?;
        writeln!(f, "objects {}", self.objects)?;
        writeln!(f, "object-bytes {}", self.object_bytes)?;
        writeln!(f, "threshold {}", self.threshold_bytes)?;
        writeln!(f, "kernel {}", OrNone(self.kernel.as_ref()))?;
        writeln!(f, "created {}", self.created)
    }
}
