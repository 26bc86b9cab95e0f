// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity of a partition, from the table of the disk it lies on.
//!
//! Only what names the partition is read; where it lies the kernel has decided. Nothing here is
//! authenticated.

use std::io;

use sealroot_format::codec::Cursor;

use super::superblock::guid;

/// Largest entry of a GUID partition table we look at, bytes; all known tables have 128.
const MAX_ENTRY_BYTES: u32 = 4096;

/// Reads the start of a disk: bytes at an offset.
pub(super) trait ReadAt {
    fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> io::Result<Vec<u8>>;
}

/// What the kernel calls `PARTUUID` of the partition `number` (from 1): a GUID or, on a disk with
/// a DOS table, `<disk signature>-<number>`. `None` where the disk has no table we know.
pub(super) fn partition_uuid(
    disk: &dyn ReadAt,
    block_bytes: u64,
    number: u32,
) -> io::Result<Option<String>> {
    let header = disk.read_at(block_bytes, 92)?;
    if let Some((table_block, entry_bytes)) = gpt_entries(&header, number) {
        let index = u64::from(number.saturating_sub(1));
        let offset_bytes = (table_block.checked_mul(block_bytes))
            .zip(index.checked_mul(u64::from(entry_bytes)))
            .and_then(|(table, entry)| table.checked_add(entry));
        let Some(offset_bytes) = offset_bytes else {
            return Ok(None);
        };
        let entry = disk.read_at(offset_bytes, 32)?;
        let unique = entry.get(16..).and_then(|bytes| bytes.try_into().ok());
        return Ok(unique.map(guid));
    }
    let boot_record = disk.read_at(0, 512)?;
    Ok(dos_signature(&boot_record).map(|signature| format!("{signature:08x}-{number:02x}")))
}

/// The block at which the entries of a GUID partition table start, and the size of one, if it has
/// an entry `number`.
fn gpt_entries(header: &[u8], number: u32) -> Option<(u64, u32)> {
    let mut at = Cursor::new(header);
    (at.take(8)? == b"EFI PART").then_some(())?;
    at.take(72 - 8)?;
    let (table_block, entries, entry_bytes) = (at.u64()?, at.u32()?, at.u32()?);
    let sane = (1..=entries).contains(&number) && (128..=MAX_ENTRY_BYTES).contains(&entry_bytes);
    sane.then_some((table_block, entry_bytes))
}

fn dos_signature(boot_record: &[u8]) -> Option<u32> {
    let mut at = Cursor::new(boot_record);
    at.take(440)?;
    let signature = at.u32()?;
    at.take(510 - 444)?;
    (at.take(2)? == [0x55, 0xAA] && signature != 0).then_some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ReadAt for Vec<u8> {
        fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
            let start = usize::try_from(offset_bytes).map_err(io::Error::other)?;
            self.get(start..)
                .and_then(|rest| rest.get(..len_bytes))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn gpt(entries: u32, entry_bytes: u32) -> Vec<u8> {
        let mut disk = vec![0; 8192];
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72..512 + 80].copy_from_slice(&2u64.to_le_bytes());
        disk[512 + 80..512 + 84].copy_from_slice(&entries.to_le_bytes());
        disk[512 + 84..512 + 88].copy_from_slice(&entry_bytes.to_le_bytes());
        // The second entry's unique GUID.
        disk[1024 + 128 + 16..1024 + 128 + 32].copy_from_slice(&[0x11; 16]);
        disk
    }

    #[test]
    fn a_gpt_entry_is_found_by_its_number() {
        let found = partition_uuid(&gpt(128, 128), 512, 2).expect("it reads");
        assert_eq!(
            found.as_deref(),
            Some("11111111-1111-1111-1111-111111111111")
        );
    }

    #[test]
    fn a_table_that_claims_nonsense_names_nothing() {
        for disk in [gpt(1, 128), gpt(128, 64), gpt(128, 1 << 31)] {
            assert_eq!(partition_uuid(&disk, 512, 2).expect("it reads"), None);
        }
        let mut far = gpt(128, 128);
        far[512 + 72..512 + 80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(partition_uuid(&far, 512, 2).expect("it reads"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read_without_a_panic(
            fields in proptest::array::uniform20(proptest::prelude::any::<u8>()),
            number: u32,
            block_bytes: u64,
        ) {
            let mut disk = gpt(128, 128);
            disk[512 + 72..512 + 92].copy_from_slice(&fields);
            let _ = partition_uuid(&disk, 512, number);
            let _ = partition_uuid(&disk, block_bytes, number);
        }
    }

    #[test]
    fn a_dos_table_gives_signature_and_number() {
        let mut disk = vec![0; 8192];
        disk[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        let found = partition_uuid(&disk, 512, 1).expect("it reads");
        assert_eq!(found.as_deref(), Some("1234abcd-01"));
        disk[510] = 0;
        assert_eq!(partition_uuid(&disk, 512, 1).expect("it reads"), None);
    }
}
