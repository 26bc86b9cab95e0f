// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects of a release that is on its way, among the files that OSTree has on this machine.
//!
//! OSTree names files by other checksums, so none of them can be asked for an object. Those are hashed
//! that stand in one of the newest commits where the release has the object, with its size.
//! Reasons: docs/design/updates.md.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use rayon::prelude::*;
use sealroot_format::digest::{CommitId, Sha256Digest, VerityDigest};
use sealroot_format::tree::{FileContent, Kind, Tree};

use super::AdoptError;
use super::error::failed;
use crate::monitor::{Monitor, Unit};
use crate::mountinfo::place_of;
use crate::ostree::{Mode, OstreeError, RefName, Repository};
use crate::release;
use crate::store::{StoreIo, Taken, Transaction, VeritySupport, measure, object_path};

/// Most commits that are looked through.
const MAX_COMMITS: usize = 4;

/// The permissions of group and others to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// How the refs begin by which OSTree keeps what it has deployed.
const DEPLOYED: &str = "ostree/";

/// Adds objects of `tree` that are missing, as far as files of the repository have their content: as
/// a further name where that can be, else as a copy that shares the content where the filesystem can do
/// that. They are durable then. `commit` is the
/// release's, and looked through first.
///
/// What is wrong in the repository is told, and nothing worse: what is not found here has to be
/// fetched.
pub fn gather(
    transaction: &Transaction<'_>,
    repository: &Repository,
    commit: CommitId,
    tree: &Tree,
    monitor: &dyn Monitor,
) -> Result<(), AdoptError> {
    let objects = transaction.store().location().join("objects");
    let home = File::open(&objects).and_then(place_of);
    let home = home.map_err(failed("look at", &objects))?;
    let user = rustix::process::geteuid();
    let verity = transaction.store().verity();
    let can_be_named = |file: &File| {
        let stat = file.metadata()?;
        let is_users = stat.uid() == user.as_raw();
        let is_safe = match verity {
            VeritySupport::Kernel => is_users || user.is_root(),
            // Nothing else keeps others from changing it once it is an object.
            VeritySupport::None => is_users && stat.mode() & WRITABLE_BY_OTHERS == 0,
        };
        Ok(is_safe && place_of(file)? == home)
    };
    gather_on(
        transaction,
        repository,
        commit,
        tree,
        &can_be_named,
        monitor,
    )
}

/// Whether a file can get a further name in the store.
type CanBeNamed<'c> = dyn Fn(&File) -> io::Result<bool> + Sync + 'c;

/// See [`gather`].
pub fn gather_on<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    repository: &Repository,
    commit: CommitId,
    tree: &Tree,
    can_be_named: &CanBeNamed<'_>,
    monitor: &dyn Monitor,
) -> Result<(), AdoptError> {
    if repository.mode() == Mode::Archive {
        return Ok(());
    }
    let mut missing = Missing::new();
    for (digest, size_bytes) in release::objects(tree) {
        if !transaction.has_object(&digest, size_bytes)? {
            missing.insert(digest, size_bytes);
        }
    }
    // Until the files have their names in the store, nobody may remove those that they have.
    let _lock = repository.lock_shared(monitor)?;
    let gathering = Gathering {
        transaction,
        repository,
        can_be_named,
        monitor,
    };
    let mut tried = HashSet::new();
    for commit in commits(repository, commit)? {
        if missing.is_empty() {
            break;
        }
        let mut candidates = match gathering.candidates(commit, tree, &missing) {
            Ok(candidates) => candidates,
            Err(error) => {
                monitor.warn(format!(
                    "commit {commit} of {} cannot be looked through: {error}",
                    repository.path().display()
                ));
                continue;
            }
        };
        candidates.retain(|(checksum, _)| tried.insert(*checksum));
        for found in gathering.take(&candidates, &missing) {
            missing.remove(&found);
        }
    }
    Ok(transaction.barrier()?)
}

/// The commits that are looked through: that of the release, what OSTree has deployed, and what else
/// has a ref, the newest first.
fn commits(repository: &Repository, release: CommitId) -> Result<Vec<CommitId>, OstreeError> {
    let mut found = BTreeMap::new();
    let mut add = |id: CommitId, is_deployed: bool| {
        if let Ok(commit) = repository.commit(id) {
            let rank = (id == release, is_deployed, commit.info().timestamp_seconds);
            let known = found.entry(id).or_insert(rank);
            *known = rank.max(*known);
        }
    };
    add(release, false);
    for name in repository.refs()? {
        if let Ok(id) = repository.resolve_ref(&name) {
            let is_deployed = matches!(&name, RefName::Local(name) if name.starts_with(DEPLOYED));
            add(id, is_deployed);
        }
    }
    let mut commits: Vec<_> = found.into_iter().collect();
    commits.sort_by_key(|(_, rank)| Reverse(*rank));
    commits.truncate(MAX_COMMITS);
    Ok(commits.into_iter().map(|(id, _)| id).collect())
}

/// Objects that the store lacks, and their sizes.
type Missing = BTreeMap<VerityDigest, u64>;

struct Gathering<'g, 's, I: StoreIo> {
    transaction: &'g Transaction<'s, I>,
    repository: &'g Repository,
    can_be_named: &'g CanBeNamed<'g>,
    monitor: &'g dyn Monitor,
}

impl<I: StoreIo> Gathering<'_, '_, I> {
    /// Content objects of a commit that stand where something missing does, with the size of that.
    fn candidates(
        &self,
        commit: CommitId,
        tree: &Tree,
        missing: &Missing,
    ) -> Result<Vec<(Sha256Digest, u64)>, OstreeError> {
        let commit = self.repository.commit(commit)?;
        let files = self.repository.files_of(&commit, tree, self.monitor)?;
        let is_missing = |(checksum, inode)| match &tree.inode(inode).kind {
            Kind::Regular(FileContent::External { digest, size_bytes })
                if missing.contains_key(digest) =>
            {
                Some((checksum, *size_bytes))
            }
            _ => None,
        };
        Ok(files.into_iter().filter_map(is_missing).collect())
    }

    /// Takes those of the candidates that are something missing; what they are.
    fn take(&self, candidates: &[(Sha256Digest, u64)], missing: &Missing) -> Vec<VerityDigest> {
        let total = candidates.iter().map(|(_, size_bytes)| size_bytes).sum();
        let monitor = self.monitor;
        monitor.start("looking for files of OSTree", Unit::Bytes, Some(total));
        let take = |(checksum, size_bytes): &(Sha256Digest, u64)| {
            // What cannot be read is no candidate.
            let file = self.repository.content_file(checksum).ok().flatten();
            let taken = file.and_then(|file| self.take_file(&file, *size_bytes, missing).ok());
            monitor.advance(*size_bytes);
            taken.flatten()
        };
        candidates.par_iter().filter_map(take).collect()
    }

    /// Takes a file if it is something missing; what it is.
    fn take_file(
        &self,
        mut file: &File,
        size_bytes: u64,
        missing: &Missing,
    ) -> io::Result<Option<VerityDigest>> {
        if file.metadata()?.len() != size_bytes {
            return Ok(None);
        }
        let is_missing = |digest: &VerityDigest| missing.get(digest) == Some(&size_bytes);
        let transaction = self.transaction;
        let io = transaction.store().io();
        let imported = io.import(file.as_fd())?;
        let digest = match measure(io, &imported) {
            Ok(Some(digest))
                if is_missing(&digest) && !transaction.is_distrusted(&object_path(&digest)) =>
            {
                digest
            }
            // Read, and not given fs-verity to see: of a file that is something else that would stay.
            _ => release::hash(&mut file)?,
        };
        if !is_missing(&digest) {
            return Ok(None);
        }
        if (self.can_be_named)(file)?
            && let Ok(Taken::Linked) = transaction.offer_object(&digest, size_bytes, file.as_fd())
        {
            return Ok(Some(digest));
        }
        if let Ok(true) = transaction.share_object(&digest, size_bytes, file.as_fd()) {
            return Ok(Some(digest));
        }
        file.rewind()?;
        let copied = transaction.add_foreign_object(&digest, size_bytes, &mut file);
        Ok(copied.ok().map(|()| digest))
    }
}
