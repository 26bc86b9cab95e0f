// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest wrote to a disk, write by write, and the disks that power cuts after each of them
//! would have left. Small disks only: all of it is in memory.
//!
//! QEMU's `blklogwrites` keeps a log in the format of the kernel's `dm-log-writes`: a sector of
//! numbers, then for each write a sector that says where it goes, and its data. A disk may keep
//! back any writes that were not followed by a flush.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR_BYTES: usize = 512;
const _: () = assert!(SECTOR_BYTES as u64 == crate::vm::LOG_SECTOR_BYTES);
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// One request that reached the disk.
#[derive(Clone, Debug)]
struct Write {
    offset_bytes: usize,
    data: Vec<u8>,
    is_flush: bool,
}

/// All requests of one run, oldest first.
#[derive(Debug)]
pub struct WriteLog(Vec<Write>);

/// A power cut: what is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// How many requests had been sent.
    pub after: usize,
    /// Which part of those after the last flush is there: 0 all of them, otherwise as chosen by
    /// this number, to the sector.
    pub seed: u64,
}

impl WriteLog {
    /// Reads a log.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let number = |at: usize| -> Result<u64> {
            let bytes = bytes.get(at..at + 8).context("the log ends too early")?;
            Ok(u64::from_le_bytes(bytes.try_into()?))
        };
        ensure!(number(0)? == MAGIC, "no log of writes");
        let entries = number(16)?;
        let mut at = SECTOR_BYTES;
        let mut writes = Vec::new();
        for _ in 0..entries {
            let (sector, sectors, flags) = (number(at)?, number(at + 8)?, number(at + 16)?);
            at += SECTOR_BYTES;
            let len = usize::try_from(sectors)? * SECTOR_BYTES;
            let data = if flags & DISCARD == 0 {
                let data = bytes.get(at..at + len);
                data.context("the log ends too early")?.to_vec()
            } else {
                Vec::new()
            };
            at += data.len();
            writes.push(Write {
                offset_bytes: usize::try_from(sector)? * SECTOR_BYTES,
                data,
                is_flush: flags & FLUSH != 0,
            });
        }
        Ok(Self(writes))
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The flushes: how many requests had been sent after each, that one included.
    pub fn flushes(&self) -> Vec<usize> {
        let flush = |(at, write): (usize, &Write)| write.is_flush.then_some(at + 1);
        self.0.iter().enumerate().filter_map(flush).collect()
    }

    /// The disk that a power cut leaves of `image`, as it was before the first request.
    pub fn crash(&self, image: &[u8], cut: PowerCut) -> Vec<u8> {
        let mut disk = image.to_vec();
        let sent = &self.0[..cut.after.min(self.0.len())];
        let flushed = sent
            .iter()
            .rposition(|write| write.is_flush)
            .map_or(0, |at| at + 1);
        let mut state = cut.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for (at, write) in sent.iter().enumerate() {
            let sectors = write.data.chunks(SECTOR_BYTES).enumerate();
            for (index, sector) in sectors {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let is_there = at < flushed || cut.seed == 0 || !state.is_multiple_of(3);
                let offset_bytes = write.offset_bytes + index * SECTOR_BYTES;
                if let Some(place) = disk.get_mut(offset_bytes..offset_bytes + sector.len())
                    && is_there
                {
                    place.copy_from_slice(sector);
                }
            }
        }
        disk
    }
}
