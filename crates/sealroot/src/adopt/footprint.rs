// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a store takes on the disk beyond content that OSTree has as well.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::AdoptError;
use super::error::failed;

/// What `st_blocks` counts in.
const STAT_BLOCK_BYTES: u64 = 512;

/// A block of the filesystems that matter, bytes.
const BLOCK_BYTES: u64 = 4096;

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Content of objects, OSTree's links or not.
    pub object_bytes: u64,
    /// Packs, with their fs-verity.
    pub pack_bytes: u64,
    /// fs-verity of objects, where the filesystem counts it with their files, as ext4 does.
    pub verity_bytes: u64,
    /// Directories, records, statements.
    pub own_bytes: u64,
}

impl Footprint {
    /// Measures the store at `location`.
    pub fn of(location: &Path) -> Result<Self, AdoptError> {
        let mut footprint = Self::default();
        let mut open = vec![location.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).map_err(failed("list", &directory))? {
                let path = entry.map_err(failed("list", &directory))?.path();
                let metadata = path.symlink_metadata().map_err(failed("look at", &path))?;
                let taken = metadata.blocks() * STAT_BLOCK_BYTES;
                let inside = path.strip_prefix(location).unwrap_or(&path);
                if metadata.is_dir() {
                    footprint.own_bytes += taken;
                    open.push(path);
                } else if inside.starts_with("objects") && has_extension(inside, "file") {
                    footprint.object_bytes += metadata.len();
                    let content = metadata.len().next_multiple_of(BLOCK_BYTES);
                    footprint.verity_bytes += taken.saturating_sub(content);
                } else if inside.starts_with("pack") && has_extension(inside, "pack") {
                    footprint.pack_bytes += taken;
                } else if !has_extension(inside, "file") {
                    footprint.own_bytes += taken;
                }
            }
        }
        Ok(footprint)
    }

    /// All but the objects' content.
    pub const fn extra_bytes(&self) -> u64 {
        self.pack_bytes + self.verity_bytes + self.own_bytes
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}
