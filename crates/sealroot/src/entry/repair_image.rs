// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image that repairs the store, where boot loaders find it without an entry
//! (docs/format/entries.md 9).

use super::files::in_blocks;
use super::image::BESIDE;
use super::read::known;
use super::{Boot, BootIo, EntryError};
use crate::store::again;

/// There is one at most.
const NAME: &str = "sealroot-repair.efi";

/// What became of an image for repairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairImage {
    /// Its path on the partition.
    pub path: String,
    /// Whether it was not there before.
    pub is_changed: bool,
}

impl<I: BootIo> Boot<I> {
    /// Puts an image for repairs where loaders show it, in the place of one that is there. Firmware shows
    /// none by itself; whoever stands before it can choose the file.
    ///
    /// # Errors
    ///
    /// [`EntryError::NoImages`], [`EntryError::NoSpace`], with nothing changed.
    pub fn put_repair_image(&self, image: &[u8]) -> Result<RepairImage, EntryError> {
        if self.loader.is_grub() {
            let loader = self.loader.name();
            return Err(EntryError::NoImages { loader });
        }
        let path = format!("{BESIDE}/{NAME}");
        let there = self.file(&path)?;
        if there.as_deref() == Some(image) {
            return Ok(RepairImage {
                path,
                is_changed: false,
            });
        }
        let place = known(&path);
        let space = again(|| self.io.space());
        let space = space.map_err(self.failed("get the free space of", &place))?;
        let blocks = |bytes: &[u8]| in_blocks(bytes.len() as u64, space.block_bytes);
        let available_bytes = space.available_bytes + there.as_deref().map_or(0, blocks);
        if available_bytes < blocks(image) {
            return Err(EntryError::NoSpace {
                location: self.location().to_owned(),
                needed_bytes: blocks(image),
                available_bytes,
                freeable_bytes: 0,
            });
        }
        // What an update has written is durable before anything else is begun.
        self.settle()?;
        self.remove_file_if_there(&place)?;
        self.write_program(["EFI", BESIDE], &place, image)?;
        Ok(RepairImage {
            path,
            is_changed: true,
        })
    }
}
