// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release statement put where those who pull a commit find it: into the commit's detached
//! metadata and into a file of the repository.
//!
//! Each file is replaced as a whole and durably, one after the other; whatever goes wrong between,
//! doing it again ends in the same repository.

use std::io;
use std::path::Path;

use sealroot_format::digest::CommitId;
use sealroot_format::limits;
use sealroot_format::sign::{Name, Statement, Unverified};

use super::detached::{
    STATEMENT_KEY, detached_path, parse_detached, statement_path, statements_path,
};
use super::error::OstreeError;
use super::repository::Repository;
use crate::monitor::Monitor;
use crate::store::{
    KernelIo, OnTaken, StoreError, StoreIo, StorePath, again, failed, read_small_on, write_unnamed,
};

/// The name under which a file is made before it replaces another.
const ASIDE: &str = "tmp/sealroot-replacement";

/// What became of a statement that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The document as it is published: with the signatures that were there before.
    pub document: Unverified<Statement>,
    /// Whether anything was changed.
    pub is_new: bool,
    /// Whether the detached metadata named another release before.
    pub has_replaced: bool,
}

impl Repository {
    /// Publishes the statement of a commit: signatures that are there already stay, and so does,
    /// byte for byte, what others keep in the commit's detached metadata.
    pub fn publish(
        &self,
        commit: CommitId,
        stream: &Name,
        document: &Unverified<Statement>,
        monitor: &dyn Monitor,
    ) -> Result<Published, OstreeError> {
        let _lock = self.lock_exclusively(monitor)?;
        // Detached metadata of no commit would be garbage for ever.
        self.commit(commit)?;
        let io = KernelIo::open(&self.path).map_err(|source| OstreeError::Read {
            path: self.path.clone(),
            source,
        })?;
        publish_on(&io, commit, stream, document)
    }

    /// Where a statement is published as a file.
    pub fn statement_file(&self, commit: &CommitId, stream: &Name) -> std::path::PathBuf {
        let path = statement_path(commit, stream).to_string();
        self.path.join(Path::new(&path))
    }
}

/// See [`Repository::publish`]; `io` is the repository's directory, and locked.
pub fn publish_on<I: StoreIo>(
    io: &I,
    commit: CommitId,
    stream: &Name,
    document: &Unverified<Statement>,
) -> Result<Published, OstreeError> {
    let metadata_path = detached_path(&commit);
    let bytes = read_small_on(io, &metadata_path, limits::MAX_OSTREE_DETACHED_BYTES)?;
    let metadata = parse_detached(commit, bytes.unwrap_or_default())?;
    let file_path = statement_path(&commit, stream);
    let file = read_small_on(io, &file_path, limits::MAX_SIGN_FILE_BYTES as u64)?;

    let mut document = document.clone();
    let in_metadata = metadata.bytes(STATEMENT_KEY);
    for bytes in [in_metadata, file.as_deref()].into_iter().flatten() {
        // What is no statement, or one that says something else, is replaced.
        if let Ok(other) = Unverified::parse(bytes)
            && other.body() == document.body()
        {
            document.merge(&other).map_err(OstreeError::Statement)?;
        }
    }
    let has_replaced = in_metadata.is_some_and(|bytes| {
        Unverified::<Statement>::parse(bytes).map_or(true, |other| other.body() != document.body())
    });
    let text = document.to_string();
    if text.len() > limits::MAX_SIGN_FILE_BYTES {
        return Err(OstreeError::Written(StoreError::TooLarge {
            path: io.location().join(file_path.to_string()),
            found_bytes: text.len() as u64,
            max_bytes: limits::MAX_SIGN_FILE_BYTES as u64,
        }));
    }
    let mut is_new = false;
    if file.as_deref() != Some(text.as_bytes()) {
        create_directory(io, &statements_path())?;
        replace(io, &file_path, text.as_bytes())?;
        is_new = true;
    }
    if in_metadata != Some(text.as_bytes()) {
        let metadata = metadata.with_bytes(STATEMENT_KEY, text.as_bytes());
        let metadata = metadata.expect("the key has no NUL");
        replace(io, &metadata_path, metadata.as_bytes())?;
        is_new = true;
    }
    Ok(Published {
        document,
        is_new,
        has_replaced,
    })
}

/// Makes a directory, durably, unless it is there.
fn create_directory<I: StoreIo>(io: &I, path: &StorePath) -> Result<(), StoreError> {
    match again(|| io.create_directory(path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result.map_err(failed(io, "create", path))?,
    }
    let (parent, _) = path.split().expect("not the repository itself");
    again(|| io.sync_directory(&parent)).map_err(failed(io, "sync", &parent))
}

/// Replaces a file, or makes it: at once, whole and durably.
fn replace<I: StoreIo>(io: &I, path: &StorePath, bytes: &[u8]) -> Result<(), StoreError> {
    let aside = StorePath::new(ASIDE).expect("a constant");
    let file = write_unnamed(io, path, bytes)?;
    again(|| io.sync_file(&file)).map_err(failed(io, "sync", path))?;
    match again(|| io.link(&file, &aside)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left by somebody who was stopped: we have the lock.
            again(|| io.remove_file(&aside)).map_err(failed(io, "remove", &aside))?;
            again(|| io.link(&file, &aside)).map_err(failed(io, "create", &aside))?;
        }
        result => result.map_err(failed(io, "create", &aside))?,
    }
    again(|| io.rename(&aside, path, OnTaken::Replace)).map_err(failed(io, "create", path))?;
    let (directory, _) = path.split().expect("not the repository itself");
    again(|| io.sync_directory(&directory)).map_err(failed(io, "sync", &directory))
}
