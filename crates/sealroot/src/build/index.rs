// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number of a release among those that the store has already.
//!
//! Nobody has verified their statements. They only guard the vendor against a slip: those that are
//! damaged or misnamed are passed over.

use sealroot_format::digest::CommitId;
use sealroot_format::sign::{Name, Statement, Unverified};

use super::BuildError;
use crate::store::{Store, StoreError};

/// That no other tree of the same os, variant, stream and architecture has that index or a higher
/// one. A release that has been given its number keeps it.
pub(super) fn check_index(store: &Store, new: &Statement) -> Result<(), BuildError> {
    let mut highest: Option<Statement> = None;
    for (commit, stream) in store.list_statements()? {
        let Some(other) = read(store, commit, &stream)? else {
            continue;
        };
        if line(&other) != line(new) {
            continue;
        }
        if commit == new.commit {
            if other.index == new.index {
                return Ok(());
            }
            continue;
        }
        if highest
            .as_ref()
            .is_none_or(|known| other.index > known.index)
        {
            highest = Some(other);
        }
    }
    match highest {
        Some(other) if new.index <= other.index => Err(BuildError::Index {
            found: new.index,
            highest: other.index,
            commit: other.commit,
            stream: other.stream,
        }),
        _ => Ok(()),
    }
}

/// What numbers its releases together.
fn line(statement: &Statement) -> (&Name, Option<&Name>, &Name, &Name) {
    let Statement {
        os,
        variant,
        stream,
        arch,
        ..
    } = statement;
    (os, variant.as_ref(), stream, arch)
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
