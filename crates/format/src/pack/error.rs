// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a pack cannot be written or read.

use std::io;

use super::FORMAT_VERSION;
use super::place::VOLUME_PREFIX;
use crate::ErrorClass;
use crate::erofs::ImageError;
use crate::erofs::image::WriteError;
use crate::tree::TreeError;

/// Why a tree cannot become a pack, or bytes are not a pack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The threshold is beyond [`crate::limits::MAX_THRESHOLD_BYTES`].
    #[error("threshold: found {found} bytes, expected at most {max}")]
    Threshold {
        /// What was asked for.
        found: u32,
        /// The limit.
        max: u32,
    },
    /// A file is inline though above the threshold, or external though not.
    #[error(
        "{path}: a file of {size_bytes} bytes is {found}, against a threshold of {threshold_bytes}"
    )]
    Split {
        /// The file.
        path: String,
        /// Its size.
        size_bytes: u64,
        /// `inline` or `external`.
        found: &'static str,
        /// The threshold of the pack.
        threshold_bytes: u64,
    },
    /// An entry is something the format has no place for.
    #[error("{path}: {what}: found {found}, expected {expected}")]
    Entry {
        /// The entry.
        path: String,
        /// Which property of it.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// All together is too large for the format.
    #[error("{what}: expected at most {max}")]
    TooLarge {
        /// What of the image.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The output could not be written.
    #[error("cannot write the pack")]
    Write(#[source] io::Error),
    /// The content of an inline file could not be read from where it is kept.
    #[error("cannot read the content of a small file back")]
    Content(#[source] io::Error),
    /// The pack is of a format version that this program does not know.
    #[error("pack format version: found {found:?}, expected {expected}")]
    Version {
        /// What the pack says, escaped.
        found: String,
        /// The only version known.
        expected: u32,
    },
    /// The image breaks the layout of EROFS or of our profile.
    #[error("not a valid pack")]
    Image(#[source] ImageError),
    /// No threshold divides the files into those inside and those outside as they are divided.
    #[error(
        "not a valid pack: a file of {inline_bytes} bytes is inside, but one of {external_bytes} \
         is not"
    )]
    NotDivided {
        /// The length of the largest file inside.
        inline_bytes: u64,
        /// The length of the smallest file outside.
        external_bytes: u64,
    },
    /// The image is readable, but not as the writer writes its tree.
    #[error("not a valid pack: byte {offset_bytes} is not what the format prescribes for its tree")]
    NotCanonical {
        /// The first byte that differs.
        offset_bytes: u64,
    },
    /// The image holds something that cannot be part of a tree.
    #[error("not a valid pack: {path}")]
    Tree {
        /// The directory or entry.
        path: String,
        /// Why not.
        #[source]
        source: TreeError,
    },
}

impl PackError {
    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Threshold { .. } | Self::Split { .. } => ErrorClass::Usage,
            Self::Entry { .. } | Self::TooLarge { .. } | Self::Version { .. } => {
                ErrorClass::Unsupported
            }
            Self::Write(_) | Self::Content(_) => ErrorClass::Io,
            Self::NotDivided { .. } | Self::NotCanonical { .. } | Self::Tree { .. } => {
                ErrorClass::Corrupt
            }
            Self::Image(source) => source.class(),
        }
    }
}

impl From<ImageError> for PackError {
    fn from(source: ImageError) -> Self {
        let version = match &source {
            ImageError::VolumeName { found, .. } => found.strip_prefix(VOLUME_PREFIX),
            _ => None,
        };
        match version {
            Some(version) => Self::Version {
                found: trim_nul(version).escape_ascii().to_string(),
                expected: FORMAT_VERSION,
            },
            None => Self::Image(source),
        }
    }
}

impl From<WriteError> for PackError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Output(error) => Self::Write(error),
            WriteError::Content(error) => Self::Content(error),
        }
    }
}

fn trim_nul(bytes: &[u8]) -> &[u8] {
    let len = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    bytes.get(..len).unwrap_or(bytes)
}
