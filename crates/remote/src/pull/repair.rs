// SPDX-License-Identifier: MIT OR Apache-2.0
//! A remote as a source of what is damaged: single objects come in few ranges of bundles, a pack by its frames.

use std::fs::File;
use std::io::{self, Seek as _};

use sealroot::repair::{Source, SourceError, Wanted};
use sealroot::store::{Store, Transaction};
use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::limits;
use sealroot_format::sign::{ChannelRelease, Name, Statement, Unverified};

use super::Puller;
use crate::error::RemoteError;
use crate::fetch::Fetcher;
use crate::layout::Kind;
use crate::state::Remote;

/// Most releases of which the statement is fetched to see whether it is the one that is wanted.
const MAX_STATEMENTS: usize = 64;

/// See [`Source`]. What it gives is of the releases in the channel as it was last seen.
#[derive(Debug)]
pub struct RemoteSource<'p> {
    puller: Puller<'p>,
}

impl<'p> RemoteSource<'p> {
    /// Takes what is missing in a store from a remote, whose channel was refreshed.
    pub fn new(store: &'p Store, remote: &'p Remote, fetcher: &'p Fetcher) -> Self {
        Self {
            puller: Puller::new(store, remote, fetcher, None),
        }
    }

    /// The release with this pack, if the remote still has it.
    fn release(&self, pack: &VerityDigest) -> Result<Option<ChannelRelease>, RemoteError> {
        let mut releases = self.puller.channel()?.releases.iter();
        Ok(releases.find(|release| release.pack == *pack).copied())
    }

    fn find_statements(
        &self,
        commit: &CommitId,
        stream: &Name,
    ) -> Result<Vec<Vec<u8>>, RemoteError> {
        if self.puller.remote.channel.stream != *stream {
            return Ok(Vec::new());
        }
        for release in self
            .puller
            .channel()?
            .releases
            .iter()
            .rev()
            .take(MAX_STATEMENTS)
        {
            let path = Kind::Statement.path(&release.statement);
            let bytes = self
                .puller
                .fetcher
                .small(&path, limits::MAX_SIGN_FILE_BYTES)?;
            let document = Unverified::<Statement>::parse(&bytes).ok();
            let statement = document.and_then(|found| Statement::parse(found.body()).ok());
            if statement.is_some_and(|statement| statement.commit == *commit) {
                return Ok(vec![bytes]);
            }
        }
        Ok(Vec::new())
    }

    fn add_pack(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<bool, RemoteError> {
        let digest = statement.pack_digest;
        let Some(release) = self.release(&digest)? else {
            return Ok(false);
        };
        let monitor = transaction.monitor();
        let fetched = self.puller.fetch_pack(&release, statement, monitor)?;
        transaction.add_pack(&digest, statement.pack_size_bytes, |out| {
            copy_all(fetched.pack, out)
        })?;
        self.forget(&release)?;
        Ok(true)
    }

    fn add_objects(
        &self,
        transaction: &Transaction<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<(), RemoteError> {
        let Some(release) = self.release(&wanted.pack)? else {
            return Ok(());
        };
        let fetched = self.fetch_objects(transaction, &release, wanted);
        self.forget(&release)?;
        fetched
    }

    fn fetch_objects(
        &self,
        transaction: &Transaction<'_>,
        release: &ChannelRelease,
        wanted: &Wanted<'_>,
    ) -> Result<(), RemoteError> {
        let head = self.puller.fetch_head(release, transaction.monitor())?;
        (self.puller).fetch_objects(transaction, release, &head, wanted.tree, 0)
    }

    /// Forgets what came of a bundle beside its objects.
    fn forget(&self, release: &ChannelRelease) -> Result<(), RemoteError> {
        Ok(self.puller.store.remove_part(&release.bundle.head)?)
    }
}

impl Source for RemoteSource<'_> {
    fn name(&self) -> String {
        format!("the remote {}", self.puller.remote.name)
    }

    fn statements(&self, commit: &CommitId, stream: &Name) -> Result<Vec<Vec<u8>>, SourceError> {
        self.find_statements(commit, stream).map_err(of_remote)
    }

    fn pack(
        &self,
        transaction: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<bool, SourceError> {
        self.add_pack(transaction, statement).map_err(of_remote)
    }

    fn objects(
        &self,
        transaction: &Transaction<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<(), SourceError> {
        self.add_objects(transaction, wanted).map_err(of_remote)
    }
}

fn copy_all(mut from: File, out: &mut dyn io::Write) -> io::Result<()> {
    from.rewind()?;
    io::copy(&mut from, out).map(drop)
}

fn of_remote(error: RemoteError) -> SourceError {
    match error {
        RemoteError::Store(error) => error.into(),
        error => SourceError::other(error),
    }
}
