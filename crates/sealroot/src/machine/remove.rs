// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pinning deployments and removing them.

use std::collections::BTreeSet;

use sealroot_format::policy::DeploymentName;

use super::choices::BootChoices;
use super::scan::{Found, State, scan};
use super::{MachineError, Runtime};
use crate::deploy::{self, DeployError, Flag};
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

/// Puts a deployment aside that nothing uses. Its release goes with the next [`super::prune`], unless
/// something else needs it.
pub fn undeploy<I: StoreIo>(
    store: &Store<I>,
    runtime: &Runtime,
    choices: &dyn Fn() -> Result<BootChoices, MachineError>,
    name: &DeploymentName,
    monitor: &dyn Monitor,
) -> Result<(), MachineError> {
    let transaction = store.begin(monitor)?;
    let found = scan(store, runtime, &choices()?)?;
    let found = (found.deployments.into_iter()).find(|found| found.name == *name);
    let found = found.ok_or_else(|| DeployError::NoDeployment {
        name: *name,
        location: store.location().into(),
    })?;
    check_unused(&found)?;
    let pack = match found.record {
        Ok(record) => Some(record.pack),
        Err(error) if error.is_unreadable_record() => None,
        Err(error) => return Err(error.into()),
    };
    transaction.give_up_packs(&BTreeSet::from_iter(pack))?;
    let trash = transaction.new_trash()?;
    transaction.put_aside(&trash, &deployment_path(name))?;
    transaction.finish()?;
    Ok(())
}

/// That nothing uses a deployment. One that is only staged is given up with what is still to be done.
fn check_unused(found: &Found) -> Result<(), MachineError> {
    let in_use = (found.states.iter()).find(|state| **state != State::Staged);
    match in_use {
        None => Ok(()),
        Some(state) => Err(MachineError::InUse {
            name: found.name,
            state: *state,
        }),
    }
}
