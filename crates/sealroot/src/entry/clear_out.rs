// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing entries whosever they are, for machines that are to boot nothing but what seals
//! (docs/format/entries.md, C6).

use std::collections::BTreeSet;

use super::change::Removed;
use super::read::known;
use super::{Boot, BootIo, EntryError};
use crate::monitor::Monitor;
use crate::store::{FileKind, StorePath, again};

/// Where OSTree has its kernels on a boot partition, a directory each.
const OSTREE: &str = "ostree";

/// Hex digits at the end of such a directory's name.
const DIGEST_DIGITS: usize = 64;

impl<I: BootIo> Boot<I> {
    /// Removes entries by the names of their files, whosever they are, then kernels of ours and of
    /// OSTree that no entry names any more. A name that is gone already is none to remove.
    ///
    /// Refused before anything is changed while an entry cannot be read: what it uses is not known.
    /// That something is left to boot is for the caller to see to: the menu may be one of several.
    pub fn clear_out(
        &self,
        names: &BTreeSet<String>,
        monitor: &dyn Monitor,
    ) -> Result<Removed, EntryError> {
        let found = self.entries()?;
        if let Some(unreadable) = found.unreadable() {
            return Err(EntryError::Unreadable {
                path: unreadable.path.clone(),
                reason: unreadable.reason.clone(),
            });
        }
        let shown = found.in_boot_order().iter();
        let is_file = |entry: &&super::Entry| entry.owner != super::Owner::Firmware;
        let there = shown
            .filter(is_file)
            .filter(|entry| names.contains(&entry.file_name));
        let there: Vec<_> = there.map(|entry| entry.file_name.clone()).collect();
        // What stays must be durable before anything goes.
        self.settle()?;
        let mut removed = self.remove_entries(&found, there)?;
        removed.extend(self.clear(monitor)?);
        removed.directories = self.remove_unused_of_ostree()?;
        Ok(removed)
    }

    /// Removes OSTree's kernels that no file among the entries names.
    fn remove_unused_of_ostree(&self) -> Result<Vec<String>, EntryError> {
        let top = known(OSTREE);
        let listed = match self.list(&top) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            listed => listed?,
        };
        let texts = self.texts_of_entries()?;
        let mut removed = Vec::new();
        for entry in listed {
            let is_named = texts.iter().any(|text| contains(text, &entry.name));
            if entry.kind != FileKind::Directory || !is_of_ostree(&entry.name) || is_named {
                continue;
            }
            let directory = top.join(&entry.name).expect("a name that was listed");
            for file in self.list(&directory)? {
                let path = directory.join(&file.name).expect("a name that was listed");
                self.remove_file_if_there(&path)?;
            }
            let gone = again(|| self.io().remove_directory(&directory));
            gone.map_err(self.failed("remove", &directory))?;
            removed.push(directory.to_string());
        }
        if !removed.is_empty() {
            self.settle()?;
        }
        Ok(removed)
    }

    /// The bytes of all files where entries are, whatever they are called.
    fn texts_of_entries(&self) -> Result<Vec<Vec<u8>>, EntryError> {
        let Some(directory) = self.entries_directory()? else {
            return Ok(Vec::new());
        };
        let mut texts = Vec::new();
        for entry in self.list(&directory)? {
            if entry.kind == FileKind::Regular {
                let path: StorePath = directory.join(&entry.name).expect("a name that was listed");
                let max_bytes = sealroot_format::limits::MAX_BOOT_ENTRY_BYTES;
                texts.push(self.read_small(&path, max_bytes)?);
            }
        }
        Ok(texts)
    }
}

/// `<name>-<digest>`, as OSTree names them.
fn is_of_ostree(name: &[u8]) -> bool {
    let Some(dash) = name.len().checked_sub(DIGEST_DIGITS + 1) else {
        return false;
    };
    dash > 0 && name[dash] == b'-' && name[dash + 1..].iter().all(u8::is_ascii_hexdigit)
}

fn contains(text: &[u8], name: &[u8]) -> bool {
    text.windows(name.len()).any(|part| part == name)
}
