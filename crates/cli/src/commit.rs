// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits on the command line: whole, or as many digits as tell them apart in a store.
//!
//! Digits that were left out are looked up among the names of statements, which nobody vouches for:
//! whatever is found is then verified as the whole commit would be.

use std::collections::BTreeSet;
use std::str::FromStr;

use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;

use crate::failure::Failure;

/// Digits of a commit.
const DIGITS: usize = 64;

/// Fewest digits that stand for a commit.
const MIN_DIGITS: usize = 4;

/// Most candidates that an error lists.
const MAX_LISTED: usize = 8;

/// The first digits of a commit, or all.
#[derive(Clone, Debug)]
pub(crate) struct CommitPrefix(String);

impl FromStr for CommitPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if (MIN_DIGITS..=DIGITS).contains(&text.len()) && text.bytes().all(is_digit) {
            return Ok(Self(text.to_owned()));
        }
        let len = text.len();
        Err(format!(
            "expected {DIGITS} lowercase hex digits or the first {MIN_DIGITS} or more of them, \
             found {len} characters"
        ))
    }
}

impl CommitPrefix {
    /// The commit of the store that begins so. One that is whole need not be there.
    pub(crate) fn find(&self, store: &Store) -> anyhow::Result<CommitId> {
        if let Some(whole) = CommitId::from_hex(&self.0) {
            return Ok(whole);
        }
        let message = format!("no commit in the store begins with {}", self.0);
        let missing = Failure::new(ErrorClass::NotFound, message)
            .hint("`sealroot status` lists the releases of a store");
        Ok(self.find_any(store)?.ok_or(missing)?)
    }

    /// Like [`CommitPrefix::find`]; `None` if there is none.
    pub(crate) fn find_any(&self, store: &Store) -> anyhow::Result<Option<CommitId>> {
        let names = store.list_statements()?.into_iter();
        let commits: BTreeSet<CommitId> = names
            .map(|(commit, _)| commit)
            .filter(|commit| commit.to_hex().starts_with(&self.0))
            .collect();
        if commits.len() <= 1 {
            return Ok(commits.into_iter().next());
        }
        let listed: Vec<_> = commits
            .iter()
            .take(MAX_LISTED)
            .map(|commit| commit.to_hex())
            .collect();
        let message = format!("{} commits begin with {}", commits.len(), self.0);
        Err(Failure::new(ErrorClass::Usage, message)
            .hint(format!("give more digits: {}", listed.join(" or ")))
            .into())
    }
}
