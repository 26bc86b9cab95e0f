// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking at what is on a boot partition besides the entries: the files that they start, what
//! interrupted runs left, and the room for more. Nothing is changed.

use std::collections::BTreeSet;
use std::io;

use super::files::directory;
use super::read::{Entries, OurEntry};
use super::text::{INITRD, LINUX};
use super::{Boot, BootIo, EntryError};
use crate::store::{FileKind, StorePath, again};

/// What an interrupted run left on a boot partition; the next change clears it away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Entries that were never finished.
    pub entries: Vec<String>,
    /// How many kernels no entry names.
    pub kernels: usize,
    /// What these take.
    pub bytes: u64,
}

/// What a boot partition has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free.
    pub available_bytes: u64,
    /// Bytes that the next change may free: kernels of entries that are not kept.
    pub freeable_bytes: u64,
    /// What the largest kernel with its initramfs takes, or the largest image, of those that are there.
    pub largest_bytes: u64,
}

/// A file that an entry starts.
#[derive(Debug)]
pub struct StartedFile<'b, I: BootIo> {
    io: &'b I,
    file: I::File,
    offset_bytes: u64,
}

/// Reads it from its beginning.
impl<I: BootIo> io::Read for StartedFile<'_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = again(|| self.io.read_at(&self.file, buffer, self.offset_bytes))?;
        self.offset_bytes = self.offset_bytes.saturating_add(read as u64);
        Ok(read)
    }
}

impl<I: BootIo> Boot<I> {
    /// What is wrong with the files that an entry starts; `None` if they are whole. They are read to
    /// their ends.
    pub fn damage(&self, ours: &OurEntry) -> Result<Option<String>, EntryError> {
        self.fault(&ours.text.files, ours.text.starts.names())
    }

    /// The kernel that an entry starts.
    pub fn open_kernel(&self, ours: &OurEntry) -> Result<StartedFile<'_, I>, EntryError> {
        self.open_started(ours, LINUX)
    }

    /// The initramfs of the kernel that an entry starts.
    pub fn open_initrd(&self, ours: &OurEntry) -> Result<StartedFile<'_, I>, EntryError> {
        self.open_started(ours, INITRD)
    }

    fn open_started(&self, ours: &OurEntry, name: &str) -> Result<StartedFile<'_, I>, EntryError> {
        let path = directory(&ours.text.files).join(name).expect("a constant");
        let opened = again(|| self.io.open(&path)).map_err(self.failed("open", &path));
        let (file, stat) = opened?;
        if stat.kind != FileKind::Regular {
            return Err(EntryError::NotRegular {
                path: self.full(&path),
                found: stat.kind,
            });
        }
        Ok(StartedFile {
            io: &self.io,
            file,
            offset_bytes: 0,
        })
    }

    /// What interrupted runs left.
    pub fn leftovers(&self, found: &Entries) -> Result<Leftovers, EntryError> {
        let (_, block_bytes) = self.free_space()?;
        let unused = found.unused_kernels();
        let mut bytes = 0_u64;
        for files in &unused {
            bytes = bytes.saturating_add(self.taken_bytes(files, block_bytes)?);
        }
        Ok(Leftovers {
            entries: found.leftovers.clone(),
            kernels: unused.len(),
            bytes,
        })
    }

    /// The room there is for a new entry, which keeps those for which `keep` is true.
    pub fn room_left(
        &self,
        found: &Entries,
        keep: &dyn Fn(&OurEntry) -> bool,
    ) -> Result<Room, EntryError> {
        let (available_bytes, block_bytes) = self.free_space()?;
        let used: BTreeSet<_> = found.ours().map(|(_, ours)| ours.text.files).collect();
        let mut largest_bytes = 0;
        for files in &used {
            match self.taken_bytes(files, block_bytes) {
                Ok(taken_bytes) => largest_bytes = taken_bytes.max(largest_bytes),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Room {
            available_bytes,
            freeable_bytes: self.freeable_by(found, keep, block_bytes)?,
            largest_bytes,
        })
    }

    /// What is free, and what files take a multiple of.
    fn free_space(&self) -> Result<(u64, u64), EntryError> {
        let space = again(|| self.io.space());
        let space = space.map_err(self.failed("get the free space of", &StorePath::root()))?;
        Ok((space.available_bytes, space.block_bytes))
    }
}
