// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository of OSTree's as a source: its files are objects, and a pack is made again of its commit.

use sealroot_format::digest::CommitId;
use sealroot_format::sign::{Name, Statement, Unverified};

use super::source::{Source, SourceError, Wanted};
use crate::adopt::{self, AdoptError};
use crate::import::{self, ImportError, Rebuilt};
use crate::object::Discard;
use crate::ostree::Repository;
use crate::spool::{self, Spool};
use crate::store::Transaction;

/// See [`Source`].
#[derive(Debug)]
pub struct OstreeSource<'r> {
    repository: &'r Repository,
}

impl<'r> OstreeSource<'r> {
    /// Takes what is good in a repository. Files of it may become objects as they are.
    pub fn new(repository: &'r Repository) -> Self {
        Self { repository }
    }
}

impl Source for OstreeSource<'_> {
    fn name(&self) -> String {
        self.repository.path().display().to_string()
    }

    fn statements(&self, commit: &CommitId, stream: &Name) -> Result<Vec<Vec<u8>>, SourceError> {
        let is_of_stream = |bytes: &Vec<u8>| {
            let document = Unverified::<Statement>::parse(bytes).ok();
            let statement = document.and_then(|found| Statement::parse(found.body()).ok());
            statement.is_some_and(|statement| statement.stream == *stream)
        };
        let published = self.repository.published_statements(*commit).into_iter();
        let readable = published.filter_map(|(_, bytes)| bytes.ok());
        Ok(readable.filter(is_of_stream).collect())
    }

    fn pack(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<bool, SourceError> {
        let id = statement.commit;
        let complete = self.repository.check_complete(id);
        complete.map_err(SourceError::other)?;
        let commit = self.repository.commit(id).map_err(SourceError::other)?;
        let store = transaction.store();
        let spool = Spool::new(spool::MEMORY_BYTES, || store.io().create_scratch());
        let rebuilt = import::rebuild(
            self.repository,
            &commit,
            statement,
            &spool,
            &Discard,
            transaction.monitor(),
        );
        match rebuilt.map_err(of_import)? {
            Rebuilt::Same(tree) => {
                import::add_pack(transaction, &tree, statement)?;
                Ok(true)
            }
            Rebuilt::Differs(differences) => {
                let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
                let text = format!("another pack is made of it: {}", differences.join(", "));
                Err(SourceError::Other(text.into()))
            }
        }
    }

    fn objects(
        &self,
        transaction: &Transaction<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<(), SourceError> {
        let monitor = transaction.monitor();
        let gathered = adopt::gather(
            transaction,
            self.repository,
            wanted.commit,
            wanted.tree,
            monitor,
        );
        gathered.map_err(|error| match error {
            AdoptError::Store(error) => error.into(),
            error => SourceError::other(error),
        })
    }
}

fn of_import(error: ImportError) -> SourceError {
    match error {
        ImportError::Store(error) => error.into(),
        error => SourceError::other(error),
    }
}
