// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images on a boot partition, read to be looked into.

use sealroot_format::limits::MAX_BOOT_FILE_BYTES;

use super::files::directory;
use super::read::{OurEntry, known};
use super::text::{IMAGE, Starts};
use super::{Boot, BootIo, EntryError};
use crate::store::StorePath;

/// Where boot loaders look for images that need no entry, and how those end.
pub(super) const BESIDE: &str = "EFI/Linux";
const ENDING: &[u8] = b".efi";

impl<I: BootIo> Boot<I> {
    /// The image that an entry of ours starts; `None` if it starts a kernel, or the file is missing.
    pub fn image(&self, ours: &OurEntry) -> Result<Option<Vec<u8>>, EntryError> {
        match ours.text.starts {
            Starts::Kernel(_) => Ok(None),
            Starts::Image => {
                let path = directory(&ours.text.files).join(IMAGE);
                self.read_if_there(&path.expect("a constant"))
            }
        }
    }

    /// A file of at most [`MAX_BOOT_FILE_BYTES`] by its path on the partition; `None` if there is
    /// none.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, EntryError> {
        match StorePath::new(path) {
            Some(path) => self.read_if_there(&path),
            None => Ok(None),
        }
    }

    /// The images that loaders find without an entry, by their paths on the partition.
    pub fn images_without_entry(&self) -> Result<Vec<String>, EntryError> {
        let found = match self.list(&known(BESIDE)) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            found => found?,
        };
        let is_image = |name: &[u8]| name.to_ascii_lowercase().ends_with(ENDING);
        let names = found.iter().map(|entry| &entry.name[..]);
        let paths = names.filter(|name| is_image(name)).map(|name| {
            let name = String::from_utf8_lossy(name);
            format!("{BESIDE}/{name}")
        });
        Ok(paths.collect())
    }

    fn read_if_there(&self, path: &StorePath) -> Result<Option<Vec<u8>>, EntryError> {
        match self.read_small(path, MAX_BOOT_FILE_BYTES) {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }
}
