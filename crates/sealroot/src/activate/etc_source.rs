// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose `/etc` is merged into a new deployment: that of the system that runs, else of the one that
//! boots by default.

use std::path::{Path, PathBuf};

use sealroot_format::policy::DeploymentName;
use sealroot_format::tree::Tree;

use super::{ActivateError, Machine};
use crate::adopt::{Theirs, deployments_of_ostree, running_of_ostree};
use crate::entry::{Entry, Places};
use crate::etc::{self, Current, EtcDirectory, EtcError, Source};
use crate::machine::Booted;
use crate::monitor::Monitor;
use crate::store::Store;

/// An `/etc` with local changes.
pub(super) struct Found {
    deployment: Option<DeploymentName>,
    old: Tree,
    current: Current,
}

impl Found {
    pub(super) fn as_source(&self) -> Source<'_> {
        Source {
            old: &self.old,
            current: &self.current,
            deployment: self.deployment,
        }
    }

    /// What a merge compares with the default of the new release.
    pub(super) fn sides<'f>(&'f self, new: &'f Tree) -> etc::Sides<'f> {
        etc::Sides {
            old: &self.old,
            current: &self.current.tree,
            new,
        }
    }
}

/// Finds it, for the deployment `new` if that is there already: of what runs, ours or OSTree's; else of our default; else of
/// OSTree's. `None`: no deployment has one.
pub(super) fn find(
    store: Option<&Store>,
    machine: &Machine<'_>,
    new: Option<DeploymentName>,
    monitor: &dyn Monitor,
) -> Result<Option<Found>, ActivateError> {
    let own = |name: DeploymentName| -> Result<Option<Found>, ActivateError> {
        let Some(store) = store else {
            return Ok(None);
        };
        if Some(name) == new || !etc::has_own(store, name)? {
            return Ok(None);
        }
        let (old, current) = etc::read_own(store, name, monitor)?;
        let deployment = Some(name);
        Ok(Some(Found {
            deployment,
            old,
            current,
        }))
    };
    if let Some(booted) = Booted::read(machine.runtime)? {
        // A transient /etc has changes too, which end with the boot as its mode says.
        return booted.deployment.map_or(Ok(None), own);
    }
    if let Some(theirs) = running_of_ostree(machine.sysroot)? {
        return of_ostree(machine.sysroot, &theirs.stateroot, theirs.name, monitor).map(Some);
    }
    let entries = machine.boot.entries()?;
    let ours = entries.default_entry().and_then(Entry::deployment);
    if let Some(found) = ours.map_or(Ok(None), own)? {
        return Ok(Some(found));
    }
    let places = Places::of(machine.sysroot).directories;
    let theirs = deployments_of_ostree(machine.sysroot, &places)?;
    let whole = theirs.iter().find(|theirs| theirs.fault.is_none());
    let of = |theirs: &Theirs| of_ostree(machine.sysroot, &theirs.stateroot, theirs.name, monitor);
    whole.map(of).transpose()
}

fn of_ostree(
    sysroot: &Path,
    stateroot: &str,
    name: DeploymentName,
    monitor: &dyn Monitor,
) -> Result<Found, ActivateError> {
    let deployment = sysroot.join(format!("ostree/deploy/{stateroot}/deploy/{name}"));
    let open = |path: PathBuf| -> Result<EtcDirectory, EtcError> {
        EtcDirectory::open(&path).map_err(|source| EtcError::Directory { path, source })
    };
    Ok(Found {
        deployment: None,
        old: open(deployment.join("usr/etc"))?.tree(monitor)?,
        current: open(deployment.join("etc"))?.read_whole(monitor)?,
    })
}
