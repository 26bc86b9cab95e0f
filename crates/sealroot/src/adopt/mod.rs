// SPDX-License-Identifier: MIT OR Apache-2.0
//! Adoption: a commit that OSTree has on this machine becomes a release of the store, without its
//! content being stored twice, and OSTree goes on working as before. And the way back.
//!
//! The files of the repository become objects as they are (docs/format/store.md O7), the pack is
//! made here, and the vendor's statement says whether it is the right one. What is done to OSTree's
//! side is one ref, which keeps its prune from the commit. Reasons: docs/design/adopt.md.

mod error;
mod footprint;
mod gather;
mod keep;
mod linker;
mod loss;
mod revert;
mod survey;
mod theirs;

use std::io;

use sealroot_format::digest::{CommitId, TreeDigest};
use sealroot_format::pack::{PackError, PackPlan, PackSummary};
use sealroot_format::sign::Name;
use sealroot_format::tree::dump;

use crate::import::{self, FoundStatement, Rebuilt};
use crate::monitor::{Monitor, Unit};
use crate::ostree::{self, CommitObject, FileCheck, Mode, ReadOptions, Repository};
use crate::spool::{self, Spool};
use crate::store::{Store, StoreIo, Transaction, TransactionSummary};

pub use error::AdoptError;
pub use footprint::Footprint;
pub use gather::{gather, gather_on};
pub use keep::{Kept, keep_on, kept_on, release_on, release_unused_on, unused_on};
pub use linker::{Copied, Reason};
pub use loss::{Loss, loss};
pub use revert::{Left, Reverted, check_undo, revert_on, undo};
pub use survey::{Cost, Finding, FindingCode, Severity, Survey, survey};
pub use theirs::{Running, Theirs, deployments_of_ostree, running_of_ostree};

use linker::Linker;

/// What to adopt.
#[derive(Debug)]
pub struct Request<'r> {
    /// The repository that has the commit.
    pub repository: &'r Repository,
    /// The commit.
    pub commit: CommitId,
    /// The vendor's word for it.
    pub release: Option<&'r FoundStatement>,
    /// Without one: files up to this many bytes go inside the pack.
    pub threshold_bytes: u32,
}

/// What an adoption made.
#[derive(Debug)]
pub struct Adopted {
    /// The pack that was made here.
    pub pack: PackSummary,
    /// The digest of its tree.
    pub tree_digest: TreeDigest,
    /// Files up to this many bytes are in it.
    pub threshold_bytes: u32,
    /// Whether the store lacked it, or the statement.
    pub is_new: bool,
    /// What became of the objects.
    pub objects: TransactionSummary,
    /// Objects that had to be written although OSTree has them.
    pub copied: Vec<Copied>,
}

/// Adopts a commit. Everything of it is in the store then, durable; nothing of it boots yet.
///
/// Without a statement there is no release: the pack and the objects are there, and nobody has
/// said that they are the right ones. OSTree's ref is not written here: see [`keep_on`].
pub fn adopt(
    store: &Store,
    request: &Request<'_>,
    monitor: &dyn Monitor,
) -> Result<Adopted, AdoptError> {
    let spool = Spool::new(spool::MEMORY_BYTES, || store.io().create_scratch());
    adopt_on(store, request, &spool, monitor)
}

/// See [`adopt`]; small files wait in `spool`.
pub fn adopt_on<I: StoreIo>(
    store: &Store<I>,
    request: &Request<'_>,
    spool: &Spool<'_>,
    monitor: &dyn Monitor,
) -> Result<Adopted, AdoptError> {
    let repository = request.repository;
    if repository.mode() == Mode::Archive {
        return Err(AdoptError::Compressed {
            repository: repository.path().to_owned(),
        });
    }
    repository.check_complete(request.commit)?;
    if let Some(FoundStatement { statement, .. }) = request.release
        && statement.commit != request.commit
    {
        return Err(AdoptError::OtherCommit {
            expected: request.commit,
            found: statement.commit,
        });
    }
    let transaction = store.begin(monitor)?;
    let linker = Linker::new(&transaction);
    let commit = repository.commit(request.commit)?;
    let made = Making {
        repository,
        commit: &commit,
        spool,
        linker: &linker,
        transaction: &transaction,
        monitor,
    };
    let made = match request.release {
        Some(found) => made.signed(found)?,
        None => made.unsigned(request.threshold_bytes)?,
    };
    let copied = linker.into_copied();
    Ok(Adopted {
        pack: made.pack,
        tree_digest: made.tree_digest,
        threshold_bytes: made.threshold_bytes,
        is_new: made.is_new,
        objects: transaction.finish()?,
        copied,
    })
}

/// What the pack is made with.
struct Making<'m, 's, I: StoreIo> {
    repository: &'m Repository,
    commit: &'m CommitObject,
    spool: &'m Spool<'m>,
    linker: &'m Linker<'m, 's, I>,
    transaction: &'m Transaction<'s, I>,
    monitor: &'m dyn Monitor,
}

/// A pack that is in the store.
struct Made {
    pack: PackSummary,
    tree_digest: TreeDigest,
    threshold_bytes: u32,
    is_new: bool,
}

impl<I: StoreIo> Making<'_, '_, I> {
    /// The pack that the vendor signed, and the statement.
    fn signed(&self, found: &FoundStatement) -> Result<Made, AdoptError> {
        let statement = &found.statement;
        let rebuilt = import::rebuild(
            self.repository,
            self.commit,
            statement,
            self.spool,
            self.linker,
            self.monitor,
        )?;
        let tree = match rebuilt {
            Rebuilt::Same(tree) => tree,
            Rebuilt::Differs(differences) => return Err(AdoptError::OtherPack { differences }),
        };
        Ok(Made {
            is_new: import::record(self.transaction, &tree, found)?,
            pack: PackSummary {
                digest: statement.pack_digest,
                size_bytes: statement.pack_size_bytes,
                entries: statement.entries,
                objects: statement.objects,
                object_bytes: statement.object_bytes,
            },
            tree_digest: statement.tree_digest,
            threshold_bytes: statement.threshold_bytes,
        })
    }

    /// The pack as this version makes it; nobody's word for it.
    fn unsigned(&self, threshold_bytes: u32) -> Result<Made, AdoptError> {
        let options = ReadOptions {
            threshold_bytes,
            files: FileCheck::Checksums,
        };
        let read = ostree::read_tree(
            self.repository,
            self.commit,
            &options,
            self.spool,
            self.linker,
            self.monitor,
        )?;
        self.monitor.start("packing", Unit::Items, None);
        let tree_digest = dump::digest(&read.tree).map_err(PackError::Content)?;
        let plan = PackPlan::new(&read.tree, threshold_bytes)?;
        let pack = plan.summarize()?;
        let transaction = self.transaction;
        let is_new = transaction.add_pack(&pack.digest, pack.size_bytes, |out| {
            plan.write(out).map_err(|error| match error {
                PackError::Write(error) => error,
                other => io::Error::other(other),
            })
        })?;
        Ok(Made {
            pack,
            tree_digest,
            threshold_bytes,
            is_new,
        })
    }
}

/// The ref that keeps OSTree's prune from a commit, as OSTree names it.
pub fn ref_name(stateroot: &Name, commit: &CommitId) -> String {
    format!("sealroot/{stateroot}/{commit}")
}
