// SPDX-License-Identifier: MIT OR Apache-2.0
//! All deployments of a store and what uses each.

use std::collections::BTreeSet;

use sealroot_format::policy::DeploymentName;

use super::booted::Booted;
use super::choices::BootChoices;
use super::mounts::Mounts;
use super::{LiveMount, MachineError, Runtime};
use crate::deploy::{self, DeployError, Flag, Record};
use crate::entry::Unreadable;
use crate::store::{Store, StoreIo, StorePath, again, failed};

/// Something that uses a deployment: as long as there is one, it is never collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It is the root of the running system.
    Booted,
    /// It boots next.
    Default,
    /// It was the default before.
    Rollback,
    /// A boot entry names it.
    Entry,
    /// The administrator keeps it.
    Pinned,
    /// It is to be set up for boot.
    Staged,
    /// It is mounted for a look.
    Mounted,
}

impl State {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Booted => "booted",
            Self::Default => "default",
            Self::Rollback => "rollback",
            Self::Entry => "entry",
            Self::Pinned => "pinned",
            Self::Staged => "staged",
            Self::Mounted => "mounted",
        }
    }
}

/// A deployment and what uses it.
#[derive(Debug)]
pub struct Found {
    /// Commit and serial.
    pub name: DeploymentName,
    /// The record. That one cannot be read does not concern the others.
    pub record: Result<Record, DeployError>,
    /// What uses it.
    pub states: BTreeSet<State>,
    /// The kernel command line it boots with, where an entry names it.
    pub arguments: Option<String>,
}

/// The deployments of a machine.
#[derive(Debug)]
pub struct Scan {
    /// What runs; `None` if it was not booted by us. An error if the record of it says nothing we
    /// understand: then any deployment may run.
    pub booted: Result<Option<Booted>, MachineError>,
    /// All deployments, by name.
    pub deployments: Vec<Found>,
    /// Packs that are mounted for a look.
    pub mounts: Vec<LiveMount>,
    pub(super) mount_records: Mounts,
    unreadable: Option<Unreadable>,
}

impl Scan {
    /// The same, if it is known what runs and what boots: nothing may be removed otherwise.
    pub(super) fn certain(self) -> Result<Self, MachineError> {
        if let Some(Unreadable { path, reason }) = self.unreadable {
            return Err(MachineError::UnreadableEntry { path, reason });
        }
        Ok(Self {
            booted: Ok(self.booted?),
            ..self
        })
    }

    /// What is known to run.
    pub(super) fn running(&self) -> Option<&Booted> {
        self.booted.as_ref().ok().and_then(Option::as_ref)
    }
}

/// Looks at all deployments. To act on what it gives, hold the store's lock from before.
pub fn scan<I: StoreIo>(
    store: &Store<I>,
    runtime: &Runtime,
    choices: &BootChoices,
) -> Result<Scan, MachineError> {
    let booted = Booted::read(runtime);
    let running = booted.as_ref().ok().and_then(Option::as_ref);
    let io = store.io();
    let identity = again(|| io.identity()).map_err(failed(io, "look at", &StorePath::root()))?;
    let mut mount_records = Mounts::read(runtime, identity)?;
    let mounts = std::mem::take(&mut mount_records.live);
    let mut deployments = Vec::new();
    for found in deploy::deployments(store)? {
        let mut states = BTreeSet::new();
        let name = found.name;
        let pack = found.record.as_ref().ok().map(|record| record.pack);
        let runs = running.is_some_and(|booted| match booted.deployment {
            Some(running) => running == name,
            // A policy that names the pack names no deployment: it may be any of that pack.
            None => pack.is_none_or(|pack| pack == booted.pack),
        });
        let mounted = mounts.iter().any(|mount| mount.deployment == Some(name));
        let is = [
            (State::Booted, runs),
            (State::Default, choices.default == Some(name)),
            (State::Rollback, choices.rollback == Some(name)),
            (State::Entry, choices.named.contains_key(&name)),
            (State::Pinned, deploy::has_flag(store, &name, Flag::Pinned)?),
            (State::Staged, deploy::has_flag(store, &name, Flag::Staged)?),
            (State::Mounted, mounted),
        ];
        states.extend(is.into_iter().filter_map(|(state, is)| is.then_some(state)));
        deployments.push(Found {
            name,
            record: found.record,
            states,
            arguments: choices.named.get(&name).cloned(),
        });
    }
    Ok(Scan {
        booted,
        deployments,
        mounts,
        mount_records,
        unreadable: choices.unreadable.clone(),
    })
}
