// SPDX-License-Identifier: MIT OR Apache-2.0
//! EROFS images: the on-disk structures, a writer in one sequential pass and a reader for
//! untrusted bytes.
//!
//! This room knows nothing of packs: which inode goes where and what its xattrs mean is the
//! business of [`crate::pack`], which has two profiles on top of it. The layout is described in
//! `docs/format/pack.md`.

pub(crate) mod dirent;
pub(crate) mod image;
pub(crate) mod inode;
pub(crate) mod layout;
pub(crate) mod read_xattrs;
pub(crate) mod reader;
mod source;
pub(crate) mod superblock;
pub(crate) mod xattr;

use std::io;

use crate::ErrorClass;

pub use reader::Nid;
pub use source::ReadAt;

/// Why bytes are not an EROFS image of our profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A field has a value it may not have.
    #[error("{what} at byte {offset_bytes}: found {found}, expected {expected}")]
    Field {
        /// Which field or structure.
        what: &'static str,
        /// Where in the image.
        offset_bytes: u64,
        /// What is there.
        found: String,
        /// What may be there.
        expected: String,
    },
    /// The superblock names another profile.
    #[error(
        "volume name: found {:?}, expected {:?}",
        found.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    )]
    VolumeName {
        /// What is there.
        found: [u8; 16],
        /// What may be there.
        expected: [u8; 16],
    },
    /// The image ends before something it refers to.
    #[error(
        "{what} at byte {offset_bytes}: {len_bytes} bytes reach beyond the end at {size_bytes}"
    )]
    Truncated {
        /// What should be there.
        what: &'static str,
        /// Where.
        offset_bytes: u64,
        /// How much of it.
        len_bytes: u64,
        /// The length of the image.
        size_bytes: u64,
    },
    /// The source of the bytes failed.
    #[error("cannot read the image at byte {offset_bytes}")]
    Read {
        /// Where.
        offset_bytes: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Field { .. } | Self::VolumeName { .. } | Self::Truncated { .. } => {
                ErrorClass::Corrupt
            }
            Self::Read { .. } => ErrorClass::Io,
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers and adapters are passed"
    )]
    pub(crate) fn field(
        what: &'static str,
        offset_bytes: u64,
        found: impl ToString,
        expected: impl ToString,
    ) -> Self {
        Self::Field {
            what,
            offset_bytes,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}
