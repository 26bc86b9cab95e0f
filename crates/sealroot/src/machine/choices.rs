// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader may start, as far as it concerns deployments.

use std::collections::BTreeMap;

use sealroot_format::policy::DeploymentName;

use super::MachineError;
use crate::entry::{Boot, BootIo, Entries, Entry, Unreadable};

/// The deployments that boot entries name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootChoices {
    /// What starts unless a person chooses otherwise, if it is a deployment.
    pub default: Option<DeploymentName>,
    /// What was the default before.
    pub rollback: Option<DeploymentName>,
    /// Every deployment that any entry names, with the kernel command line of the first of them.
    pub named: BTreeMap<DeploymentName, String>,
    /// An entry of which it is not known what it names.
    pub unreadable: Option<Unreadable>,
}

impl BootChoices {
    /// What the entries of a boot partition name, ours and everybody's; nothing where there is no
    /// partition.
    pub fn of<B: BootIo>(boot: Option<&Boot<B>>) -> Result<Self, MachineError> {
        match boot {
            None => Ok(Self::default()),
            Some(boot) => Ok(Self::of_entries(&boot.entries()?)),
        }
    }

    /// What entries name that have been read.
    pub fn of_entries(entries: &Entries) -> Self {
        let mut named = BTreeMap::new();
        for entry in entries.in_boot_order() {
            for name in &entry.names {
                let options = entry.options.clone().unwrap_or_default();
                named.entry(*name).or_insert(options);
            }
        }
        for name in entries.named_besides().keys() {
            named.entry(*name).or_default();
        }
        Self {
            default: entries.default_entry().and_then(booted_by),
            rollback: entries.rollback_entry().and_then(Entry::deployment),
            named,
            unreadable: entries.unreadable().cloned(),
        }
    }
}

/// The deployment that an entry boots. The boot program refuses a command line with more than one.
fn booted_by(entry: &Entry) -> Option<DeploymentName> {
    entry.deployment().or_else(|| entry.names.last().copied())
}
