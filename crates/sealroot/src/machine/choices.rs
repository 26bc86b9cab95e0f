// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader may start, as far as it concerns deployments.

use std::collections::BTreeMap;

use sealroot_format::policy::DeploymentName;

use super::MachineError;
use crate::entry::{Boot, BootIo, Entries, Entry};

/// How the argument begins that names a deployment.
const ARGUMENT: &str = "sealroot=";

/// The deployments that boot entries name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootChoices {
    /// What starts unless a person chooses otherwise, if it is a deployment.
    pub default: Option<DeploymentName>,
    /// What was the default before.
    pub rollback: Option<DeploymentName>,
    /// Every deployment that any entry names, with the kernel command line of the first of them.
    pub named: BTreeMap<DeploymentName, String>,
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

    fn of_entries(entries: &Entries) -> Self {
        let mut named = BTreeMap::new();
        for entry in entries.in_boot_order() {
            for name in named_by(entry) {
                let options = entry.options.clone().unwrap_or_default();
                named.entry(name).or_insert(options);
            }
        }
        Self {
            default: entries
                .default_entry()
                .and_then(|entry| named_by(entry).last()),
            rollback: entries.rollback_entry().and_then(Entry::deployment),
            named,
        }
    }
}

/// The deployments on an entry's command line. The boot program refuses more than one; all count.
fn named_by(entry: &Entry) -> impl Iterator<Item = DeploymentName> {
    let options = entry.options.as_deref().unwrap_or_default();
    let names = options
        .split_ascii_whitespace()
        .filter_map(|argument| argument.strip_prefix(ARGUMENT)?.parse().ok());
    let ours = entry.deployment();
    names.filter(move |name| Some(*name) != ours).chain(ours)
}
