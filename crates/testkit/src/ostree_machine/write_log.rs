// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a power cut does to a disk whose cache holds writes back.
//!
//! QEMU logs all that a guest writes, in the format of the kernel's `dm-log-writes`: a super block,
//! and entries of a header and what was written, all of them in sectors. What came before the last
//! flush is on the disk; of what came after it, anything may be missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::disk::Disk;
use crate::vm::LOG_SECTOR_BYTES as SECTOR_BYTES;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

/// The device was told to write out all that had been written.
const FLUSH: u64 = 1;
/// This write is not held back.
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;

/// One entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where on the disk.
    disk_offset: u64,
    /// Where in the log.
    log_offset: u64,
    len_bytes: u64,
    flags: u64,
}

/// What was written to a disk from a power-on to the end of its machine.
#[derive(Debug)]
pub(super) struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

/// How much of a log a power cut left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Writes before the last flush.
    pub flushed: usize,
    /// Writes after it, of which some were kept.
    pub unflushed: usize,
    /// How many those were.
    pub kept: usize,
}

impl WriteLog {
    /// Reads a log up to its end, or to where the machine was killed while it wrote there.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        ensure!(
            number(&file, 0)? == MAGIC,
            "a log of writes without its magic number"
        );
        ensure!(
            number(&file, 8)? == VERSION,
            "a log of writes of another version"
        );
        let end = file.metadata()?.len();
        let mut entries = Vec::new();
        let mut at = SECTOR_BYTES;
        while at + SECTOR_BYTES <= end {
            let sectors = number(&file, at + 8)?;
            let flags = number(&file, at + 16)?;
            let entry = Entry {
                disk_offset: number(&file, at)? * SECTOR_BYTES,
                log_offset: at + SECTOR_BYTES,
                len_bytes: sectors * SECTOR_BYTES,
                flags,
            };
            at = entry.log_offset;
            if flags & DISCARD == 0 {
                at += entry.len_bytes;
            }
            // A header of zeros: space that was given to the file, and not written.
            if at > end || sectors == 0 && flags == 0 {
                break;
            }
            entries.push(entry);
        }
        Ok(Self { file, entries })
    }

    /// Does to a disk what the log tells, and lets the power fail: of what was not flushed
    /// `is_kept` says what is there.
    pub(super) fn replay(&self, disk: &Disk, mut is_kept: impl FnMut() -> bool) -> Result<Kept> {
        let entries = &self.entries;
        let is_flush = |entry: &Entry| entry.flags & FLUSH != 0;
        let flushed = entries.iter().rposition(is_flush).map_or(0, |at| at + 1);
        let image = File::options().write(true).open(disk.path())?;
        let mut kept = 0;
        for (index, entry) in entries.iter().enumerate() {
            if index >= flushed {
                if entry.flags & FUA == 0 && !is_kept() {
                    continue;
                }
                kept += 1;
            }
            self.write(entry, &image)?;
        }
        Ok(Kept {
            flushed,
            unflushed: entries.len() - flushed,
            kept,
        })
    }

    /// A discard leaves the content open: it stays as it was.
    fn write(&self, entry: &Entry, image: &File) -> io::Result<()> {
        if entry.flags & DISCARD != 0 {
            return Ok(());
        }
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < entry.len_bytes {
            let count = (entry.len_bytes - done).min(1 << 20);
            let part = &mut buffer[..usize::try_from(count).unwrap_or(1 << 20)];
            self.file.read_exact_at(part, entry.log_offset + done)?;
            image.write_all_at(part, entry.disk_offset + done)?;
            done += count;
        }
        Ok(())
    }
}

fn number(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of entries, each of a sector, flags, and the byte that fills one sector of data.
    fn log(path: &Path, entries: &[(u64, u64, Option<u8>)]) -> Result<WriteLog> {
        let sector = |numbers: &[u64]| {
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            bytes.resize(512, 0);
            bytes
        };
        let mut bytes = sector(&[MAGIC, VERSION, 0, SECTOR_BYTES]);
        for (at, flags, fill) in entries {
            bytes.extend(sector(&[*at, u64::from(fill.is_some()), *flags, 0]));
            bytes.extend(fill.map_or(Vec::new(), |fill| vec![fill; 512]));
        }
        std::fs::write(path, bytes)?;
        WriteLog::read(path)
    }

    #[test]
    fn only_what_was_flushed_is_sure_to_be_kept() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let log = log(
            &directory.path().join("log"),
            &[
                (0, 0, Some(1)),
                (0, FLUSH, None),
                (1, 0, Some(2)),
                (2, FUA, Some(3)),
                (3, 0, Some(4)),
            ],
        )?;
        let path = directory.path().join("disk");
        let disk = || -> Result<Disk> {
            std::fs::write(&path, [0; 2048])?;
            Ok(Disk::open(&path))
        };
        let sectors =
            || -> Result<Vec<u8>> { Ok(std::fs::read(&path)?.into_iter().step_by(512).collect()) };

        let kept = log.replay(&disk()?, || false)?;
        assert_eq!((kept.flushed, kept.unflushed, kept.kept), (2, 3, 1));
        assert_eq!(sectors()?, [1, 0, 3, 0]);

        log.replay(&disk()?, || true)?;
        assert_eq!(sectors()?, [1, 2, 3, 4]);

        let mut turns = [false, true].into_iter();
        log.replay(&disk()?, || turns.next().unwrap_or(false))?;
        assert_eq!(sectors()?, [1, 0, 3, 4]);
        Ok(())
    }
}
