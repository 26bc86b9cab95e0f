// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries that the firmware's own boot manager starts, without a loader (docs/format/entries.md 8).
//!
//! Nobody but sealroot reads their files there: these say which deployment an image boots. What is
//! started, and in which order, the firmware's variables say, which name images by their paths.

use std::collections::BTreeSet;

use sealroot_format::digest::Sha256Digest;

use super::name::Tries;
use super::read::{Entries, Entry, EntryOption, OurEntry, Owner};
use super::text::{IMAGE, KERNELS, Starts};
use super::{Boot, BootIo, EntryError};
use crate::boot_manager::Options;

/// The path of an image on the partition.
fn path_of(files: &Sha256Digest) -> String {
    format!("/{KERNELS}/{files}/{IMAGE}")
}

impl Entries {
    /// What the firmware's boot manager has, where it starts the entries.
    pub const fn options(&self) -> Option<&Options> {
        self.options.as_ref()
    }

    /// Kernels that stay named when the files of these names are gone; `None` if that is not known.
    fn files_without(&self, gone: &BTreeSet<&str>) -> Option<BTreeSet<String>> {
        if self.unreadable.is_some() {
            return None;
        }
        let stay = self
            .references
            .iter()
            .filter(|(name, _)| !gone.contains(&***name));
        Some(stay.flat_map(|(_, files)| files).map(path_of).collect())
    }
}

/// What the boot manager does with a load option.
fn place(options: &Options, number: u16) -> EntryOption {
    EntryOption {
        number,
        is_next: options.next == Some(number),
        position: options.order.iter().position(|other| *other == number),
    }
}

/// An image is counted until it is in `BootOrder`: it is started once.
fn tries(option: Option<EntryOption>) -> Option<Tries> {
    match option {
        Some(option) if option.position.is_some() => None,
        Some(option) => Some(Tries {
            left: option.is_next.into(),
            done: (!option.is_next).into(),
        }),
        None => Some(Tries { left: 0, done: 0 }),
    }
}

/// That the firmware can start what is to be started.
pub(super) const fn check_for_firmware(
    starts: &Starts,
    tries: Option<u32>,
) -> Result<(), EntryError> {
    match (starts, tries) {
        (Starts::Kernel(_), _) => Err(EntryError::NoKernels),
        (Starts::Image, Some(found)) if found != 1 => Err(EntryError::OneTry { found }),
        (Starts::Image, _) => Ok(()),
    }
}

impl<I: BootIo> Boot<I> {
    /// Finds what starts each entry, and what the firmware starts besides.
    pub(super) fn find_options(&self, found: &mut Entries) -> Result<(), EntryError> {
        let Some(manager) = &self.manager else {
            return Ok(());
        };
        let options = manager.options()?;
        for entry in &mut found.shown {
            let Owner::Sealroot(ours) = &entry.owner else {
                continue;
            };
            let option = match ours.text.starts {
                Starts::Image => options.of(&path_of(&ours.text.files)),
                Starts::Kernel(_) => None,
            };
            let option = option.filter(|option| option.is_active);
            entry.option = option.map(|option| place(&options, option.number));
            entry.tries = tries(entry.option);
        }
        for (number, stranger) in &options.strangers {
            let place = place(&options, *number);
            if stranger.is_started && (place.is_next || place.position.is_some()) {
                found.shown.push(Entry {
                    file_name: format!("Boot{number:04X}"),
                    tries: None,
                    title: Some(stranger.title.clone()),
                    version: None,
                    sort_key: None,
                    machine_id: None,
                    linux: None,
                    options: None,
                    names: BTreeSet::new(),
                    option: Some(place),
                    owner: Owner::Firmware,
                });
            }
        }
        found.options = Some(options);
        Ok(())
    }

    /// Has the firmware start an entry: once if it is counted, unless its image was found good before; else
    /// from now on. Whether it is counted then. Loaders go by the files: nothing is to be done.
    pub(super) fn start(&self, ours: &OurEntry, is_counted: bool) -> Result<bool, EntryError> {
        let Some(manager) = &self.manager else {
            return Ok(is_counted);
        };
        let number = manager.ensure(&ours.text.title, &path_of(&ours.text.files))?;
        let is_good = manager.options()?.order.contains(&number);
        if is_counted && !is_good {
            manager.start_once(number)?;
            return Ok(true);
        }
        manager.put_first(number)?;
        manager.forget_next()?;
        Ok(false)
    }

    /// Has the firmware start an entry from now on, if it is counted; one that is not keeps its place, as
    /// another may have been chosen since. What else is to be started once stays.
    pub(super) fn start_always(&self, entry: &Entry, ours: &OurEntry) -> Result<(), EntryError> {
        if let Some(manager) = &self.manager {
            let number = manager.ensure(&ours.text.title, &path_of(&ours.text.files))?;
            let is_first = entry
                .option
                .is_some_and(|option| option.position == Some(0));
            if entry.tries.is_some() {
                manager.put_first(number)?;
            } else if is_first {
                // What an interrupted run has left.
                manager.forget_once(number)?;
            }
        }
        Ok(())
    }

    /// Has the firmware start no image that no entry names, once the files of the names in `gone` are
    /// gone.
    pub(super) fn forget_unused(
        &self,
        found: &Entries,
        gone: &BTreeSet<&str>,
    ) -> Result<(), EntryError> {
        if let (Some(manager), Some(stay)) = (&self.manager, found.files_without(gone)) {
            manager.retain(&|path| stay.contains(&path.to_ascii_lowercase()))?;
        }
        Ok(())
    }
}
