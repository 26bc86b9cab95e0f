// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pinning deployments and removing them.

use std::collections::BTreeSet;

use sealroot_format::policy::DeploymentName;

use super::choices::BootChoices;
use super::others::entries_of_others;
use super::scan::{Found, State, scan};
use super::{MachineError, Runtime};
use crate::deploy::{self, DeployError, Flag};
use crate::entry::{Boot, BootIo};
use crate::monitor::Monitor;
use crate::store::{Store, StoreIo, deployment_path};

/// Keeps a deployment whatever else is collected. Whether it was not pinned before.
pub fn pin<I: StoreIo>(
    store: &Store<I>,
    name: &DeploymentName,
    monitor: &dyn Monitor,
) -> Result<bool, MachineError> {
    let transaction = store.begin(monitor)?;
    let raised = deploy::raise_flag(&transaction, name, Flag::Pinned, b"")?;
    transaction.finish()?;
    Ok(raised)
}

/// Lets a deployment go again when nothing else uses it. Whether it was pinned.
pub fn unpin<I: StoreIo>(
    store: &Store<I>,
    name: &DeploymentName,
    monitor: &dyn Monitor,
) -> Result<bool, MachineError> {
    let transaction = store.begin(monitor)?;
    let lowered = deploy::lower_flag(&transaction, name, Flag::Pinned)?;
    transaction.finish()?;
    Ok(lowered)
}

/// Removes the boot entries of a deployment, then puts it aside. Refused while it runs, boots next, is
/// pinned, staged or mounted, or an entry that is not ours boots it: then nothing is changed. Its
/// release goes with the next [`super::prune()`], unless something else needs it.
pub fn undeploy<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    runtime: &Runtime,
    boot: Option<&Boot<B>>,
    name: &DeploymentName,
    monitor: &dyn Monitor,
) -> Result<Undeployed, MachineError> {
    let transaction = store.begin(monitor)?;
    let found = find(store, runtime, boot, name)?;
    check_unused(&found, boot)?;
    let pack = match &found.record {
        Ok(record) => Some(record.pack),
        Err(error) if error.is_unreadable_record() => None,
        Err(_) => return Err(found.record.expect_err("just seen").into()),
    };
    let entries = match boot {
        Some(boot) => remove_entries(boot, name, monitor)?,
        None => Vec::new(),
    };
    transaction.give_up_packs(&BTreeSet::from_iter(pack))?;
    let trash = transaction.new_trash()?;
    transaction.put_aside(&trash, &deployment_path(name))?;
    transaction.finish()?;
    Ok(Undeployed { entries })
}

/// What [`undeploy`] removed besides the deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undeployed {
    /// Files of boot entries.
    pub entries: Vec<String>,
}

fn find<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    runtime: &Runtime,
    boot: Option<&Boot<B>>,
    name: &DeploymentName,
) -> Result<Found, MachineError> {
    let found = scan(store, runtime, &BootChoices::of(boot)?)?.certain()?;
    let found = (found.deployments.into_iter()).find(|found| found.name == *name);
    let missing = || DeployError::NoDeployment {
        name: *name,
        location: store.location().into(),
    };
    Ok(found.ok_or_else(missing)?)
}

fn remove_entries<B: BootIo>(
    boot: &Boot<B>,
    name: &DeploymentName,
    monitor: &dyn Monitor,
) -> Result<Vec<String>, MachineError> {
    let entries = boot.entries()?;
    let of_deployment = entries
        .ours()
        .filter(|(_, ours)| ours.text.deployment == *name);
    let files: Vec<&str> = of_deployment.map(|(entry, _)| &*entry.file_name).collect();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    Ok(boot.remove(&files, monitor)?.entries)
}

/// That nothing but entries of ours uses a deployment, and none of them is what boots next.
fn check_unused<B: BootIo>(found: &Found, boot: Option<&Boot<B>>) -> Result<(), MachineError> {
    let check = |states: &[State]| match states.iter().find(|state| found.states.contains(state)) {
        None => Ok(()),
        Some(state) => Err(MachineError::InUse {
            name: found.name,
            state: *state,
        }),
    };
    check(&[State::Booted, State::Pinned, State::Mounted, State::Staged])?;
    if let Some(boot) = boot {
        let entries = entries_of_others(&boot.entries()?, &[found.name]);
        if !entries.is_empty() {
            return Err(MachineError::EntriesOfOthers {
                name: found.name,
                entries,
            });
        }
    }
    check(&[State::Default])
}
