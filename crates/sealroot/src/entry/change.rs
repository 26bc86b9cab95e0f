// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing what boots (docs/format/entries.md 6): new entries, blessed entries, removed entries.

use std::collections::BTreeSet;

use sealroot_format::digest::Sha256Digest;
use sealroot_format::erofs::ReadAt;
use sealroot_format::policy::DeploymentName;

use super::files::{BootFiles, directory, in_blocks};
use super::firmware::check_for_firmware;
use super::name::{EntryId, Tries};
use super::order::Loader;
use super::read::{Entries, Entry, OurEntry, Unreadable};
use super::text::{EntryText, IMAGE, INACTIVE, INITRD, LINUX, Starts, is_title};
use super::{Boot, BootIo, BootSpace, EntryError, KernelArguments};
use crate::monitor::{Monitor, Silent};
use crate::store::again;

/// Blocks that a new entry takes besides kernel and initramfs: the entry, directories, and what a
/// filesystem needs to find the blocks of the files.
const OVERHEAD_BLOCKS: u64 = 32;

/// An entry to make the default.
#[derive(Clone)]
pub struct NewEntry<'e> {
    /// What boots.
    pub deployment: DeploymentName,
    /// For people: one line.
    pub title: String,
    /// What it starts.
    pub content: Content<'e>,
    /// How often the loader tries the entry before it gives it up; `None`: always. Only
    /// systemd-boot counts.
    pub tries: Option<u32>,
}

/// What a new entry starts, and where the files of that come from.
#[derive(Clone)]
pub enum Content<'e> {
    /// A kernel and its initramfs, which are written, unless they are there already.
    Kernel {
        /// Kernel arguments.
        arguments: KernelArguments,
        /// The kernel.
        linux: &'e dyn ReadAt,
        /// The initramfs.
        initrd: &'e dyn ReadAt,
    },
    /// A unified kernel image, the same way.
    Image(&'e dyn ReadAt),
    /// The files are there: those of another entry.
    Present {
        /// What they are.
        starts: Starts,
        /// Which.
        files: Sha256Digest,
    },
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kernel { arguments, .. } => f.debug_tuple("Kernel").field(arguments).finish(),
            Self::Image(_) => f.write_str("Image"),
            Self::Present { files, .. } => f.debug_tuple("Present").field(files).finish(),
        }
    }
}

impl std::fmt::Debug for NewEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewEntry")
            .field("deployment", &self.deployment)
            .field("content", &self.content)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

impl<'e> Content<'e> {
    fn starts(&self) -> Starts {
        match self {
            Self::Kernel { arguments, .. } => Starts::Kernel(arguments.clone()),
            Self::Image(_) => Starts::Image,
            Self::Present { starts, .. } => starts.clone(),
        }
    }

    /// What names the files, and these if they are to be written.
    fn identify(&self) -> Result<(Sha256Digest, Option<BootFiles<'e>>), EntryError> {
        let content = match *self {
            Self::Present { files, .. } => return Ok((files, None)),
            Self::Kernel { linux, initrd, .. } => BootFiles(vec![(LINUX, linux), (INITRD, initrd)]),
            Self::Image(image) => BootFiles(vec![(IMAGE, image)]),
        };
        Ok((content.digest()?, Some(content)))
    }
}

impl NewEntry<'static> {
    /// The same entry once more, to make it the default, not counted: a rollback, or with changed
    /// arguments.
    pub fn again(ours: &OurEntry) -> Self {
        Self {
            deployment: ours.text.deployment,
            title: ours.text.title.clone(),
            content: Content::Present {
                starts: ours.text.starts.clone(),
                files: ours.text.files,
            },
            tries: None,
        }
    }
}

/// What [`Boot::add`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The entry that is the newest now.
    pub entry: OurEntry,
    /// Whether it was there already, the newest: then none was written.
    pub is_reused: bool,
    /// Whether it is given up unless [`Boot::bless`] declares it good.
    pub is_counted: bool,
    /// What it replaced.
    pub removed: Removed,
    /// The file of the entry that boots by default all the same, where it is not this one.
    pub boots_instead: Option<String>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names of entries.
    pub entries: Vec<String>,
    /// Kernels that no entry names any more.
    pub kernels: Vec<Sha256Digest>,
    /// Directories of OSTree's kernels, by their paths on the partition.
    pub directories: Vec<String>,
}

impl Removed {
    pub(super) fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.kernels.extend(other.kernels);
        self.directories.extend(other.directories);
    }
}

/// Whether something fits.
enum Room {
    /// There is space.
    There,
    /// There is once the expendable entries are gone.
    WithoutExpendable,
}

/// What may go to make room: what is not kept, but never the present default or the new kernel.
fn expendable<'e>(
    found: &Entries,
    keep: &'e dyn Fn(&OurEntry) -> bool,
    files: Option<&'e Sha256Digest>,
) -> impl Fn(&OurEntry) -> bool + use<'e> {
    let newest = found.ours().next().map(|(_, ours)| ours);
    let default = found.default_entry().and_then(Entry::ours);
    let stay = [newest, default].map(|ours| ours.map(|ours| ours.id));
    move |ours| !keep(ours) && !stay.contains(&Some(ours.id)) && Some(&ours.text.files) != files
}

impl<I: BootIo> Boot<I> {
    /// Makes `new` the newest entry, so the default, and then removes the entries of ours for
    /// which `keep` is false, and kernels that no entry names any more.
    ///
    /// An older entry of the same deployment is replaced; where the newest one is tried only so
    /// often, one that is not counted stays as a fallback if `keep` says so, until [`Boot::bless`]. What is
    /// the newest already is left as it is, with the tries that it has. Space is computed before
    /// anything is written: where it is short, what is not kept is removed first, but never the
    /// present default.
    pub fn add(
        &self,
        new: &NewEntry<'_>,
        keep: &dyn Fn(&OurEntry) -> bool,
        monitor: &dyn Monitor,
    ) -> Result<Added, EntryError> {
        self.check(new)?;
        let mut removed = self.clear(monitor)?;
        let found = self.entries()?;
        let (files, content) = new.content.identify()?;
        let text = EntryText {
            title: new.title.clone(),
            starts: new.content.starts(),
            deployment: new.deployment,
            files,
        };
        let fault = self.fault(&files, text.starts.names())?;
        // One that somebody has changed since may be newer: then a newer one still is made.
        let newest = found.newest.map(|newest| newest.generation);
        let newest = (found.ours()).find(|(_, ours)| Some(ours.id.generation) == newest);
        let is_tried = |entry: &Entry| entry.tries.is_none_or(|tries| tries.left > 0);
        let reused =
            newest.filter(|(entry, ours)| is_tried(entry) && ours.text == text && fault.is_none());
        let is_counted = match reused {
            Some((entry, _)) => entry.tries.is_some(),
            None => new.tries.is_some(),
        };
        let (entry, is_reused) = match (reused, fault, content) {
            (Some((_, ours)), ..) => (ours.clone(), true),
            (None, Some(found), None) => {
                return Err(EntryError::DamagedFiles {
                    path: self.full(&directory(&files)),
                    expected: files,
                    found,
                });
            }
            (None, fault, content) => {
                let content = content.filter(|_| fault.is_some());
                removed.extend(self.make_room(&found, content.as_ref(), keep, &files)?);
                if let Some(content) = &content {
                    self.write_files_or_none(&files, content, &found)?;
                }
                let id = EntryId::new(found.next_generation()?, &text.deployment);
                let tries = new.tries.map(|left| Tries { left, done: 0 });
                // The firmware counts in its variables, not in names.
                let tries = tries.filter(|_| self.manager.is_none());
                self.write_entry(&id, tries, &text)?;
                (OurEntry { id, text }, false)
            }
        };
        let is_counted = self.start(&entry, is_counted)?;
        // One that is counted itself was not found good: it is nothing to fall back to.
        let is_replaced = |other: &Entry, ours: &OurEntry| {
            let same_deployment = ours.text.deployment == entry.text.deployment;
            let is_fallback = is_counted && other.tries.is_none();
            ours.id != entry.id && (!keep(ours) || same_deployment && !is_fallback)
        };
        removed.extend(self.retire(&self.entries()?, &is_replaced)?);
        let found = self.entries()?;
        self.make_first_fallback(&found, &entry, monitor)?;
        let is_another = |default: &&Entry| default.ours().map(|ours| ours.id) != Some(entry.id);
        let boots_instead = found.default_entry().filter(is_another);
        Ok(Added {
            entry,
            is_reused,
            is_counted,
            removed,
            boots_instead: boots_instead.map(|default| default.file_name.clone()),
        })
    }

    /// Declares an entry good: the loader no longer counts how often it is tried, and what it
    /// replaced is removed. Nothing changes if that is so already.
    pub fn bless(&self, id: &EntryId, monitor: &dyn Monitor) -> Result<Removed, EntryError> {
        let mut removed = self.clear(monitor)?;
        let found = self.entries()?;
        let with_id = |(_, ours): &(&Entry, &OurEntry)| ours.id == *id;
        let Some((entry, ours)) = found.ours().find(with_id) else {
            return Err(EntryError::NoEntry {
                name: id.to_string(),
            });
        };
        if self.manager.is_some() {
            self.start_always(entry, ours)?;
            removed.extend(self.clear(&Silent)?);
            self.keep_fallback(&self.entries()?, ours, monitor)?;
        } else if entry.file_name != id.file_name(None) {
            // A copy under the plain name, not a rename: see `BootIo`.
            self.write_entry(id, None, &ours.text)?;
            // That the counted one goes is what was asked for.
            removed.extend(self.clear(&Silent)?);
        }
        Ok(removed)
    }

    /// Removes entries of ours by the names of their files, and kernels that no entry names any
    /// more. Refuses to remove the last entry of all, whosever the others are.
    pub fn remove(&self, names: &[&str], monitor: &dyn Monitor) -> Result<Removed, EntryError> {
        let found = self.entries()?;
        let is_ours = |name: &str| EntryId::parse(name.as_bytes()).is_some();
        let is_there = |name: &str| found.shown.iter().any(|entry| entry.file_name == name);
        if let Some(missing) = names.iter().find(|name| !is_ours(name) || !is_there(name)) {
            return Err(EntryError::NoEntry {
                name: (*missing).to_owned(),
            });
        }
        let stays = |entry: &Entry| !names.contains(&&*entry.file_name);
        if !names.is_empty() && !found.shown.iter().any(stays) {
            return Err(EntryError::NothingLeft {
                names: names.iter().map(|&name| name.to_owned()).collect(),
            });
        }
        let mut removed = self.remove_entries(&found, names.iter().map(|&n| n.to_owned()))?;
        removed.extend(self.clear(monitor)?);
        Ok(removed)
    }

    /// Clears away what interrupted runs left: entries that were never finished, entries that a
    /// newer one of the same deployment replaces, kernels that no entry names.
    pub fn clear(&self, monitor: &dyn Monitor) -> Result<Removed, EntryError> {
        let found = self.entries()?;
        if let Some(Unreadable { path, reason }) = found.unreadable() {
            monitor.warn(format!(
                "no kernel is removed: which of them the boot entry {} uses is not known: {reason}",
                path.display()
            ));
        }
        let is_superseded = |(entry, ours): (&Entry, &OurEntry)| {
            found.ours().any(|(other, theirs)| {
                let is_newer = theirs.id.generation > ours.id.generation;
                let is_blessed = theirs.id == ours.id && other.file_name != entry.file_name;
                other.tries.is_none()
                    && theirs.text.deployment == ours.text.deployment
                    && (is_newer || is_blessed && entry.tries.is_some())
            })
        };
        let superseded = found
            .ours()
            .filter(|&entry| is_superseded(entry))
            .map(|(entry, _)| entry.file_name.clone());
        let names: Vec<_> = found.leftovers.iter().cloned().chain(superseded).collect();
        self.forget_unused(&found, &BTreeSet::new())?;
        if names.is_empty() && found.unused_kernels().is_empty() {
            return Ok(Removed::default());
        }
        for name in &names {
            monitor.warn(format!(
                "removing the boot entry {name}: a newer one replaces it, or it was never finished"
            ));
        }
        // What stays must be durable before anything goes.
        self.settle()?;
        let mut removed = self.remove_entries(&found, names)?;
        removed.extend(self.remove_unused_kernels()?);
        Ok(removed)
    }

    fn check(&self, new: &NewEntry<'_>) -> Result<(), EntryError> {
        if !is_title(&new.title) {
            return Err(EntryError::Title {
                title: new.title.clone(),
            });
        }
        if new.tries.is_some() && !self.loader.counts_tries() {
            return Err(EntryError::NoCounting {
                loader: self.loader.name(),
            });
        }
        let starts = new.content.starts();
        if self.loader == Loader::Firmware {
            return check_for_firmware(&starts, new.tries);
        }
        if !self.loader.is_grub() {
            return Ok(());
        }
        let Some(arguments) = starts.arguments() else {
            let loader = self.loader.name();
            return Err(EntryError::NoImages { loader });
        };
        match arguments.special_in_grub() {
            Some(argument) => Err(EntryError::Argument {
                argument: argument.to_owned(),
                reason: "GRUB would change it: it has a meaning in GRUB's scripts".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Removes the entries of ours for which `is_replaced`, then unused kernels.
    fn retire(
        &self,
        found: &Entries,
        is_replaced: &dyn Fn(&Entry, &OurEntry) -> bool,
    ) -> Result<Removed, EntryError> {
        let replaced = found
            .ours()
            .filter(|(entry, ours)| is_replaced(entry, ours));
        let names: Vec<_> = replaced.map(|(entry, _)| entry.file_name.clone()).collect();
        let mut removed = self.remove_entries(found, names)?;
        removed.extend(self.remove_unused_kernels()?);
        Ok(removed)
    }

    /// Removes files of entries, for good.
    pub(super) fn remove_entries(
        &self,
        found: &Entries,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Removed, EntryError> {
        let Some(directory) = &found.directory else {
            return Ok(Removed::default());
        };
        let entries: Vec<_> = names.into_iter().collect();
        self.forget_unused(found, &entries.iter().map(|name| &**name).collect())?;
        for name in &entries {
            let path = directory.join(name).expect("a name that was listed");
            self.remove_file_if_there(&path)?;
        }
        if !entries.is_empty() {
            self.settle()?;
        }
        Ok(Removed {
            entries,
            ..Removed::default()
        })
    }

    fn remove_unused_kernels(&self) -> Result<Removed, EntryError> {
        let kernels: Vec<_> = self.entries()?.unused_kernels().into_iter().collect();
        for files in &kernels {
            self.remove_files(files)?;
        }
        if !kernels.is_empty() {
            self.settle()?;
        }
        Ok(Removed {
            kernels,
            ..Removed::default()
        })
    }

    /// That there would be space for a new entry, as [`Boot::add`] would find out.
    pub fn check_room(
        &self,
        new: &NewEntry<'_>,
        keep: &dyn Fn(&OurEntry) -> bool,
    ) -> Result<(), EntryError> {
        self.check(new)?;
        let (files, content) = new.content.identify()?;
        let content = match self.fault(&files, new.content.starts().names())? {
            Some(_) => content,
            None => None,
        };
        let found = self.entries()?;
        self.room(&found, content.as_ref(), keep, &files).map(drop)
    }

    /// Makes sure that a new kernel and entry fit, removing first what is not kept if it must.
    fn make_room(
        &self,
        found: &Entries,
        content: Option<&BootFiles<'_>>,
        keep: &dyn Fn(&OurEntry) -> bool,
        files: &Sha256Digest,
    ) -> Result<Removed, EntryError> {
        match self.room(found, content, keep, files)? {
            Room::There => Ok(Removed::default()),
            Room::WithoutExpendable => {
                self.settle()?;
                let is_expendable = expendable(found, keep, Some(files));
                self.retire(found, &|_, ours| is_expendable(ours))
            }
        }
    }

    fn room(
        &self,
        found: &Entries,
        content: Option<&BootFiles<'_>>,
        keep: &dyn Fn(&OurEntry) -> bool,
        files: &Sha256Digest,
    ) -> Result<Room, EntryError> {
        let space = again(|| self.io.space());
        let root = crate::store::StorePath::root();
        let BootSpace {
            available_bytes,
            block_bytes,
        } = space.map_err(self.failed("get the free space of", &root))?;
        let mut needed_bytes = OVERHEAD_BLOCKS.saturating_mul(block_bytes);
        if let Some(content) = content {
            for size_bytes in content.sizes()? {
                needed_bytes = needed_bytes.saturating_add(in_blocks(size_bytes, block_bytes));
            }
        }
        if needed_bytes <= available_bytes {
            return Ok(Room::There);
        }
        let is_expendable = expendable(found, keep, Some(files));
        let freeable_bytes = self.freeable_bytes(found, &is_expendable, block_bytes)?;
        if needed_bytes > available_bytes.saturating_add(freeable_bytes) {
            return Err(EntryError::NoSpace {
                location: self.location().to_owned(),
                needed_bytes,
                available_bytes,
                freeable_bytes,
            });
        }
        Ok(Room::WithoutExpendable)
    }

    /// What a new entry with another kernel could free, if it kept the entries for which `keep` is
    /// true.
    pub(super) fn freeable_by(
        &self,
        found: &Entries,
        keep: &dyn Fn(&OurEntry) -> bool,
        block_bytes: u64,
    ) -> Result<u64, EntryError> {
        self.freeable_bytes(found, &expendable(found, keep, None), block_bytes)
    }

    /// What removing expendable entries would free.
    fn freeable_bytes(
        &self,
        found: &Entries,
        is_expendable: &dyn Fn(&OurEntry) -> bool,
        block_bytes: u64,
    ) -> Result<u64, EntryError> {
        let expendable: BTreeSet<&str> = (found.ours())
            .filter(|(_, ours)| is_expendable(ours))
            .map(|(entry, _)| &*entry.file_name)
            .collect();
        let mut freeable_bytes = 0_u64;
        for files in found.unused_without(&expendable) {
            let taken_bytes = self.taken_bytes(&files, block_bytes)?;
            freeable_bytes = freeable_bytes.saturating_add(taken_bytes);
        }
        Ok(freeable_bytes)
    }

    /// Writes the files of an entry; where that fails, tries to leave nothing of them.
    fn write_files_or_none(
        &self,
        files: &Sha256Digest,
        content: &BootFiles<'_>,
        found: &Entries,
    ) -> Result<(), EntryError> {
        let written = self.write_files(files, content).and_then(|()| {
            // Cheap disks have been seen to take what they do not keep.
            let names: Vec<_> = content.0.iter().map(|(name, _)| *name).collect();
            match self.fault(files, &names)? {
                None => Ok(()),
                Some(found) => Err(EntryError::DamagedFiles {
                    path: self.full(&directory(files)),
                    expected: *files,
                    found,
                }),
            }
        });
        written.inspect_err(|_| {
            let is_named = found
                .references
                .values()
                .flatten()
                .any(|named| named == files);
            if !is_named {
                // What is left is cleared by the next run.
                let _ = self.remove_files(files);
            }
        })
    }

    /// Writes an entry so that loaders pass over it, makes that and all it names durable, and then
    /// makes it an entry by changing one byte: the moment from which it boots.
    fn write_entry(
        &self,
        id: &EntryId,
        tries: Option<Tries>,
        text: &EntryText,
    ) -> Result<(), EntryError> {
        let directory = self.make_entries_directory()?;
        let path = directory
            .join(id.file_name(tries))
            .expect("made of digits and letters");
        let mut bytes = text.render(id.generation, &self.prefix).into_bytes();
        let last_line = format!("{} ", text.starts.key());
        let at = bytes
            .windows(last_line.len() + 1)
            .rposition(|window| window.strip_prefix(b"\n") == Some(last_line.as_bytes()))
            .expect("the last line names what is started")
            + 1;
        let active = std::mem::replace(&mut bytes[at], INACTIVE);
        let file = again(|| self.io.create(&path)).map_err(self.failed("create", &path))?;
        self.write_all(&file, &bytes)
            .map_err(self.failed("write", &path))?;
        again(|| self.io.sync_file(&file)).map_err(self.failed("sync", &path))?;
        again(|| self.io.sync_directory(&directory)).map_err(self.failed("sync", &directory))?;
        self.settle()?;
        again(|| self.io.overwrite(&file, active, at as u64))
            .map_err(self.failed("write", &path))?;
        again(|| self.io.sync_file(&file)).map_err(self.failed("sync", &path))?;
        self.settle()
    }

    pub(super) fn settle(&self) -> Result<(), EntryError> {
        let root = crate::store::StorePath::root();
        again(|| self.io.settle()).map_err(self.failed("sync", &root))
    }
}
