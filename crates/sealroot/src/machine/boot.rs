// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing what boots, for deployments that are there and durable.
//!
//! All of it under the store's lock: what an entry comes to name is not collected before.

use std::collections::BTreeSet;

use sealroot_format::policy::DeploymentName;

use super::booted::Booted;
use super::{MachineError, Runtime};
use crate::deploy::{self, Flag};
use crate::entry::{
    Added, Boot, BootIo, Content, Entries, Entry, EntryId, KernelArguments, Loader, NewEntry,
    OurEntry, Removed, Starts, Tries,
};
use crate::monitor::Monitor;
use crate::store::{Store, StoreIo, Transaction};

/// Makes an entry the default, after everything of the transaction is durable.
///
/// Kept beside it are the entries of [`kept_entries`]. The others go, and kernels that only they
/// had. What was staged before is so no more.
pub fn make_default<I: StoreIo, B: BootIo>(
    transaction: &Transaction<'_, I>,
    runtime: &Runtime,
    boot: &Boot<B>,
    new: &NewEntry<'_>,
) -> Result<Added, MachineError> {
    transaction.barrier()?;
    let kept = kept_entries(transaction.store(), runtime, boot, &new.deployment)?;
    let keep = |ours: &OurEntry| kept.contains(&ours.text.deployment);
    let added = boot.add(new, &keep, transaction.monitor())?;
    unstage(transaction, new.deployment)?;
    let monitor = transaction.monitor();
    warn_of_floor(transaction.store(), runtime, new.deployment, monitor)?;
    Ok(added)
}

/// Warns of a default that a floor of this machine is above, or will be once what runs is blessed.
fn warn_of_floor<I: StoreIo>(
    store: &Store<I>,
    runtime: &Runtime,
    name: DeploymentName,
    monitor: &dyn Monitor,
) -> Result<(), MachineError> {
    let booted = Booted::read(runtime)?;
    let Some((kept, running)) = booted.and_then(|booted| booted.floor.zip(booted.release)) else {
        return Ok(());
    };
    let record = deploy::read_record(store, name)?;
    let epoch = kept.floor.epoch.max(running.epoch);
    if !kept.store.is_empty() && (record.epoch < epoch || record.index < kept.floor.index) {
        monitor.warn(format!(
            "{name} has epoch {} and index {}, and this machine keeps a floor at epoch {epoch} and \
             index {}: if its image heeds that too, it does not boot",
            record.epoch, record.index, kept.floor.index
        ));
    }
    Ok(())
}

/// What was to become the default later is so no more, since `chosen` was chosen after it.
fn unstage<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    chosen: DeploymentName,
) -> Result<(), MachineError> {
    for found in deploy::deployments(transaction.store())? {
        let name = found.name;
        if !deploy::has_flag(transaction.store(), &name, Flag::Staged)? {
            continue;
        }
        deploy::lower_flag(transaction, &name, Flag::Staged)?;
        if name != chosen {
            let text = format!("{name} was staged and is so no more: {chosen} was chosen after it");
            transaction.monitor().warn(text);
        }
    }
    Ok(())
}

/// The deployments whose entries stay when `new` becomes the default: what is pinned; what runs, or
/// our default so far where nothing of ours runs; and where that is `new` itself, the deployment
/// that was to be gone back to. So making the default what is the default leaves the way back. Where
/// the loader counts the tries of all these, the newest that it does not count stays too: something
/// that was found good is always there to fall back to.
pub fn kept_entries<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    runtime: &Runtime,
    boot: &Boot<B>,
    new: &DeploymentName,
) -> Result<BTreeSet<DeploymentName>, MachineError> {
    let entries = boot.entries()?;
    let ours: Vec<&OurEntry> = entries.ours().map(|(_, ours)| ours).collect();
    let running = running(runtime, store, &ours)?;
    let in_order = ours.iter().map(|ours| ours.text.deployment);
    let wanted: Vec<_> = running.into_iter().chain(in_order).collect();
    let way_back = wanted.iter().find(|name| *name != new);
    let mut kept: BTreeSet<_> = wanted
        .first()
        .into_iter()
        .chain(way_back)
        .copied()
        .collect();
    for name in wanted {
        if deploy::has_flag(store, &name, Flag::Pinned)? {
            kept.insert(name);
        }
    }
    let good = entries.ours().filter(|(entry, _)| entry.tries.is_none());
    let good = good.map(|(_, ours)| ours.text.deployment);
    let good: Vec<_> = good.filter(|name| name != new).collect();
    if !good.iter().any(|name| kept.contains(name)) {
        kept.extend(good.first());
    }
    Ok(kept)
}

/// The deployment that runs, if an entry of ours is of it.
pub(crate) fn running<I: StoreIo>(
    runtime: &Runtime,
    store: &Store<I>,
    entries: &[&OurEntry],
) -> Result<Option<DeploymentName>, MachineError> {
    let Some(booted) = Booted::read(runtime)? else {
        return Ok(None);
    };
    let is_of_pack = |name: &DeploymentName| {
        let record = deploy::read_record(store, *name);
        record.is_ok_and(|record| record.pack == booted.pack)
    };
    let mut names = entries.iter().map(|ours| ours.text.deployment);
    Ok(names.find(|name| match booted.deployment {
        Some(running) => running == *name,
        None => is_of_pack(name),
    }))
}

/// The deployments that entries of ours boot, in the order of the menu.
pub fn deployments_of_entries<B: BootIo>(
    boot: &Boot<B>,
) -> Result<Vec<DeploymentName>, MachineError> {
    let entries = boot.entries()?;
    let ours = entries.ours().map(|(_, ours)| ours.text.deployment);
    Ok(ours.collect())
}

/// Makes what was the default before the default again. What was staged is so no more.
pub fn rollback<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    runtime: &Runtime,
    boot: &Boot<B>,
    monitor: &dyn Monitor,
) -> Result<Added, MachineError> {
    let transaction = store.begin(monitor)?;
    let entries = boot.entries()?;
    let ours = entries.rollback_entry().and_then(Entry::ours);
    let ours = ours.ok_or(MachineError::NoRollback)?;
    deploy::read_record(store, ours.text.deployment)?;
    let added = boot.add(&NewEntry::again(ours), &|_| true, monitor)?;
    unstage(&transaction, ours.text.deployment)?;
    warn_of_floor(store, runtime, ours.text.deployment, monitor)?;
    transaction.finish()?;
    Ok(added)
}

/// What [`bless`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blessed {
    /// The entry that is good now.
    pub entry: EntryId,
    /// Whether it was counted before.
    pub is_changed: bool,
    /// What it replaced.
    pub removed: Removed,
}

/// Declares the newest entry of the deployment that runs good: the loader no longer counts it.
pub fn bless<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    runtime: &Runtime,
    boot: &Boot<B>,
    monitor: &dyn Monitor,
) -> Result<Blessed, MachineError> {
    let transaction = store.begin(monitor)?;
    let entries = boot.entries()?;
    let ours: Vec<&OurEntry> = entries.ours().map(|(_, ours)| ours).collect();
    let name = running(runtime, store, &ours)?.ok_or(MachineError::NothingRuns)?;
    let newest = entries.of(&name).and_then(Entry::ours);
    let id = newest.ok_or(MachineError::NothingRuns)?.id;
    // An interrupted run may have left the counted entry beside the one that is not.
    let is_changed = (entries.ours()).any(|(entry, ours)| ours.id == id && entry.tries.is_some());
    // What firmware starts without its variables may be missing even so.
    let removed = if is_changed || boot.loader() == Loader::Firmware {
        boot.bless(&id, monitor)?
    } else {
        Removed::default()
    };
    transaction.finish()?;
    Ok(Blessed {
        entry: id,
        is_changed,
        removed,
    })
}

/// The default entry, which must be ours.
fn our_default(entries: &Entries) -> Result<(&Entry, &OurEntry), MachineError> {
    let default = entries.default_entry();
    let ours = default.and_then(|entry| Some((entry, entry.ours()?)));
    ours.ok_or_else(|| MachineError::NoDefault {
        found: default.map_or_else(|| "there is none".into(), |entry| entry.file_name.clone()),
    })
}

/// The kernel arguments of the default entry, which must be ours.
pub fn arguments<B: BootIo>(boot: &Boot<B>) -> Result<KernelArguments, MachineError> {
    let entries = boot.entries()?;
    let (entry, ours) = our_default(&entries)?;
    let arguments = ours.text.starts.arguments().cloned();
    arguments.ok_or_else(|| of_image(entry))
}

fn of_image(entry: &Entry) -> MachineError {
    MachineError::ArgumentsOfImage {
        entry: entry.file_name.clone(),
    }
}

/// Changes the kernel arguments of the default entry, which must be ours, by a new entry in its
/// place. Where the default is counted, the new one is too, anew from the first number of tries.
pub fn change_arguments<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    boot: &Boot<B>,
    change: &dyn Fn(&mut KernelArguments) -> Result<(), crate::entry::EntryError>,
    monitor: &dyn Monitor,
) -> Result<Added, MachineError> {
    let transaction = store.begin(monitor)?;
    let entries = boot.entries()?;
    let (entry, ours) = our_default(&entries)?;
    let mut new = NewEntry::again(ours);
    new.tries = entry.tries.map(Tries::all);
    match &mut new.content {
        Content::Present {
            starts: Starts::Kernel(arguments),
            ..
        } => change(arguments)?,
        _ => return Err(of_image(entry)),
    }
    let added = boot.add(&new, &|_| true, monitor)?;
    transaction.finish()?;
    Ok(added)
}
