// SPDX-License-Identifier: MIT OR Apache-2.0
//! A deployment gets its `/etc`.

use std::io;

use sealroot_format::digest::VerityDigest;
use sealroot_format::pack;
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Statement, Unverified};
use sealroot_format::tree::Tree;

use super::accounts::{self, MissingAccounts};
use super::current::{Current, EtcDirectory};
use super::default::default_of;
use super::error::EtcError;
use super::plan::{Decision, Plan, Sides, plan};
use super::write;
use crate::deploy::{ETC_NAME, read_record};
use crate::monitor::Monitor;
use crate::release::{ReleaseError, open_pack_bytes};
use crate::store::{
    FileKind, OnTaken, Store, StoreIo, StorePath, Transaction, again, deployment_path, failed,
};

/// Where the local changes of a merge come from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'m> {
    /// What the release had that `current` began as.
    pub old: &'m Tree,
    /// What there is.
    pub current: &'m Current,
    /// The deployment it is of, if it is one of this store.
    pub deployment: Option<DeploymentName>,
}

/// What a merge did.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Where the new `/etc` is not the release's default.
    pub decisions: Vec<Decision>,
    /// Local sockets, fifos and devices, which were left behind.
    pub skipped: Vec<Box<[u8]>>,
    /// New system users and groups that a kept file lacks.
    pub missing_accounts: Vec<MissingAccounts>,
}

/// Gives a deployment its `/etc`: the default `new` of its release, merged with the changes of
/// `source`, or, without one, the default alone. An `/etc` that it has is replaced in one step, so
/// it must not be the one that is in use.
///
/// Clashes are an error before anything is written. Durable once the transaction is finished; doing
/// it again ends in the same `/etc`.
pub fn merge<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    name: DeploymentName,
    source: Option<Source<'_>>,
    new: &Tree,
) -> Result<Merged, EtcError> {
    transaction.attempt(|| {
        let store = transaction.store();
        read_record(store, name)?;
        if source.is_some_and(|source| source.deployment == Some(name)) {
            return Err(EtcError::OwnSource { name });
        }
        let untouched = Current::of_tree(new.clone());
        let (old, current) = match source {
            Some(Source { old, current, .. }) => (old, current),
            None => (new, &untouched),
        };
        let sides = Sides {
            old,
            current: &current.tree,
            new,
        };
        let plan = check(sides)?;
        let written = write::write(transaction, &plan.merged, current)?;
        put_in_place(transaction, &written, &path_of(name))?;
        Ok(Merged {
            missing_accounts: accounts::missing(old, &plan.merged, new),
            decisions: plan.decisions,
            skipped: plan.skipped,
        })
    })
}

/// Whether a merge can be done: its plan, or the clashes as an error. Nothing is written.
pub fn check(sides: Sides<'_>) -> Result<Plan, EtcError> {
    let plan = plan(sides)?;
    if plan.clashes.is_empty() {
        return Ok(plan);
    }
    Err(EtcError::Clashes {
        clashes: plan.clashes,
    })
}

/// Where the `/etc` of a deployment is, in the mode `merge`.
pub fn path_of(name: DeploymentName) -> StorePath {
    let directory = deployment_path(&name);
    directory.join(ETC_NAME).expect("a valid name, not deep")
}

/// Whether a deployment has an `/etc` of its own.
pub fn has_own<I: StoreIo>(store: &Store<I>, name: DeploymentName) -> Result<bool, EtcError> {
    let (io, directory) = (store.io(), deployment_path(&name));
    let entries = match again(|| io.list(&directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(failed(io, "list", &directory))?,
    };
    let is_own = |kind, name: &[u8]| kind == FileKind::Directory && name == ETC_NAME.as_bytes();
    Ok(entries.iter().any(|entry| is_own(entry.kind, &entry.name)))
}

/// The `/etc` of a deployment, to be read.
pub fn open_own(store: &Store, name: DeploymentName) -> Result<EtcDirectory, EtcError> {
    let path = path_of(name);
    let opened = store.io().open_directory_for_reading(&path);
    let directory = opened.map_err(failed(store.io(), "open", &path))?;
    Ok(EtcDirectory::from_open(
        directory,
        &write::location(store, &path),
    ))
}

/// The default `/etc` of the release in a pack. The pack has this digest; who vouches for the
/// digest is the caller's to know.
pub fn default_in_pack(store: &Store, digest: &VerityDigest) -> Result<Tree, EtcError> {
    let tree = pack::read(open_pack_bytes(store, digest)?);
    let tree = tree.map_err(|source| ReleaseError::Pack {
        digest: *digest,
        source,
    })?;
    default_of(&tree)
}

/// Gives what is written the name of a deployment's `/etc`.
fn put_in_place<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    written: &StorePath,
    place: &StorePath,
) -> Result<(), EtcError> {
    let io = transaction.store().io();
    let is_taken = match again(|| io.list(place)) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(io, "list", place)(error).into()),
    };
    if !is_taken {
        return Ok(transaction.rename(written, place, OnTaken::Fail)?);
    }
    transaction.rename(written, place, OnTaken::Exchange)?;
    // The old one is put away only when it cannot come back.
    transaction.barrier()?;
    transaction.store().move_to_trash(written)?;
    Ok(())
}

/// Reads a deployment's own `/etc` and its release's default: what [`merge`] takes changes from.
pub fn read_own(
    store: &Store,
    name: DeploymentName,
    monitor: &dyn Monitor,
) -> Result<(Tree, Current), EtcError> {
    let old = default_in_pack(store, &pack_of(store, name)?)?;
    let current = open_own(store, name)?.read_whole(monitor)?;
    Ok((old, current))
}

/// The pack of a deployment: what its record says, or, if that is damaged, a release of its commit.
fn pack_of(store: &Store, name: DeploymentName) -> Result<VerityDigest, EtcError> {
    let damage = match read_record(store, name) {
        Ok(record) => return Ok(record.pack),
        Err(error) if error.is_unreadable_record() => error,
        Err(error) => return Err(error.into()),
    };
    for (commit, stream) in store.list_statements()? {
        if commit != name.commit {
            continue;
        }
        let bytes = store.read_statement(&commit, &stream)?.unwrap_or_default();
        let document = Unverified::<Statement>::parse(&bytes).ok();
        let statement = document.and_then(|document| Statement::parse(document.body()).ok());
        if let Some(statement) = statement {
            return Ok(statement.pack_digest);
        }
    }
    Err(damage.into())
}
