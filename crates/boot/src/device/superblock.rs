// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two or three fields of a superblock that say which filesystem a device holds.
//!
//! Nothing here is authenticated: it only picks the device whose content is verified later.

use sealroot_format::codec::Cursor;

/// How many bytes from the start of a device tell its filesystem.
pub(super) const PROBED_BYTES: usize = BTRFS_AT + 4096;

const EXT4_AT: usize = 1024;
const F2FS_AT: usize = 1024;
const BTRFS_AT: usize = 64 * 1024;

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// The type the kernel mounts it as.
    pub filesystem: &'static str,
    /// The UUID, as `blkid` prints it.
    pub uuid: String,
    /// The label; empty for none.
    pub label: Vec<u8>,
}

/// The filesystem whose superblock is in the first bytes of a device, if it is one that can be a
/// root.
pub(super) fn probe(start: &[u8]) -> Option<Superblock> {
    ext4(start).or_else(|| f2fs(start)).or_else(|| btrfs(start))
}

/// `struct ext4_super_block` of Linux.
fn ext4(start: &[u8]) -> Option<Superblock> {
    let mut at = cursor(start, EXT4_AT)?;
    at.take(0x38)?;
    (at.u16()? == 0xEF53).then_some(())?;
    at.take(0x68 - 0x3A)?;
    Some(Superblock {
        filesystem: "ext4",
        uuid: uuid(at.array()?),
        label: until_nul(at.take(16)?),
    })
}

/// `struct f2fs_super_block` of Linux. The label is UTF-16.
fn f2fs(start: &[u8]) -> Option<Superblock> {
    let mut at = cursor(start, F2FS_AT)?;
    (at.u32()? == 0xF2F5_2010).then_some(())?;
    at.take(0x6C - 4)?;
    let uuid = uuid(at.array()?);
    let (units, _) = at.take(1024)?.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    let label = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
    Some(Superblock {
        filesystem: "f2fs",
        uuid,
        label: label.collect::<String>().into_bytes(),
    })
}

/// `struct btrfs_super_block` of Linux.
fn btrfs(start: &[u8]) -> Option<Superblock> {
    let mut at = cursor(start, BTRFS_AT)?;
    at.take(0x20)?;
    let uuid = uuid(at.array()?);
    at.take(0x40 - 0x30)?;
    (at.take(8)? == b"_BHRfS_M").then_some(())?;
    at.take(0x12B - 0x48)?;
    Some(Superblock {
        filesystem: "btrfs",
        uuid,
        label: until_nul(at.take(256)?),
    })
}

fn cursor(start: &[u8], offset: usize) -> Option<Cursor<'_>> {
    let mut at = Cursor::new(start);
    at.take(offset)?;
    Some(at)
}

fn until_nul(field: &[u8]) -> Vec<u8> {
    field
        .iter()
        .copied()
        .take_while(|&byte| byte != 0)
        .collect()
}

/// 16 bytes as `blkid` prints a UUID.
fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&sealroot_format::hex::encode(&[*byte]));
    }
    text
}

/// A GUID of a partition table: the same, but the first three groups little-endian.
pub(super) fn guid(mut bytes: [u8; 16]) -> String {
    for group in [0..4, 4..6, 6..8] {
        if let Some(group) = bytes.get_mut(group) {
            group.reverse();
        }
    }
    uuid(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
    const UUID_BYTES: [u8; 16] = [
        0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
        0xff,
    ];

    /// A device with these bytes at these offsets.
    fn device(fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; PROBED_BYTES];
        for (offset, field) in fields {
            bytes[*offset..offset + field.len()].copy_from_slice(field);
        }
        bytes
    }

    #[test]
    fn each_filesystem_is_known_by_its_fields() {
        let ext4 = device(&[
            (1024 + 0x38, &[0x53, 0xEF]),
            (1024 + 0x68, &UUID_BYTES),
            (1024 + 0x78, b"sixteen-bytes-l."),
        ]);
        let f2fs = device(&[
            (1024, &[0x10, 0x20, 0xF5, 0xF2]),
            (1024 + 0x6C, &UUID_BYTES),
            (1024 + 0x7C, b"r\0o\0o\0t\0"),
        ]);
        let btrfs = device(&[
            (65536 + 0x20, &UUID_BYTES),
            (65536 + 0x40, b"_BHRfS_M"),
            (65536 + 0x12B, b"root"),
        ]);
        for (device, filesystem, label) in [
            (ext4, "ext4", "sixteen-bytes-l."),
            (f2fs, "f2fs", "root"),
            (btrfs, "btrfs", "root"),
        ] {
            let expected = Superblock {
                filesystem,
                uuid: UUID.to_owned(),
                label: label.as_bytes().to_vec(),
            };
            assert_eq!(probe(&device), Some(expected));
        }
    }

    #[test]
    fn anything_else_is_no_filesystem() {
        assert_eq!(probe(&device(&[])), None);
        assert_eq!(probe(&[]), None);
        let short = &device(&[(1024 + 0x38, &[0x53, 0xEF])])[..1100];
        assert_eq!(probe(short), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            seed in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..64),
            len in 0..PROBED_BYTES,
            at in proptest::sample::select(vec![1024 + 0x38, 1024, 65_536 + 0x40]),
        ) {
            let mut bytes: Vec<u8> = seed.iter().copied().cycle().take(len).collect();
            for magic in [&[0x53, 0xEF][..], &[0x10, 0x20, 0xF5, 0xF2], b"_BHRfS_M"] {
                if let Some(field) = bytes.get_mut(at..at + magic.len()) {
                    field.copy_from_slice(magic);
                    if let Some(found) = probe(&bytes) {
                        proptest::prop_assert_eq!(found.uuid.len(), 36);
                    }
                }
            }
        }
    }

    #[test]
    fn guids_are_mixed_endian() {
        assert_eq!(guid(UUID_BYTES), "33221100-5544-7766-8899-aabbccddeeff");
    }
}
