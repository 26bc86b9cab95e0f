// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the firmware starts a machine by itself.

use std::io;
use std::path::Path;

use super::{Candidate, Places, loader_info, names_of};
use crate::boot_manager::{BootManager, BootManagerError};
use crate::entry::text::Starts;
use crate::entry::{Boot, BootIo as _, EntryError, KernelBootIo, Loader};
use crate::mountinfo::mount_of;

/// What firmware reads.
const FAT: [&str; 2] = ["vfat", "msdos"];

/// The boot manager of this machine, for images on this partition.
pub(super) fn manager_for(io: &KernelBootIo, variables: &Path) -> Result<BootManager, EntryError> {
    let path = io.location();
    let no_partition = |source| BootManagerError::NoPartition {
        path: path.to_owned(),
        source,
    };
    let mount = mount_of(io).map_err(no_partition)?;
    if !FAT.contains(&&*mount.filesystem) || mount.root != Path::new("/") {
        let found = format!("firmware reads FAT, and this is {}", mount.filesystem);
        return Err(no_partition(io::Error::other(found)).into());
    }
    Ok(BootManager::of_machine(variables, io, path)?)
}

/// The partition of which the firmware starts images without a loader, if it does.
pub(super) fn started_by_firmware(
    places: &Places,
    candidates: &[Candidate],
) -> Result<Option<(usize, BootManager)>, EntryError> {
    let Some(variables) = &places.efi_variables else {
        return Ok(None);
    };
    if loader_info(places).is_some() {
        return Ok(None);
    }
    let others = names_of(candidates);
    for (at, candidate) in candidates.iter().enumerate() {
        // Without variables, or on no partition of its own, firmware starts nothing of it.
        let Ok(manager) = manager_for(&candidate.io, variables) else {
            continue;
        };
        let evidence = Evidence {
            has_options: !manager.options().map_err(EntryError::from)?.ours.is_empty(),
            is_running: manager.runs_ours()?,
            has_images: has_images(candidate)?,
        };
        match evidence.judge(others.is_empty()) {
            Verdict::Firmware => return Ok(Some((at, manager))),
            Verdict::Loader => {}
            Verdict::Unclear => {
                let firmware = format!("the firmware for {}", candidate.io.location().display());
                let found = others.into_iter().chain([firmware]).collect();
                return Err(EntryError::SeveralLoaders { found });
            }
        }
    }
    Ok(None)
}

/// What speaks for the firmware's starting images of a partition by itself.
struct Evidence {
    /// It has load options for some.
    has_options: bool,
    /// It has started what runs by one of them.
    is_running: bool,
    /// There are entries that start images.
    has_images: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Firmware,
    Loader,
    Unclear,
}

impl Evidence {
    /// Judges, where no loader has said its name.
    fn judge(&self, is_without_loader: bool) -> Verdict {
        match (self.is_running, is_without_loader) {
            (true, _) => Verdict::Firmware,
            // Where only images are left, the variables were lost.
            (false, true) if self.has_options || self.has_images => Verdict::Firmware,
            (false, false) if self.has_options => Verdict::Unclear,
            _ => Verdict::Loader,
        }
    }
}

fn has_images(candidate: &Candidate) -> Result<bool, EntryError> {
    let io = KernelBootIo::open(candidate.io.location());
    let io = io.map_err(|source| EntryError::Io {
        operation: "open",
        path: candidate.io.location().to_owned(),
        source,
    })?;
    let entries = Boot::new(io, Loader::SystemdBoot, "").entries()?;
    let mut ours = entries.ours();
    Ok(ours.any(|(_, ours)| ours.text.starts == Starts::Image))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rules: L5
    #[test]
    fn the_firmware_is_meant_where_nothing_else_is() {
        let judge = |has_options, is_running, has_images, is_alone| {
            let evidence = Evidence {
                has_options,
                is_running,
                has_images,
            };
            evidence.judge(is_alone)
        };
        assert_eq!(judge(true, true, true, false), Verdict::Firmware);
        assert_eq!(judge(true, false, true, true), Verdict::Firmware);
        assert_eq!(judge(false, false, true, true), Verdict::Firmware);
        assert_eq!(judge(true, false, true, false), Verdict::Unclear);
        assert_eq!(judge(false, false, true, false), Verdict::Loader);
        assert_eq!(judge(false, false, false, true), Verdict::Loader);
    }
}
