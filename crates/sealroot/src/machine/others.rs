// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot entries that boot deployments of ours and are not ours to remove.

use sealroot_format::policy::DeploymentName;

use crate::entry::{Entries, Entry};

/// The files that boot one of `deployments`, or may, and are not ours as we write them: somebody
/// else's, or changed since.
pub fn entries_of_others(entries: &Entries, deployments: &[DeploymentName]) -> Vec<String> {
    let boots = |entry: &&Entry| deployments.iter().any(|name| entry.names.contains(name));
    let others = entries.in_boot_order().iter();
    let others = others.filter(|entry| entry.ours().is_none()).filter(boots);
    let besides = entries.named_besides().iter();
    let besides = besides.filter(|(name, _)| deployments.contains(name));
    others
        .map(|entry| &entry.file_name)
        .chain(besides.map(|(_, file)| file))
        .cloned()
        .collect()
}
