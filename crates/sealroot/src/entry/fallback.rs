// SPDX-License-Identifier: MIT OR Apache-2.0
//! What firmware starts of a disk that it knows nothing of (docs/format/entries.md 8): a copy of an
//! image, for a machine whose variables were lost.

use sealroot_format::digest::Sha256Digest;

use super::files::{BootFiles, in_blocks};
use super::program::is_program;
use super::read::{Entries, OurEntry, known};
use super::text::IMAGE;
use super::{Boot, BootIo, EntryError};
use crate::monitor::Monitor;
use crate::store::again;

/// Where firmware looks (UEFI specification 2.10, 3.5.1.1), by the machine's architecture.
const DIRECTORY: &str = "EFI/BOOT";
const NAMES: [(&str, &str); 3] = [
    ("x86_64", "BOOTX64.EFI"),
    ("aarch64", "BOOTAA64.EFI"),
    ("riscv64", "BOOTRISCV64.EFI"),
];

/// What is to stay free beside a new fallback, besides once its size for the next update, bytes.
const SPARE_BYTES: u64 = 1 << 20;

/// What firmware starts where it has lost its variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Its path on the partition.
    pub path: String,
    /// What it is.
    pub state: FallbackState,
}

/// What a fallback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackState {
    /// There is none, or one that was never finished.
    Missing,
    /// A copy of this image, which an entry starts.
    Copy(Sha256Digest),
    /// Something else: somebody else's, or an image that no entry names any more.
    Other,
}

impl<I: BootIo> Boot<I> {
    /// What there is; `None` where a loader starts entries, or none is known for this architecture.
    pub fn fallback(&self, found: &Entries) -> Result<Option<Fallback>, EntryError> {
        let name = NAMES
            .iter()
            .find(|(arch, _)| *arch == std::env::consts::ARCH);
        let (Some(_), Some((_, name))) = (&self.manager, name) else {
            return Ok(None);
        };
        let path = format!("{DIRECTORY}/{name}");
        let content = self.file(&path)?;
        let content = content.filter(|bytes| is_program(bytes));
        let state = match content {
            None => FallbackState::Missing,
            Some(bytes) => {
                let digest = BootFiles(vec![(IMAGE, &bytes)]).digest()?;
                let is_copy = found.ours().any(|(_, ours)| ours.text.files == digest);
                if is_copy {
                    FallbackState::Copy(digest)
                } else {
                    FallbackState::Other
                }
            }
        };
        Ok(Some(Fallback { path, state }))
    }

    /// Makes a fallback of an entry's image where there is none, and nothing that was found good either.
    pub(super) fn make_first_fallback(
        &self,
        found: &Entries,
        ours: &OurEntry,
        monitor: &dyn Monitor,
    ) -> Result<(), EntryError> {
        let is_good = found.ours().any(|(entry, _)| entry.tries.is_none());
        match self.fallback(found)? {
            Some(fallback) if fallback.state == FallbackState::Missing && !is_good => {
                self.write_fallback(&fallback.path, ours, monitor)
            }
            _ => Ok(()),
        }
    }

    /// Keeps the fallback a copy of what was found good: it is made where there is none, and replaced
    /// where it is a copy of another image of ours. What is somebody else's stays.
    pub(super) fn keep_fallback(
        &self,
        found: &Entries,
        ours: &OurEntry,
        monitor: &dyn Monitor,
    ) -> Result<(), EntryError> {
        match self.fallback(found)? {
            Some(Fallback { state, .. }) if state == FallbackState::Copy(ours.text.files) => Ok(()),
            None
            | Some(Fallback {
                state: FallbackState::Other,
                ..
            }) => Ok(()),
            Some(Fallback { path, .. }) => self.write_fallback(&path, ours, monitor),
        }
    }

    fn write_fallback(
        &self,
        path: &str,
        ours: &OurEntry,
        monitor: &dyn Monitor,
    ) -> Result<(), EntryError> {
        let path = known(path);
        let Some(image) = self.image(ours)?.filter(|image| is_program(image)) else {
            return Ok(());
        };
        // What boots by the variables is durable: from here on there may be no fallback for a while.
        self.settle()?;
        self.remove_file_if_there(&path)?;
        let space = again(|| self.io.space());
        let space = space.map_err(self.failed("get the free space of", &path))?;
        let image_bytes = in_blocks(image.len() as u64, space.block_bytes);
        let needed_bytes = image_bytes.saturating_mul(2).saturating_add(SPARE_BYTES);
        if space.available_bytes < needed_bytes {
            monitor.warn(format!(
                "{} is not written, from which the firmware would start if it lost its variables: with it \
                 the next update would not fit: {} bytes are free, {needed_bytes} are needed",
                self.full(&path).display(),
                space.available_bytes
            ));
            return Ok(());
        }
        self.write_program(["EFI", DIRECTORY], &path, &image)
    }
}
