// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where files are read from: a server, or a directory with a copy of it.
//!
//! A source is not trusted. It gives bytes of a file from a place on, at most as many as were asked
//! for; fewer, wrong ones or none are for whoever asks to find out.

mod directory;
mod http;

use std::io::Read;
use std::path::Path;

use sealroot_format::ErrorClass;

pub use directory::DirectorySource;
pub use http::{HttpSource, Timeouts};

/// Files to read by their names.
pub trait Source: Send + Sync {
    /// Where it is, for people.
    fn location(&self) -> String;

    /// Bytes of the file at `path` from `start` on, up to `len` of them.
    fn open(&self, path: &str, start: u64, len: u64) -> Result<Box<dyn Read + Send>, SourceError>;

    /// Whether it may give later what it does not give now.
    fn may_change(&self) -> bool {
        true
    }
}

/// Why a source did not give a file.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It says that there is none.
    #[error("there is no {path}")]
    NotFound {
        /// Where it should be.
        path: String,
    },
    /// It does not let us have it, however often it is asked.
    #[error("cannot get {path}: {reason}")]
    Denied {
        /// What was asked for.
        path: String,
        /// Why not.
        reason: String,
    },
    /// It cannot be reached, by something that seldom goes away by itself.
    #[error("cannot get {path}: {reason}")]
    Unreachable {
        /// What was asked for.
        path: String,
        /// What is in the way.
        obstacle: Obstacle,
        /// What was found.
        reason: String,
    },
    /// It may give it later.
    #[error("cannot get {path}: {reason}")]
    Unavailable {
        /// What was asked for.
        path: String,
        /// Why not.
        reason: String,
    },
    /// It gave something else.
    #[error("cannot get {path}: {reason}")]
    Refused {
        /// What was asked for.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// What is between us and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its name is not known.
    Name,
    /// Nobody listens at its address, or no way leads there.
    Nobody,
    /// What listens there does not speak TLS as we do.
    Tls,
    /// Its certificate is not trusted.
    Certificate,
    /// It leads in a circle, or to where nobody may be led.
    Redirection,
}

impl Obstacle {
    /// How often in a row it may be met: a server that starts anew takes seconds, and what somebody has
    /// to put right takes longer than we wait.
    pub(crate) const fn attempts(self) -> u32 {
        match self {
            Self::Nobody => 4,
            Self::Name | Self::Tls => 2,
            Self::Certificate | Self::Redirection => 1,
        }
    }
}

impl SourceError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::Unavailable { .. } | Self::Unreachable { .. } | Self::Denied { .. } => {
                ErrorClass::Io
            }
            Self::Refused { .. } => ErrorClass::Usage,
        }
    }

    /// How often in a row a source may fail in this way until asking it again is in vain, if that is known.
    pub(crate) const fn attempts(&self) -> Option<u32> {
        match self {
            Self::NotFound { .. } | Self::Denied { .. } => Some(1),
            Self::Unreachable { obstacle, .. } => Some(obstacle.attempts()),
            Self::Unavailable { .. } | Self::Refused { .. } => None,
        }
    }
}

/// Whether it is the address of a server.
pub fn is_server(address: &str) -> bool {
    let is_http = ["http://", "https://"].map(|scheme| address.starts_with(scheme));
    is_http.contains(&true)
}

/// The source at an address: `http:` or `https:`, or a directory, `file:` before it or not.
pub fn open(address: &str) -> Result<Box<dyn Source>, SourceError> {
    if is_server(address) {
        return Ok(Box::new(HttpSource::new(address, Timeouts::default())));
    }
    let path = address.strip_prefix("file://").unwrap_or(address);
    if path.contains("://") {
        return Err(SourceError::Refused {
            path: address.into(),
            reason: "expected http://, https://, file:// or a directory".into(),
        });
    }
    Ok(Box::new(DirectorySource::new(Path::new(path))))
}
