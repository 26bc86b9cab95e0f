// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where good content comes from.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::sign::{Name, Statement};
use sealroot_format::tree::Tree;

use crate::release;
use crate::store::{KernelIo, Store, StoreError, StoreIo, Transaction};

/// Objects that are wanted of a release.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The commit of the release.
    pub commit: CommitId,
    /// Its pack, which is there.
    pub pack: VerityDigest,
    /// What is in the pack.
    pub tree: &'w Tree,
    /// What is wanted of it, and the length of each, bytes.
    pub objects: &'w BTreeMap<VerityDigest, u64>,
}

/// Something that may have what a release needs. It is not trusted: each digest is looked at when what it
/// gives is added, and each signature by who asks.
pub trait Source<I: StoreIo = KernelIo>: fmt::Debug {
    /// What it is called, for people.
    fn name(&self) -> String;

    /// Statements of a commit in a stream, as files that are not verified.
    fn statements(&self, commit: &CommitId, stream: &Name) -> Result<Vec<Vec<u8>>, SourceError>;

    /// Adds the pack that a statement names; whether it has it.
    fn pack(
        &self,
        transaction: &Transaction<'_, I>,
        statement: &Statement,
    ) -> Result<bool, SourceError>;

    /// Adds what it has of the objects that are wanted.
    fn objects(
        &self,
        transaction: &Transaction<'_, I>,
        wanted: &Wanted<'_>,
    ) -> Result<(), SourceError>;
}

/// Why a source did not give what was wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The store that is repaired: no source can help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source: another may do.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl SourceError {
    /// Something that is the source's.
    pub fn other(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}

/// Another store: a copy on another medium, or what an installer brings.
#[derive(Debug)]
pub struct StoreSource<'s, J: StoreIo = KernelIo> {
    store: &'s Store<J>,
}

impl<'s, J: StoreIo> StoreSource<'s, J> {
    /// Takes what is good in a store. It is only read.
    pub fn new(store: &'s Store<J>) -> Self {
        Self { store }
    }
}

impl<I: StoreIo, J: StoreIo> Source<I> for StoreSource<'_, J> {
    fn name(&self) -> String {
        self.store.location().display().to_string()
    }

    fn statements(&self, commit: &CommitId, stream: &Name) -> Result<Vec<Vec<u8>>, SourceError> {
        let found = self.store.read_statement(commit, stream);
        Ok(found.map_err(SourceError::other)?.into_iter().collect())
    }

    fn pack(
        &self,
        transaction: &Transaction<'_, I>,
        statement: &Statement,
    ) -> Result<bool, SourceError> {
        let digest = statement.pack_digest;
        let file = match self.store.open_pack(&digest) {
            Ok(file) => file,
            Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(SourceError::other(error)),
        };
        // A transaction does not go on after a pack that is wrong.
        let found = release::hash(&mut file.reader());
        let found = found.map_err(|error| SourceError::other(file.unreadable(error)))?;
        if found != digest || file.size_bytes() != statement.pack_size_bytes {
            return Err(SourceError::other(file.with_other_content(digest, found)));
        }
        transaction.add_pack(&digest, file.size_bytes(), |out| {
            io::copy(&mut file.reader(), out).map(drop)
        })?;
        Ok(true)
    }

    fn objects(
        &self,
        transaction: &Transaction<'_, I>,
        wanted: &Wanted<'_>,
    ) -> Result<(), SourceError> {
        let mut first_bad = None;
        for (digest, size_bytes) in wanted.objects {
            let file = match self.store.open_object(digest, *size_bytes) {
                Ok(file) => file,
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => {
                    first_bad.get_or_insert(error);
                    continue;
                }
            };
            let added = transaction.add_foreign_object(digest, *size_bytes, &mut file.reader());
            match added {
                Err(error) if error.is_about_content() => {
                    first_bad.get_or_insert(error);
                }
                added => added?,
            }
        }
        first_bad.map_or(Ok(()), |error| Err(SourceError::other(error)))
    }
}
