// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is kept beside a commit, not covered by its checksum: the detached metadata, and the
//! release statements of a vendor that publishes nothing else.
//!
//! Nothing of it is trustworthy before a signature in it was verified, and anyone who can write to
//! the repository can take it away.

use std::fmt;
use std::io::Read;

use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;
use sealroot_format::digest::{CommitId, Sha256Digest};
use sealroot_format::limits;
use sealroot_format::sign::Name;

use super::error::{ObjectError, OstreeError};
use super::gvariant::Dictionary;
use super::repository::{Repository, TO_READ, object_path, open_beneath};
use crate::store::{StorePath, parse_statement_name};

/// The key of a release statement in a commit's detached metadata.
pub const STATEMENT_KEY: &str = "sealroot.release.v1";

/// The directory of a repository that holds statements as files.
const STATEMENTS: &str = "sealroot";

/// Where a release statement was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementPlace {
    /// In the detached metadata.
    Detached,
    /// In a file named by the commit and this stream.
    File(Name),
    /// In the directory of such files.
    Files,
}

impl fmt::Display for StatementPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => f.write_str("the commit's detached metadata"),
            Self::File(stream) => write!(f, "the file for stream {stream}"),
            Self::Files => write!(f, "the directory {STATEMENTS}"),
        }
    }
}

/// What a place has that may have a statement.
pub type PublishedStatement = (StatementPlace, Result<Vec<u8>, OstreeError>);

impl Repository {
    /// The detached metadata of a commit; empty if it has none.
    pub fn detached(&self, commit: CommitId) -> Result<Dictionary, OstreeError> {
        let checksum = Sha256Digest::from_bytes(*commit.as_bytes());
        let error = |source| OstreeError::Detached { commit, source };
        let file = match self.open_regular(&checksum, "commitmeta") {
            Err(ObjectError::Missing) => return Ok(Dictionary::default()),
            result => result.map_err(error)?.0,
        };
        let max = limits::MAX_OSTREE_DETACHED_BYTES;
        let mut bytes = Vec::new();
        (file.take(max.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|source| error(source.into()))?;
        parse_detached(commit, bytes)
    }

    /// The bytes of all release statements that are published with a commit, unverified; or why a
    /// place that may have one cannot be read, which says nothing of the others.
    pub fn published_statements(&self, commit: CommitId) -> Vec<PublishedStatement> {
        let mut found = Vec::new();
        let detached = self.detached(commit);
        match detached.map(|metadata| metadata.bytes(STATEMENT_KEY).map(Into::into)) {
            Ok(None) => {}
            Ok(Some(bytes)) => found.push((StatementPlace::Detached, Ok(bytes))),
            Err(error) => found.push((StatementPlace::Detached, Err(error))),
        }
        match self.statement_streams(commit) {
            Ok(streams) => found.extend(streams.into_iter().map(|stream| {
                let bytes = self.read_statement(commit, &stream);
                (StatementPlace::File(stream), bytes)
            })),
            Err(error) => found.push((StatementPlace::Files, Err(error))),
        }
        found
    }

    fn read_statement(&self, commit: CommitId, stream: &Name) -> Result<Vec<u8>, OstreeError> {
        let path = statement_path(&commit, stream).to_string();
        let read_error = |source| OstreeError::Read {
            path: self.path.join(&path),
            source,
        };
        let file = open_beneath(&self.root, &path, TO_READ);
        let file = file.map_err(|errno| read_error(errno.into()))?;
        let mut bytes = Vec::new();
        // One byte more than is taken for a statement.
        let max = (limits::MAX_SIGN_FILE_BYTES as u64).saturating_add(1);
        let read = std::fs::File::from(file).take(max).read_to_end(&mut bytes);
        read.map_err(read_error)?;
        Ok(bytes)
    }

    /// The streams in which there is a file with a statement of the commit, sorted.
    fn statement_streams(&self, commit: CommitId) -> Result<Vec<Name>, OstreeError> {
        let read_error = |errno: Errno| OstreeError::Read {
            path: self.path.join(STATEMENTS),
            source: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match open_beneath(&self.root, STATEMENTS, flags) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            result => result.map_err(read_error)?,
        };
        let mut streams = Vec::new();
        for entry in Dir::read_from(&directory).map_err(read_error)? {
            let entry = entry.map_err(read_error)?;
            match parse_statement_name(entry.file_name().to_bytes()) {
                Some((of, stream)) if of == commit => streams.push(stream),
                _ => {}
            }
        }
        streams.sort_unstable();
        streams.truncate(limits::MAX_STATEMENTS_OF_COMMIT);
        Ok(streams)
    }
}

/// Detached metadata from the bytes of its file.
pub(super) fn parse_detached(commit: CommitId, bytes: Vec<u8>) -> Result<Dictionary, OstreeError> {
    let max = limits::MAX_OSTREE_DETACHED_BYTES;
    let error = |source| OstreeError::Detached { commit, source };
    if bytes.len() as u64 > max {
        return Err(error(ObjectError::File {
            field: "size",
            expected: format!("at most {max} bytes"),
            found: "more".into(),
        }));
    }
    Dictionary::parse(bytes).map_err(|reason| error(ObjectError::Encoding(reason)))
}

/// The file of a commit's detached metadata, in the repository.
pub(super) fn detached_path(commit: &CommitId) -> StorePath {
    let checksum = Sha256Digest::from_bytes(*commit.as_bytes());
    let path = format!("objects/{}", object_path(&checksum, "commitmeta"));
    StorePath::new(path).expect("made of digits and constants")
}

/// The directory of statements.
pub(super) fn statements_path() -> StorePath {
    StorePath::new(STATEMENTS).expect("a constant")
}

/// The file of a statement, in the repository.
pub(super) fn statement_path(commit: &CommitId, stream: &Name) -> StorePath {
    let name = format!("{STATEMENTS}/{commit}.{stream}.sign");
    StorePath::new(name).expect("a stream is a name that files can have")
}
