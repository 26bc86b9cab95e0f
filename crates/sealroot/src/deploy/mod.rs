// SPDX-License-Identifier: MIT OR Apache-2.0
//! A verified release in a store made ready to boot: `deploy/<commit>.<serial>`.
//!
//! A deployment is a directory of hardlinks to the objects of its release and a record
//! (docs/format/store.md, D and R). It is put together in `tmp/`, made durable and then renamed
//! into place: it exists whole or not at all. It takes no space but for its directories.

mod error;
mod flags;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod layer;
mod record;

use std::collections::BTreeSet;

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::limits::MAX_DEPLOYMENT_RECORD_BYTES;
use sealroot_format::policy::{DeploymentName, Mode};
use sealroot_format::sign::{Name, Statement, Unverified, Verified, Word};

use crate::monitor::Unit;
use crate::store::{
    OnTaken, Store, StoreDir, StoreError, StoreIo, StorePath, Transaction, VeritySupport,
    deployment_path, full_path, parse_deployment_name, statement_path,
};

pub use error::DeployError;
pub use flags::{Flag, has_flag, lower_flag, raise_flag, read_flag};
use layer::{Completeness, Objects};
pub use record::Record;
pub use sealroot_format::policy::EtcMode;

/// The record's name in a deployment.
pub const RECORD_NAME: &str = "deployment.toml";

/// The name of a deployment's own layer of objects.
pub const LAYER_NAME: &str = "objects";

/// The name of a deployment's own `/etc`, in the mode `merge`.
pub const ETC_NAME: &str = "etc";

/// Where a deployment is put together. There is one at a time: the store is locked.
const UNDER_CONSTRUCTION: &str = "deployment";

/// What to deploy, and what for.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// The release. Its statement must be in the store.
    pub statement: &'r Verified<Statement>,
    /// What will be enforced at boot. Only [`Mode::Integrity`] can do without fs-verity.
    pub mode: Mode,
    /// Where the release came from, for people.
    pub origin: Option<Word>,
    /// The stateroot it is for, if the boot policy alone does not say.
    pub stateroot: Option<Name>,
    /// How `/etc` is made, if the boot policy alone does not say.
    pub etc: Option<EtcMode>,
    /// Deployments that stay as they are, so that a further one is made instead of using one of
    /// them again.
    pub untouched: BTreeSet<DeploymentName>,
    /// The time, seconds since 1970.
    pub now: u64,
}

/// What [`deploy`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The deployment.
    pub name: DeploymentName,
    /// Its record.
    pub record: Record,
    /// Whether it was there already, complete: then nothing was written.
    pub is_reused: bool,
}

/// A deployment of a store. Its record may be unreadable; the others' are not concerned.
#[derive(Debug)]
pub struct Deployment {
    /// Commit and serial.
    pub name: DeploymentName,
    /// The record.
    pub record: Result<Record, DeployError>,
}

/// Deploys a release of which everything is in the store. `objects` are what its pack names, in
/// any order, with their sizes.
///
/// Every object is measured on the way. If the newest deployment of the commit is of this very
/// release and complete, it is what you get. Durable once the transaction is finished.
pub fn deploy<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    request: &Request<'_>,
    objects: impl IntoIterator<Item = (VerityDigest, u64)>,
) -> Result<Deployed, DeployError> {
    transaction.attempt(|| {
        let store = transaction.store();
        check_mode(store, request.mode)?;
        check_statement(store, request.statement)?;
        check_pack(store, request.statement)?;
        let objects = Objects::collect(objects, request.statement)?;
        transaction.barrier()?;
        let newest = newest_of(store, &request.statement.commit)?;
        if let Some(name) = newest.filter(|name| !request.untouched.contains(name))
            && let Some(record) = reusable(store, name, request, &objects)?
        {
            return Ok(Deployed {
                name,
                record,
                is_reused: true,
            });
        }
        let name = successor(newest, request.statement.commit)?;
        let record = build(transaction, name, request, &objects)?;
        Ok(Deployed {
            name,
            record,
            is_reused: false,
        })
    })
}

/// The deployments of a store, sorted by commit and serial.
pub fn deployments<I: StoreIo>(store: &Store<I>) -> Result<Vec<Deployment>, DeployError> {
    let names = store.list_names(StoreDir::Deploy, parse_deployment_name)?;
    let with_record = |name| Deployment {
        name,
        record: read_record(store, name),
    };
    Ok(names.into_iter().map(with_record).collect())
}

/// The record of a deployment.
pub fn read_record<I: StoreIo>(
    store: &Store<I>,
    name: DeploymentName,
) -> Result<Record, DeployError> {
    let path = in_directory(&deployment_path(&name), RECORD_NAME);
    let invalid = |reason| DeployError::Record {
        path: full_path(store.io(), &path),
        reason,
    };
    let Some(bytes) = store.read_small(&path, MAX_DEPLOYMENT_RECORD_BYTES)? else {
        let names = store.list_names(StoreDir::Deploy, parse_deployment_name)?;
        return Err(if names.contains(&name) {
            let path = full_path(store.io(), &path);
            StoreError::NotFound { path }.into()
        } else {
            DeployError::NoDeployment {
                name,
                location: store.location().into(),
            }
        });
    };
    let record = Record::parse(&bytes).map_err(invalid)?;
    if record.commit != name.commit {
        return Err(invalid(format!("it is of the commit {}", record.commit)));
    }
    Ok(record)
}

fn check_mode<I: StoreIo>(store: &Store<I>, mode: Mode) -> Result<(), DeployError> {
    match (store.verity(), mode) {
        (VeritySupport::Kernel, _) | (VeritySupport::None, Mode::Integrity) => Ok(()),
        (VeritySupport::None, Mode::Sealed | Mode::Verity) => Err(DeployError::NeedsVerity {
            location: store.location().into(),
            absence: store.verity_absence(),
        }),
    }
}

/// That the statement the boot program will find is the one that was verified.
fn check_statement<I: StoreIo>(
    store: &Store<I>,
    statement: &Verified<Statement>,
) -> Result<(), DeployError> {
    let path = || {
        full_path(
            store.io(),
            &statement_path(&statement.commit, &statement.stream),
        )
    };
    let file = store
        .read_statement(&statement.commit, &statement.stream)?
        .ok_or_else(|| StoreError::NotFound { path: path() })?;
    let stored =
        Unverified::<Statement>::parse(&file).map_err(|source| DeployError::StatementFile {
            path: path(),
            source,
        })?;
    if stored.body() != statement.to_string().as_bytes() {
        return Err(DeployError::OtherStatement { path: path() });
    }
    Ok(())
}

fn check_pack<I: StoreIo>(store: &Store<I>, statement: &Statement) -> Result<(), DeployError> {
    let pack = store.open_pack(&statement.pack_digest)?;
    if pack.size_bytes() == statement.pack_size_bytes {
        return Ok(());
    }
    Err(DeployError::PackSize {
        digest: statement.pack_digest,
        expected_bytes: statement.pack_size_bytes,
        found_bytes: pack.size_bytes(),
    })
}

/// The deployment of a commit with the highest serial.
fn newest_of<I: StoreIo>(
    store: &Store<I>,
    commit: &CommitId,
) -> Result<Option<DeploymentName>, DeployError> {
    let names = store.list_names(StoreDir::Deploy, parse_deployment_name)?;
    Ok(names.into_iter().rev().find(|name| name.commit == *commit))
}

fn successor(
    newest: Option<DeploymentName>,
    commit: CommitId,
) -> Result<DeploymentName, DeployError> {
    let serial = match newest {
        None => 0,
        Some(name) => (name.serial.checked_add(1)).ok_or(DeployError::NoSerialLeft { commit })?,
    };
    Ok(DeploymentName { commit, serial })
}

/// The record of a deployment if it will do for the request.
fn reusable<I: StoreIo>(
    store: &Store<I>,
    name: DeploymentName,
    request: &Request<'_>,
    objects: &Objects,
) -> Result<Option<Record>, DeployError> {
    let record = match read_record(store, name) {
        Ok(record) => record,
        Err(error) if error.is_unreadable_record() => return Ok(None),
        Err(error) => return Err(error),
    };
    if !record.is_of(request) {
        return Ok(None);
    }
    let layer = in_directory(&deployment_path(&name), LAYER_NAME);
    let missing = match objects.completeness(store, &layer)? {
        Completeness::Missing(missing) => missing,
        Completeness::Wrong => return Ok(None),
    };
    Ok((missing == record.unlinked).then_some(record))
}

/// Puts a deployment together and gives it its name (store.md D2).
fn build<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    name: DeploymentName,
    request: &Request<'_>,
    objects: &Objects,
) -> Result<Record, DeployError> {
    let monitor = transaction.monitor();
    monitor.start("deploy", Unit::Items, Some(objects.len()));
    transaction.mark()?;
    let store = transaction.store();
    let directory = in_directory(&StoreDir::Tmp.path(), UNDER_CONSTRUCTION);
    let unlinked = objects.link_all(transaction, &directory, monitor)?;
    let statement = request.statement;
    let record = Record {
        os: statement.os.clone(),
        variant: statement.variant.clone(),
        stream: statement.stream.clone(),
        arch: statement.arch.clone(),
        release: statement.version.clone(),
        index: statement.index,
        epoch: statement.epoch,
        commit: statement.commit,
        pack: statement.pack_digest,
        created: statement.created,
        mode: request.mode,
        objects: objects.len(),
        unlinked,
        deployed: request.now,
        origin: request.origin.clone(),
        stateroot: request.stateroot.clone(),
        etc: request.etc,
    };
    let path = in_directory(&directory, RECORD_NAME);
    store.create_small(&path, record.render().as_bytes())?;
    store.sync_all()?;
    transaction.rename(&directory, &deployment_path(&name), OnTaken::Fail)?;
    Ok(record)
}

fn in_directory(directory: &StorePath, name: &str) -> StorePath {
    directory.join(name).expect("a valid name, not deep")
}
