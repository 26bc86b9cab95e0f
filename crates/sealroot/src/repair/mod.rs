// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is damaged or missing of the releases in a store, found and replaced while the system runs
//! (docs/design/repair.md).
//!
//! Where good content comes from is not trusted: a [`Source`] may give anything, and what it gives gets
//! a name only if it has the digest in it. What is replaced is at no moment missing, and a process
//! that has it open keeps what it has. After a crash or an error each name is of what was there before or of
//! what is right, and doing the same again goes on.

mod damage;
mod error;
mod execute;
mod look;
mod needed;
mod ostree;
mod reseal;
mod source;
mod statements;

use std::collections::BTreeSet;

use sealroot_format::digest::CommitId;
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Keyset, Verified};

pub use damage::{Damage, Outcome, Place, Report, What};
pub use error::RepairError;
use execute::Repairing;
use look::Looker;
use needed::Needed;
pub use ostree::OstreeSource;
pub use source::{Source, SourceError, StoreSource, Wanted};

use crate::check::Depth;
use crate::monitor::Monitor;
use crate::store::{LockKind, Store, StoreIo};

/// What to look at, and how closely.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// Releases and deployments; none stands for all.
    pub chosen: BTreeSet<Chosen>,
    /// [`Depth::Quick`] believes what the kernel measures, and in a store without fs-verity name and
    /// size of objects. [`Depth::Full`] reads every block.
    pub depth: Depth,
    /// Who may sign the statements that are fetched; without it none is.
    pub keyset: Option<&'r Verified<Keyset>>,
}

/// A release or a deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chosen {
    /// What the statements of a commit name, and all deployments of it.
    Commit(CommitId),
    /// A deployment, and what it needs.
    Deployment(DeploymentName),
}

/// Says what is damaged or missing, and changes nothing. Of a pack that is, nobody knows which objects it
/// names.
pub fn look<I: StoreIo>(
    store: &Store<I>,
    request: &Request<'_>,
    monitor: &dyn Monitor,
) -> Result<Report, RepairError> {
    let _lock = store.lock(LockKind::Shared)?;
    let needed = Needed::find(store, &request.chosen)?;
    let looker = Looker::new(store, request.depth, monitor);
    let mut damage = needed.damaged_statements();
    damage.extend(looker.packs(&needed)?);
    damage.extend(looker.objects(&needed)?);
    Ok(looker.report(damage))
}

/// Replaces what is damaged or missing, of the first source that has it. A good copy that is in the store
/// itself comes before all of them.
///
/// Only an error of the store itself ends it early. What cannot be replaced is said in the report.
pub fn repair<I: StoreIo>(
    store: &Store<I>,
    request: &Request<'_>,
    sources: &[&dyn Source<I>],
    monitor: &dyn Monitor,
) -> Result<Report, RepairError> {
    // Looked at under the lock: what is damaged now is what is replaced.
    let transaction = store.begin(monitor)?;
    let needed = Needed::find(store, &request.chosen)?;
    let looker = Looker::new(store, request.depth, monitor);
    let repairing = Repairing {
        transaction: &transaction,
        looker: &looker,
        sources,
    };
    let mut statements = needed.damaged_statements();
    repairing.statements(&mut statements, request.keyset)?;
    // What a new statement says may be more.
    let needed = if statements.is_empty() {
        needed
    } else {
        Needed::find(store, &request.chosen)?
    };
    let mut packs = looker.packs(&needed)?;
    repairing.packs(&mut packs, &needed)?;
    let mut objects = looker.objects(&needed)?;
    repairing.objects(&mut objects, &needed)?;
    transaction.finish()?;
    let damage = [statements, packs, objects].into_iter().flatten();
    Ok(looker.report(damage.collect()))
}
