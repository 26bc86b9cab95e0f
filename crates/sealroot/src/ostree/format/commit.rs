// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commit object.

use sealroot_format::digest::{CommitId, Sha256Digest};

use super::super::gvariant::{Array, Dictionary, Tuple};
use super::{FormatError, In, parse_checksum, parse_string};

/// A commit object, `(a{sv}aya(say)sstayay)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// What the committer says besides, each under its key.
    pub metadata: Dictionary,
    /// The commit it follows.
    pub parent: Option<CommitId>,
    /// The first line of what the committer wrote.
    pub subject: &'a str,
    /// The rest of it.
    pub body: &'a str,
    /// When the commit was made, seconds since 1970.
    pub timestamp_seconds: u64,
    /// The root directory's names.
    pub root_tree: Sha256Digest,
    /// The root directory's attributes.
    pub root_meta: Sha256Digest,
}

impl<'a> Commit<'a> {
    /// Parses a commit object, the values of its metadata included.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        const FIELD: &str = "the commit";
        let mut tuple = Tuple::new(bytes, 6).within(FIELD)?;
        let metadata = tuple.framed(8).within(FIELD)?.to_vec();
        let metadata = Dictionary::parse(metadata).within("the commit's metadata")?;
        let parent = match tuple.framed(1).within(FIELD)? {
            [] => None,
            parent => {
                let parent = parse_checksum(parent, "parent commit")?;
                Some(CommitId::from_bytes(*parent.as_bytes()))
            }
        };
        check_related(tuple.framed(1).within(FIELD)?)?;
        let subject = parse_string(tuple.framed(1).within(FIELD)?, "subject")?;
        let body = parse_string(tuple.framed(1).within(FIELD)?, "body")?;
        let timestamp_seconds = tuple.u64_be().within(FIELD)?;
        let root_tree = parse_checksum(tuple.framed(1).within(FIELD)?, "root dirtree")?;
        let root_meta = parse_checksum(tuple.last(1).within(FIELD)?, "root dirmeta")?;
        Ok(Self {
            metadata,
            parent,
            subject,
            body,
            timestamp_seconds,
            root_tree,
            root_meta,
        })
    }
}

/// `a(say)` of related commits: never used by OSTree, but part of the format.
fn check_related(bytes: &[u8]) -> Result<(), FormatError> {
    const FIELD: &str = "the related commits";
    for element in Array::new(bytes, 1).within(FIELD)? {
        let mut pair = Tuple::new(element.within(FIELD)?, 1).within(FIELD)?;
        parse_string(pair.framed(1).within(FIELD)?, FIELD)?;
        pair.last(1).within(FIELD)?;
    }
    Ok(())
}
