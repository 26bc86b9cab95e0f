// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel arguments that a new entry begins with: those of the default so far, ours or OSTree's.

use crate::entry::{Entries, Entry, KernelArguments, Loader, Owner};
use crate::monitor::Monitor;

/// What says how OSTree or a boot loader boots, and nothing about this machine's hardware or
/// wishes: arguments that are these, or begin with one that ends in `=` or `.`. Which device has
/// the root is said by the policy in the initramfs.
const NOT_TAKEN_OVER: [&str; 8] = [
    "ostree=",
    "ostree.",
    "root=",
    "rootflags=",
    "rootfstype=",
    "BOOT_IMAGE=",
    "initrd=",
    "systemd.machine_id=",
];

/// The arguments for a new entry, before what the administrator adds.
pub(super) fn inherited(
    entries: &Entries,
    loader: Loader,
    monitor: &dyn Monitor,
) -> KernelArguments {
    let default = entries.default_entry().and_then(|entry| entry.ours());
    let mut ours = default
        .into_iter()
        .chain(entries.ours().map(|(_, ours)| ours));
    if let Some(arguments) = ours.find_map(|ours| ours.text.starts.arguments()) {
        return arguments.clone();
    }
    let mut theirs = entries.in_boot_order().iter();
    let is_theirs = |entry: &&Entry| entry.owner == Owner::Ostree;
    let options = theirs
        .find(is_theirs)
        .and_then(|entry| entry.options.as_deref());
    let mut arguments = KernelArguments::default();
    for argument in options.unwrap_or_default().split_ascii_whitespace() {
        if NOT_TAKEN_OVER
            .iter()
            .any(|prefix| argument.starts_with(prefix))
        {
            continue;
        }
        let mut with = arguments.clone();
        let is_special =
            |with: &KernelArguments| loader.is_grub() && with.special_in_grub().is_some();
        match with.append(argument) {
            Ok(()) if !is_special(&with) => arguments = with,
            _ => monitor.warn(format!(
                "the kernel argument {argument:?} of OSTree's boot entry is not taken over: it \
                 cannot stand in an entry of sealroot's"
            )),
        }
    }
    arguments
}
