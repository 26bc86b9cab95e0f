// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an adoption costs on the disk, before anything is written: an estimate from above.

use crate::ostree::ContentObjects;
use crate::store::merkle_bytes;

/// A block of the filesystems that matter, bytes.
const BLOCK_BYTES: u64 = 4096;

/// What a name takes in a pack besides itself: directory entry, inode, xattrs.
const PACK_BYTES_PER_NAME: u64 = 160;

/// What every pack takes, and symbolic links of usual lengths.
const PACK_BASE_BYTES: u64 = 64 * 1024;

/// Directories of objects: the store's, and one deployment's.
const OBJECT_DIRECTORIES: u64 = 2 * 256;

/// What an entry of a directory takes for a link to an object.
const BYTES_PER_LINK: u64 = 80;

/// What is in a commit and what it costs to adopt it, bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Files that will be objects, each content counted as often as OSTree has it.
    pub objects: u64,
    /// Their content. It is there already.
    pub object_bytes: u64,
    /// The pack, with the content of small files.
    pub pack_bytes: u64,
    /// What fs-verity writes to files that do not have it.
    pub verity_bytes: u64,
    /// Directories and records.
    pub own_bytes: u64,
}

impl Cost {
    pub(super) fn of_names(objects: &ContentObjects) -> Self {
        Self {
            pack_bytes: objects.name_bytes + objects.names * PACK_BYTES_PER_NAME,
            ..Self::default()
        }
    }

    pub(super) fn small(&mut self, size_bytes: u64) {
        self.pack_bytes += size_bytes;
    }

    pub(super) fn object(&mut self, size_bytes: u64, has_verity: bool) {
        self.objects += 1;
        self.object_bytes += size_bytes;
        if !has_verity {
            self.verity_bytes += merkle_bytes(size_bytes);
        }
    }

    pub(super) fn finish(&mut self) {
        // Tails that do not fill their block.
        self.pack_bytes += self.pack_bytes / 10 + PACK_BASE_BYTES;
        self.own_bytes = OBJECT_DIRECTORIES * BLOCK_BYTES + 2 * self.objects * BYTES_PER_LINK;
    }

    /// All that will be written.
    pub fn total_bytes(&self) -> u64 {
        self.pack_bytes
            .saturating_add(self.verity_bytes)
            .saturating_add(self.own_bytes)
    }
}
