// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: it panics where what must hold does not.

use std::io;

use super::partition::{ReadAt, partition_uuid};
use super::superblock::probe;

/// Where superblocks are.
const SUPERBLOCKS: [usize; 2] = [1024, 64 * 1024];

/// A superblock, and the start of a disk whose first byte says which partition is looked for.
pub fn device_start(data: &[u8]) {
    for before_bytes in SUPERBLOCKS {
        let mut device = vec![0; before_bytes];
        device.extend_from_slice(data);
        device.extend([0; 4096]);
        if let Some(superblock) = probe(&device) {
            assert_eq!(superblock.uuid.len(), 36);
            assert!(superblock.label.len() <= 3 * 512);
            assert!(!superblock.label.contains(&0));
        }
    }
    let number = data.first().map_or(0, |number| u32::from(*number));
    if let Ok(Some(uuid)) = partition_uuid(&Disk(data), 512, number) {
        assert!(uuid.len() == 36 || uuid.len() >= 11);
    }
}

struct Disk<'d>(&'d [u8]);

impl ReadAt for Disk<'_> {
    fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
        let start = usize::try_from(offset_bytes).map_err(io::Error::other)?;
        let end = start.checked_add(len_bytes);
        let found = end.and_then(|end| self.0.get(start..end));
        found
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
