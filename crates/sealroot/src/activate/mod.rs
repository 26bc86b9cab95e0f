// SPDX-License-Identifier: MIT OR Apache-2.0
//! A deployment made what boots next: its `/etc`, kernel, initramfs, arguments and boot entry
//! (docs/design/machine.md, "What boots").
//!
//! Everything that can fail is looked at before anything is written ([`prepare()`], [`check`]). Then
//! the order is: `/etc`, durable; one new boot entry, which is the change; the flag that said it was
//! still to be done. An interrupted run leaves the old default, and the same once more ends in the
//! same state.
//!
//! [`stage`] notes that all of this is to be done when the machine goes down, so that the last
//! changes to `/etc` are merged too.

mod arguments;
mod error;
mod etc_source;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod prepare;
mod staged;

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::Pack;
use sealroot_format::policy::{DeploymentName, EtcMode, Mode, Policy, Var};
use sealroot_format::sign::Name;
use sealroot_format::tree::Tree;

use std::collections::BTreeSet;
use std::path::Path;

use crate::adopt::{deployments_of_ostree, running_of_ostree};
use crate::deploy::{self, DeployError, Flag, Record};
use crate::entry::{Added, Boot, Entry, Origin, Places, Starts};
use crate::etc::{self, Merged};
use crate::machine::{self, BootChoices, Booted, Runtime};
use crate::monitor::Monitor;
use crate::release::{self, PackBytes};
use crate::store::{Store, Transaction};

pub use error::ActivateError;
pub use prepare::{Parts, Prepared, Start, Wishes, check, check_etc, prepare};
pub use staged::{Staged, forget_if_running, stage, staged, this_boot};

/// Where the parts of a machine are.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'m> {
    /// Its physical root.
    pub sysroot: &'m Path,
    /// Its boot partition.
    pub boot: &'m Boot,
    /// What this boot's programs have written.
    pub runtime: &'m Runtime,
}

/// What a deployment is for: what its record says and a policy enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// What is enforced.
    pub mode: Mode,
    /// Whose `/var`; `None`: it is in memory.
    pub stateroot: Option<Name>,
    /// How `/etc` is made.
    pub etc: EtcMode,
}

impl Aim {
    /// What a policy says.
    pub fn of_policy(policy: &Policy) -> Self {
        Self {
            mode: policy.mode,
            stateroot: match &policy.var {
                Var::Volatile => None,
                Var::Stateroot(name) => Some(name.clone()),
            },
            etc: policy.etc,
        }
    }

    /// What a record says.
    pub fn of_record(record: &Record) -> Self {
        Self {
            mode: record.mode,
            stateroot: record.stateroot.clone(),
            etc: record.etc.unwrap_or(EtcMode::Transient),
        }
    }
}

/// What the deployment before was for: the one that runs, else the one that boots by default.
#[derive(Debug)]
pub enum SoFar {
    /// There is none.
    Nothing,
    /// One of OSTree's.
    OfOstree {
        /// Whose `/var` it has.
        stateroot: String,
    },
    /// What its record says.
    Known(Aim),
    /// Its record is damaged.
    Unreadable {
        /// Which.
        name: DeploymentName,
        /// Whether it keeps an `/etc` of its own.
        has_own_etc: bool,
        /// What is wrong with the record.
        error: DeployError,
    },
}

impl SoFar {
    /// Reads it.
    pub fn read(store: &Store, machine: &Machine<'_>) -> Result<Self, ActivateError> {
        let running = Booted::running(machine.runtime)?;
        let default = BootChoices::of(Some(machine.boot))?.default;
        for name in running.into_iter().chain(default) {
            match deploy::read_record(store, name) {
                Ok(record) => return Ok(Self::Known(Aim::of_record(&record))),
                Err(DeployError::NoDeployment { .. }) => {}
                Err(error) if error.is_unreadable_record() => {
                    return Ok(Self::Unreadable {
                        name,
                        has_own_etc: etc::has_own(store, name)?,
                        error,
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(theirs) = running_of_ostree(machine.sysroot)? {
            let stateroot = theirs.stateroot;
            return Ok(Self::OfOstree { stateroot });
        }
        let places = Places::of(machine.sysroot).directories;
        let theirs = deployments_of_ostree(machine.sysroot, &places)?;
        Ok(theirs.into_iter().next().map_or(Self::Nothing, |theirs| {
            let stateroot = theirs.stateroot;
            Self::OfOstree { stateroot }
        }))
    }
}

/// What [`activate`] did.
#[derive(Debug)]
pub struct Activated {
    /// The boot entry.
    pub added: Added,
    /// What became of `/etc`, where the deployment keeps its own.
    pub etc: Option<Merged>,
}

/// Whether this machine is started by unified kernel images: what runs has an entry that starts one, or what boots by
/// default does.
pub fn is_started_by_image(machine: &Machine<'_>) -> Result<bool, ActivateError> {
    let entries = machine.boot.entries()?;
    let running = Booted::running(machine.runtime)?;
    let of_running = running.as_ref().and_then(|name| entries.of(name));
    let starts_image = |entry: &Entry| {
        let ours = entry.ours();
        ours.is_some_and(|ours| ours.text.starts == Starts::Image)
    };
    let mut either = of_running.into_iter().chain(entries.default_entry());
    Ok(either.any(starts_image))
}

/// Makes a deployment what boots next, after everything of the transaction is durable.
pub fn activate(
    transaction: &Transaction<'_>,
    machine: &Machine<'_>,
    name: DeploymentName,
    tree: &Tree,
    prepared: &Prepared<'_>,
) -> Result<Activated, ActivateError> {
    prepared.check_name(name)?;
    let store = transaction.store();
    let record = deploy::read_record(store, name)?;
    let merged = merge_etc(transaction, machine, name, &record, tree)?;
    match &prepared.origin {
        Some(Origin::Made { modules }) => {
            let content = modules.join("\n");
            let limit = sealroot_format::limits::MAX_DEPLOYMENT_FLAG_BYTES;
            let len = usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .min(content.len());
            let content = content.as_bytes().get(..len).unwrap_or_default();
            deploy::raise_flag(transaction, &name, Flag::MadeInitramfs, content)?;
        }
        _ => {
            deploy::lower_flag(transaction, &name, Flag::MadeInitramfs)?;
        }
    }
    let new = prepared.entry(name);
    let added = machine::make_default(transaction, machine.runtime, machine.boot, &new)?;
    Ok(Activated { added, etc: merged })
}

fn merge_etc(
    transaction: &Transaction<'_>,
    machine: &Machine<'_>,
    name: DeploymentName,
    record: &Record,
    tree: &Tree,
) -> Result<Option<Merged>, ActivateError> {
    let running = Booted::running(machine.runtime)?;
    // What runs has its /etc already, and nobody may take it away from under it.
    if record.etc != Some(EtcMode::Merge) || running == Some(name) {
        return Ok(None);
    }
    let (store, monitor) = (transaction.store(), transaction.monitor());
    let new = etc::default_of(tree)?;
    let found = etc_source::find(Some(store), machine, Some(name), monitor)?;
    // What was changed in it stays, and nothing else is to come into it.
    if etc::has_own(store, name)? {
        let beyond = Beyond::of(store, name, found.as_ref(), &new, monitor)?;
        if beyond.own && beyond.merged {
            monitor.warn(format!(
                "{name} keeps the /etc that it has; what was changed elsewhere is not merged into it"
            ));
        }
        if beyond.own {
            return Ok(None);
        }
    }
    let source = found.as_ref().map(etc_source::Found::as_source);
    Ok(Some(etc::merge(transaction, name, source, &new)?))
}

/// Deployments that keep an `/etc` of their own which is still wanted: what boots if the default is
/// given up, what is pinned, and those of `commit`, whose tree this is, in which something was changed and
/// elsewhere too. They are not deployed once more, but a further deployment is made. The default of a
/// machine at rest is what its `/etc` comes from, so that one is not among them.
pub fn with_wanted_etc(
    store: &Store,
    machine: &Machine<'_>,
    (commit, tree): (&CommitId, &Tree),
    monitor: &dyn Monitor,
) -> Result<BTreeSet<DeploymentName>, ActivateError> {
    let choices = BootChoices::of(Some(machine.boot))?;
    let running = Booted::running(machine.runtime)?;
    let is_at_rest =
        Booted::read(machine.runtime)?.is_none() && running_of_ostree(machine.sysroot)?.is_none();
    let mut wanted = BTreeSet::new();
    for found in deploy::deployments(store)? {
        let name = found.name;
        if running == Some(name) || !etc::has_own(store, name)? {
            continue;
        }
        let is_named = choices.named.contains_key(&name) && choices.default != Some(name);
        let is_wanted = is_named || deploy::has_flag(store, &name, Flag::Pinned)?;
        let is_both = || -> Result<bool, ActivateError> {
            let source = etc_source::find(Some(store), machine, Some(name), monitor)?;
            let new = etc::default_of(tree)?;
            let beyond = Beyond::of(store, name, source.as_ref(), &new, monitor)?;
            Ok(beyond.own && beyond.merged)
        };
        let is_source = is_at_rest && choices.default == Some(name);
        if is_wanted || !is_source && name.commit == *commit && is_both()? {
            wanted.insert(name);
        }
    }
    Ok(wanted)
}

/// What a deployment's own `/etc`, and the one that it would get if it were merged anew, have that the other
/// does not.
struct Beyond {
    own: bool,
    merged: bool,
}

impl Beyond {
    /// It would be merged of `source` and `new`, the default of the release.
    fn of(
        store: &Store,
        name: DeploymentName,
        source: Option<&etc_source::Found>,
        new: &Tree,
        monitor: &dyn Monitor,
    ) -> Result<Self, ActivateError> {
        let merged = source.map(|source| etc::plan(source.sides(new)));
        let merged = merged.transpose()?.map(|plan| plan.merged);
        let merged = merged.as_ref().unwrap_or(new);
        let own = etc::read_own(store, name, monitor)?.1.tree;
        Ok(Self {
            own: etc::has_changes_beyond(new, &own, merged),
            merged: etc::has_changes_beyond(new, merged, &own),
        })
    }
}

/// Opens the pack of a release, for [`prepare()`].
pub fn pack_of<'b>(
    bytes: &'b PackBytes,
    digest: &VerityDigest,
) -> Result<Pack<&'b dyn ReadAt>, ActivateError> {
    let bytes: &dyn ReadAt = bytes;
    Pack::open(bytes).map_err(|source| {
        ActivateError::from(release::ReleaseError::Pack {
            digest: *digest,
            source,
        })
    })
}
