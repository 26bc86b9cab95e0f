// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number of a release among those that the store has already.
//!
//! Nobody has verified their statements. They only guard the vendor against a slip: those that are
//! damaged or misnamed are passed over.

use sealroot_format::digest::CommitId;
use sealroot_format::sign::{Name, Statement, Unverified};

use super::{BuildError, Release};
use crate::store::{Store, StoreError};

/// Whether the index of a release is above all that the store has in its line.
pub(super) fn is_new(store: &Store, release: &Release) -> Result<bool, BuildError> {
    let others = others(store, release)?;
    Ok(others.iter().all(|other| release.index > other.index))
}

/// That no other tree of the same os, variant, stream and architecture has that index or a higher
/// one. A release that has been given its number keeps it.
pub(super) fn check_index(
    store: &Store,
    release: &Release,
    commit: CommitId,
) -> Result<(), BuildError> {
    let (own, others): (Vec<_>, Vec<_>) = others(store, release)?
        .into_iter()
        .partition(|other| other.commit == commit);
    if own.iter().any(|own| own.index == release.index) {
        return Ok(());
    }
    match others.into_iter().max_by_key(|other| other.index) {
        Some(other) if release.index <= other.index => Err(BuildError::Index {
            found: release.index,
            highest: other.index,
            commit: other.commit,
            stream: other.stream,
        }),
        _ => Ok(()),
    }
}

/// The releases in the store that are numbered together with `release`.
fn others(store: &Store, release: &Release) -> Result<Vec<Statement>, StoreError> {
    let is_in_line = |other: &Statement| {
        other.os == release.os
            && other.variant == release.variant
            && other.stream == release.stream
            && other.arch == release.arch
    };
    let mut found = Vec::new();
    for (commit, stream) in store.list_statements()? {
        found.extend(read(store, commit, &stream)?.filter(is_in_line));
    }
    Ok(found)
}

/// A statement that is well-formed and of what its name says.
fn read(store: &Store, commit: CommitId, stream: &Name) -> Result<Option<Statement>, StoreError> {
    let bytes = match store.read_statement(&commit, stream) {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(StoreError::NotRegular { .. } | StoreError::TooLarge { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let statement = Unverified::<Statement>::parse(&bytes)
        .and_then(|document| Statement::parse(document.body()));
    Ok(statement
        .ok()
        .filter(|found| found.commit == commit && found.stream == *stream))
}
