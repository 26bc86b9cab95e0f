// SPDX-License-Identifier: MIT OR Apache-2.0
//! Collecting what nothing uses: deployments, releases, packs, objects (docs/format/store.md 10).
//!
//! What boots, runs, is pinned, staged or mounted is found out under the store's lock; live is what
//! the packs of all that name. The rest is put aside in one order, each step durable before the
//! next: deployments, statements, images, packs, objects. So nothing that is there ever lacks what it needs,
//! wherever it stops, and the next run goes on. Only the run after deletes.

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::Name;

use super::choices::BootChoices;
use super::mark::{Dead, live_objects};
use super::plan::Plan;
use super::scan::{Scan, scan};
use super::{MachineError, Runtime};
use crate::monitor::Monitor;
use crate::store::{
    Emptied, ImageName, LockKind, Store, StoreError, StoreIo, StorePath, Transaction, again,
    deployment_path, failed, image_path, object_path, object_signature_path, pack_path,
    statement_path,
};

/// What is kept though nothing uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many of the newest deployments that nothing uses.
    pub keep: usize,
    /// Which releases without a deployment.
    pub releases: Releases,
}

/// Releases that are kept without a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Releases {
    /// Those that were never deployed: a release goes with the last of its deployments.
    OfDeployments,
    /// None.
    None,
}

/// What was, or would be, put aside and deleted.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Deployments put aside.
    pub deployments: Vec<DeploymentName>,
    /// Whether no boot entry names a deployment: then none can be known to be unused.
    pub is_boot_unknown: bool,
    /// Statements put aside.
    pub statements: Vec<(CommitId, Name)>,
    /// Images put aside.
    pub images: Vec<ImageName>,
    /// Packs put aside.
    pub packs: Vec<VerityDigest>,
    /// Objects put aside.
    pub objects: u64,
    /// How many of them have names elsewhere, as in a repository of OSTree: they free nothing.
    pub linked_elsewhere: u64,
    /// What deleting the images, packs and objects that were put aside will free, bytes.
    pub aside_bytes: u64,
    /// What an earlier run had put aside and this one deleted.
    pub emptied: Emptied,
}

/// Deletes what earlier runs put aside, and puts aside what nothing uses. `choices` is asked under
/// the lock.
pub fn prune<I: StoreIo>(
    store: &Store<I>,
    runtime: &Runtime,
    choices: &dyn Fn() -> Result<BootChoices, MachineError>,
    retention: Retention,
    monitor: &dyn Monitor,
) -> Result<Pruned, MachineError> {
    let transaction = store.begin(monitor)?;
    let mut emptied = Emptied::default();
    if store.has_trash()? {
        emptied = transaction.empty_trash()?;
    }
    let found = scan(store, runtime, &choices()?)?.certain()?;
    let (plan, dead) = decide(store, &found, retention)?;
    if !plan.is_empty() {
        put_aside(&transaction, &plan, &dead)?;
    }
    transaction.finish()?;
    found.mount_records.forget_gone();
    let mut pruned = report(plan, &dead);
    pruned.emptied = emptied;
    Ok(pruned)
}

/// What [`prune`] would do. Changes nothing.
pub fn plan_prune<I: StoreIo>(
    store: &Store<I>,
    runtime: &Runtime,
    choices: &dyn Fn() -> Result<BootChoices, MachineError>,
    retention: Retention,
) -> Result<Pruned, MachineError> {
    let _lock = store.lock(LockKind::Shared)?;
    let found = scan(store, runtime, &choices()?)?.certain()?;
    let (plan, dead) = decide(store, &found, retention)?;
    Ok(report(plan, &dead))
}

/// What goes. Every pack that stays was read, if anything is to be taken from it.
fn decide<I: StoreIo>(
    store: &Store<I>,
    found: &Scan,
    retention: Retention,
) -> Result<(Plan, Dead), MachineError> {
    let plan = Plan::new(store, found, retention)?;
    if !plan.is_sweep_due {
        return Ok((plan, Dead::default()));
    }
    let live = live_objects(store, found, &plan.live)?;
    let packs = plan.packs.iter().map(pack_path);
    let paths = packs.chain(plan.images.iter().map(image_path));
    let dead = Dead::find(store, &live, &plan.deployments, paths)?;
    Ok((plan, dead))
}

fn put_aside<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    plan: &Plan,
    dead: &Dead,
) -> Result<(), MachineError> {
    // From here on the objects must be looked at, wherever this ends.
    if plan.is_sweep_due || !plan.given_up.is_empty() {
        transaction.give_up_packs(&plan.given_up)?;
    }
    let trash = transaction.new_trash()?;
    let aside = |paths: &mut dyn Iterator<Item = StorePath>| -> Result<(), StoreError> {
        for path in paths {
            transaction.put_aside(&trash, &path)?;
        }
        transaction.barrier()
    };
    aside(&mut plan.deployments.iter().map(deployment_path))?;
    let statements = plan.statements.iter();
    aside(&mut statements.map(|(commit, stream, _)| statement_path(commit, stream)))?;
    aside(&mut plan.images.iter().map(image_path))?;
    aside(&mut plan.packs.iter().map(pack_path))?;
    put_objects_aside(transaction, &trash, dead)?;
    if plan.is_sweep_due {
        transaction.barrier()?;
        transaction.is_swept(&plan.still_in_use())?;
    }
    Ok(())
}

fn put_objects_aside<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    trash: &StorePath,
    dead: &Dead,
) -> Result<(), StoreError> {
    let io = transaction.store().io();
    for prefix in dead.prefixes() {
        let directory = trash.join(&prefix).expect("two digits");
        let made = again(|| io.create_directory(&directory));
        made.map_err(failed(io, "create", &directory))?;
    }
    let in_trash = |path: &StorePath| {
        let (prefix, _) = path.split().expect("it has a name");
        let (_, prefix) = prefix.split().expect("two digits");
        trash.join(prefix).expect("two digits")
    };
    for digest in &dead.objects {
        let path = object_path(digest);
        transaction.put_aside(&in_trash(&path), &path)?;
    }
    for digest in &dead.signatures {
        let path = object_signature_path(digest);
        transaction.put_aside(&in_trash(&path), &path)?;
    }
    Ok(())
}

fn report(plan: Plan, dead: &Dead) -> Pruned {
    Pruned {
        deployments: plan.deployments,
        is_boot_unknown: plan.is_boot_unknown,
        statements: (plan.statements.into_iter())
            .map(|(commit, stream, _)| (commit, stream))
            .collect(),
        images: plan.images,
        packs: plan.packs,
        objects: dead.objects.len() as u64,
        linked_elsewhere: dead.linked_elsewhere,
        aside_bytes: dead.freed_bytes,
        emptied: Emptied::default(),
    }
}
