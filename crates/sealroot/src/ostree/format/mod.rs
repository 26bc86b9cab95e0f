// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects of an OSTree repository: bytes in, types out, no I/O.
//!
//! Parsers check structure only: that bytes are the object their name says is the reader's to
//! check, before it parses. What each type holds is in `docs/design/ostree.md`.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod commit;
mod directory;
mod file;

use std::fmt;

use sealroot_format::ErrorClass;
use sealroot_format::digest::{DIGEST_BYTES, Sha256Digest};
use sealroot_format::tree::{TreeError, Xattr};

use super::gvariant::{Array, NotNormal, Tuple, string};

pub use commit::Commit;
pub use directory::{Child, DirMeta, DirTree};
pub use file::{ArchiveHeader, FileHeader};

/// Why bytes are not the object they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The encoding is not the one normal form of the type.
    #[error("{field} is no GVariant in normal form: {reason}")]
    Encoding {
        /// Which part of the object.
        field: &'static str,
        /// What is wrong with it.
        reason: NotNormal,
    },
    /// A field has a value that it cannot have.
    #[error("{field}: expected {expected}, found {found}")]
    Value {
        /// Which part of the object.
        field: &'static str,
        /// What may be.
        expected: String,
        /// What there is.
        found: String,
    },
    /// A name or attribute is none that a tree may have.
    #[error(transparent)]
    Entry(#[from] TreeError),
}

impl FormatError {
    /// [`ErrorClass::Corrupt`], or what the tree's rules say.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Entry(error) => error.class(),
            Self::Encoding { .. } | Self::Value { .. } => ErrorClass::Corrupt,
        }
    }

    fn value(field: &'static str, expected: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::Value {
            field,
            expected: expected.into(),
            found: found.to_string(),
        }
    }
}

/// Names the field that an encoding error is in.
trait In<T> {
    fn within(self, field: &'static str) -> Result<T, FormatError>;
}

impl<T> In<T> for Result<T, NotNormal> {
    fn within(self, field: &'static str) -> Result<T, FormatError> {
        self.map_err(|reason| FormatError::Encoding { field, reason })
    }
}

/// Owner, group, mode and xattrs: the part that files and directories have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Full `st_mode`: file type and permissions.
    pub mode: u32,
    /// Extended attributes in the order of the object, which is the order that is hashed.
    pub xattrs: Vec<Xattr>,
}

impl Attributes {
    /// Parses `(uuua(ayay))`: a directory's object, or the `user.ostreemeta` of a bare-user file.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        const FIELD: &str = "the metadata";
        let mut tuple = Tuple::new(bytes, 0).within(FIELD)?;
        let attributes = Self {
            uid: tuple.u32_be().within(FIELD)?,
            gid: tuple.u32_be().within(FIELD)?,
            mode: tuple.u32_be().within(FIELD)?,
            xattrs: parse_xattrs(tuple.last(1).within(FIELD)?)?,
        };
        attributes.check()?;
        Ok(attributes)
    }

    /// Checks what is so for every kind of file.
    fn check(&self) -> Result<(), FormatError> {
        const FORMAT: u32 = 0o170_000;
        if self.mode & !(FORMAT | 0o7777) != 0 {
            let found = format!("{:#o}", self.mode);
            return Err(FormatError::value("mode", "16 bits", found));
        }
        for (field, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id == u32::MAX {
                let expected = format!("at most {}", u32::MAX - 1);
                return Err(FormatError::value(field, expected, id));
            }
        }
        Ok(())
    }

    /// The file type of the mode (`S_IFREG` and so on).
    pub const fn file_type_bits(&self) -> u32 {
        self.mode & 0o170_000
    }

    /// Whether the mode is a symlink's.
    pub const fn is_symlink(&self) -> bool {
        self.file_type_bits() == 0o120_000
    }

    /// The permission bits of the mode.
    pub const fn permissions(&self) -> u16 {
        (self.mode & 0o7777) as u16
    }
}

/// Parses `a(ayay)`: the xattrs of any object, and the whole of a `.file-xattrs`. A name's NUL is
/// part of the encoding only.
pub fn parse_xattrs(bytes: &[u8]) -> Result<Vec<Xattr>, FormatError> {
    const FIELD: &str = "the xattrs";
    let mut xattrs = Vec::new();
    for element in Array::new(bytes, 1).within(FIELD)? {
        let mut pair = Tuple::new(element.within(FIELD)?, 1).within(FIELD)?;
        let name = pair.framed(1).within(FIELD)?;
        let value = pair.last(1).within(FIELD)?;
        let name = match name.split_last() {
            Some((0, name)) if !name.contains(&0) => name,
            _ => {
                let found = name.escape_ascii();
                return Err(FormatError::value(
                    "xattr name",
                    "one NUL, at the end",
                    found,
                ));
            }
        };
        xattrs.push(Xattr {
            name: name.into(),
            value: value.into(),
        });
    }
    Ok(xattrs)
}

fn parse_checksum(bytes: &[u8], field: &'static str) -> Result<Sha256Digest, FormatError> {
    let bytes: [u8; DIGEST_BYTES] = bytes
        .try_into()
        .map_err(|_| FormatError::value(field, format!("{DIGEST_BYTES} bytes"), bytes.len()))?;
    Ok(Sha256Digest::from_bytes(bytes))
}

fn parse_string<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, FormatError> {
    string(bytes).within(field)
}

#[cfg(test)]
mod tests;
