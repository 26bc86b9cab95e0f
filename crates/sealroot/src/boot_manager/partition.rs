// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which partition a filesystem is on, in the words of the firmware: by its entry in the disk's GPT
//! (UEFI specification 2.10, 5.3).

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sealroot_format::codec::Cursor;
use sealroot_format::limits::MAX_GPT_ENTRIES;

/// What the kernel calls a sector, whatever the disk has.
const KERNEL_SECTOR_BYTES: u64 = 512;

/// How a GPT begins, in the disk's second block.
const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_BYTES: usize = 92;
/// Behind the signature: what leads to the entries.
const ENTRIES_AT: usize = 64;
/// What of an entry is read; its name follows.
const ENTRY_BYTES: usize = 56;

/// A partition in a GPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1.
    pub number: u32,
    /// Where it begins, in blocks of the disk.
    pub first_block: u64,
    /// Its length in these.
    pub blocks: u64,
    /// The GUID of this very partition, as it stands on the disk.
    pub guid: [u8; 16],
}

/// What is wrong with a table; which one, the caller knows.
type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Partition {
    /// The partition that a filesystem is on, by what the kernel shows below `sys` and `dev`
    /// (`/sys` and `/dev`).
    pub(super) fn of(filesystem: impl AsFd, sys: &Path, dev: &Path) -> io::Result<Self> {
        let device = rustix::fs::fstat(filesystem)?.st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let shown = sys.join(format!("dev/block/{major}:{minor}"));
        let shown = fs::canonicalize(&shown).map_err(within(&shown))?;
        let number: u32 = number_of(&shown.join("partition"))?;
        let start: u64 = number_of(&shown.join("start"))?;
        let start_bytes = start.saturating_mul(KERNEL_SECTOR_BYTES);
        let disk = shown.parent().unwrap_or(&shown);
        let block_bytes: u64 = number_of(&disk.join("queue/logical_block_size"))?;
        let disk = dev.join(disk.file_name().unwrap_or_default());
        let open = File::open(&disk).map_err(within(&disk))?;
        Self::read(&open, block_bytes, number, start_bytes).map_err(|fault| {
            let place = format!("the partition table of {}", disk.display());
            within(Path::new(&place))(io::Error::new(io::ErrorKind::InvalidData, fault))
        })
    }

    /// Reads the entry of a partition, which begins where the kernel says.
    fn read(disk: &File, block_bytes: u64, number: u32, start_bytes: u64) -> Result<Self, Fault> {
        let mut header = [0; HEADER_BYTES];
        disk.read_exact_at(&mut header, block_bytes)?;
        let (block, within) = entry_of(&header, number)?;
        let at = block
            .checked_mul(block_bytes)
            .and_then(|at| at.checked_add(within));
        let mut entry = [0; ENTRY_BYTES];
        disk.read_exact_at(&mut entry, at.ok_or("its entries are beyond any disk")?)?;
        let found = Self::parse(&entry, number).ok_or("it has no such partition")?;
        let first_block = found.first_block;
        if first_block.checked_mul(block_bytes) != Some(start_bytes) {
            let what = format!("partition {number} begins at block {first_block}");
            return Err(format!("{what}, and for the kernel at byte {start_bytes}").into());
        }
        Ok(found)
    }

    fn parse(entry: &[u8], number: u32) -> Option<Self> {
        let mut fields = Cursor::new(entry);
        let (_kind, guid): ([u8; 16], [u8; 16]) = (fields.array()?, fields.array()?);
        let (first_block, last_block) = (fields.u64()?, fields.u64()?);
        let blocks = last_block.checked_sub(first_block)?.checked_add(1)?;
        (guid != [0; 16]).then_some(Self {
            number,
            first_block,
            blocks,
            guid,
        })
    }
}

/// Where the entry of a partition is: a block of the disk, and bytes after that one's begin.
fn entry_of(header: &[u8; HEADER_BYTES], number: u32) -> Result<(u64, u64), Fault> {
    let mut fields = Cursor::new(header);
    if fields.take(SIGNATURE.len()) != Some(SIGNATURE) {
        return Err(
            "it is no GPT, and firmware finds a partition for certain by that alone".into(),
        );
    }
    let mut table = || {
        Some((
            fields.take(ENTRIES_AT)?,
            fields.u64()?,
            fields.u32()?,
            fields.u32()?,
        ))
    };
    let (_, block, count, size_bytes) = table().ok_or("it ends too early")?;
    let has_size = usize::try_from(size_bytes).is_ok_and(|size| size >= ENTRY_BYTES);
    let index = number.checked_sub(1).filter(|_| has_size);
    match index.filter(|index| *index < count.min(MAX_GPT_ENTRIES)) {
        Some(index) => Ok((block, u64::from(index).saturating_mul(size_bytes.into()))),
        None => Err(format!("it has no partition {number}").into()),
    }
}

/// A number that the kernel shows in a file.
fn number_of<T: std::str::FromStr<Err = std::num::ParseIntError>>(path: &Path) -> io::Result<T> {
    let text = fs::read_to_string(path).map_err(within(path))?;
    let number = text.trim().parse().map_err(io::Error::other);
    number.map_err(within(path))
}

fn within(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_BYTES: u64 = 4096;

    /// A disk with a GPT whose second partition has blocks 100 to 199.
    fn disk(change: impl FnOnce(&mut [u8])) -> File {
        let mut bytes = vec![0; 16 * 4096];
        bytes[4096..4104].copy_from_slice(SIGNATURE);
        bytes[4096 + 72..4096 + 80].copy_from_slice(&2_u64.to_le_bytes());
        bytes[4096 + 80..4096 + 84].copy_from_slice(&4_u32.to_le_bytes());
        bytes[4096 + 84..4096 + 88].copy_from_slice(&128_u32.to_le_bytes());
        let entry = &mut bytes[2 * 4096 + 128..];
        entry[..16].fill(1);
        entry[16..32].fill(2);
        entry[32..40].copy_from_slice(&100_u64.to_le_bytes());
        entry[40..48].copy_from_slice(&199_u64.to_le_bytes());
        change(&mut bytes);
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&bytes, 0).expect("written");
        file
    }

    fn read(disk: &File, number: u32, first_block: u64) -> Result<Partition, String> {
        let read = Partition::read(disk, BLOCK_BYTES, number, first_block * BLOCK_BYTES);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn the_entry_of_a_partition_is_found() {
        let expected = Partition {
            number: 2,
            first_block: 100,
            blocks: 100,
            guid: [2; 16],
        };
        assert_eq!(read(&disk(|_| {}), 2, 100), Ok(expected));
    }

    #[test]
    fn a_table_that_does_not_have_it_is_said_to() {
        let refused = |disk: File, number, expected: &str| {
            let error = read(&disk, number, 100).expect_err("none");
            assert!(error.contains(expected), "{error}");
        };
        let set = |at: usize, value: [u8; 8]| {
            disk(move |bytes| bytes[at..at + 8].copy_from_slice(&value))
        };
        refused(disk(|bytes| bytes[4096] = 0), 2, "it is no GPT");
        refused(disk(|_| {}), 0, "no partition 0");
        refused(disk(|_| {}), 1, "no such partition");
        refused(disk(|_| {}), 5, "no partition 5");
        refused(disk(|bytes| bytes[4096 + 84] = 8), 2, "no partition 2");
        refused(set(4096 + 72, [0xff; 8]), 2, "beyond any disk");
        refused(
            set(2 * 4096 + 128 + 32, 101_u64.to_le_bytes()),
            2,
            "begins at block 101",
        );
        refused(
            set(2 * 4096 + 128 + 40, 99_u64.to_le_bytes()),
            2,
            "no such partition",
        );
    }
}
