// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commit object.

use sealroot_format::digest::Sha256Digest;

use super::super::gvariant::{Array, Tuple, normal};
use super::{FormatError, In, parse_checksum, parse_string};

/// A commit object, `(a{sv}aya(say)sstayay)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// `a{sv}`, checked.
    metadata: &'a [u8],
    /// The first line of what the committer wrote.
    pub subject: &'a str,
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
        let metadata = tuple.framed(8).within(FIELD)?;
        normal::check_dictionary(metadata).within("the commit's metadata")?;
        let parent = tuple.framed(1).within(FIELD)?;
        if !parent.is_empty() {
            parse_checksum(parent, "parent commit")?;
        }
        check_related(tuple.framed(1).within(FIELD)?)?;
        let subject = parse_string(tuple.framed(1).within(FIELD)?, "subject")?;
        parse_string(tuple.framed(1).within(FIELD)?, "body")?;
        let timestamp_seconds = tuple.u64_be().within(FIELD)?;
        let root_tree = parse_checksum(tuple.framed(1).within(FIELD)?, "root dirtree")?;
        let root_meta = parse_checksum(tuple.last(1).within(FIELD)?, "root dirmeta")?;
        Ok(Self {
            metadata,
            subject,
            timestamp_seconds,
            root_tree,
            root_meta,
        })
    }

    /// The string under `key` in the commit's metadata; `None` also if there is something else
    /// than a string.
    pub fn metadata_string(&self, key: &str) -> Option<&'a str> {
        normal::lookup_string(self.metadata, key)
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
