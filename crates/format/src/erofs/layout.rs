// SPDX-License-Identifier: MIT OR Apache-2.0
//! The on-disk structures of EROFS, as far as our profiles use them.
//!
//! All integers are little-endian. Fields are written in the order they are declared in, so every
//! offset follows from the sizes before it; the size of each structure is asserted when compiling.

use crate::codec::Cursor;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Base-2 logarithm of [`BLOCK_BYTES`], as the superblock stores it.
pub(crate) const BLOCK_BITS: u8 = 12;
/// Base-2 logarithm of [`SLOT_BYTES`].
pub(crate) const SLOT_BITS: u32 = SLOT_BYTES.ilog2();
/// Bytes of an inode slot: inodes start at multiples of it and a nid counts them.
pub(crate) const SLOT_BYTES: usize = 32;
/// Where the superblock is.
pub(crate) const SUPERBLOCK_OFFSET_BYTES: usize = 1024;
/// Where the superblock ends: a pack's long names or, without them, the first inode.
pub(crate) const AFTER_SUPERBLOCK_BYTES: usize = SUPERBLOCK_OFFSET_BYTES + Superblock::BYTES;
/// The magic of the superblock.
pub(crate) const MAGIC: u32 = 0xE0F5_E1E2;
/// Compatible feature: inodes hold the time of modification.
pub(crate) const COMPAT_MTIME: u32 = 0x2;
/// Compatible feature: the xattr area starts with a filter of the names in it.
pub(crate) const COMPAT_XATTR_FILTER: u32 = 0x4;
/// Incompatible feature: there may be chunk-based inodes.
pub(crate) const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
/// Incompatible feature: there are long name prefixes.
pub(crate) const INCOMPAT_XATTR_PREFIXES: u32 = 0x40;
/// The block address of a chunk that is a hole.
pub(crate) const CHUNK_HOLE: u32 = u32::MAX;
/// Bytes of one entry of a chunk-based inode's block map.
pub(crate) const CHUNK_ENTRY_BYTES: usize = 4;
/// Base-2 logarithm of the largest chunk (31 in the inode, counted from the block).
pub(crate) const CHUNK_BITS_MAX: u32 = BLOCK_BITS as u32 + 31;
/// Most chunks one inode of ours has: files up to 8 PiB.
pub(crate) const CHUNKS_MAX: u64 = 1024;
/// Unit of the xattr area: entries are padded to it, counts and references are in it.
pub(crate) const XATTR_UNIT_BYTES: usize = 4;
/// Most shared references one inode can have; the count is one byte.
pub(crate) const XATTR_SHARED_MAX: usize = 255;

/// How far into its block an offset is.
#[expect(clippy::cast_possible_truncation, reason = "what is left has 12 bits")]
pub(crate) const fn within_block(offset_bytes: u64) -> usize {
    (offset_bytes & (BLOCK_BYTES as u64 - 1)) as usize
}

/// A fixed-size field of a disk structure.
pub(crate) trait Field: Sized {
    /// Appends the field.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes the field from the front.
    fn get(cursor: &mut Cursor<'_>) -> Option<Self>;
}

macro_rules! integer_field {
    ($($type:ident)*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(cursor: &mut Cursor<'_>) -> Option<Self> {
                cursor.$type()
            }
        }
    )*};
}
integer_field!(u8 u16 u32 u64);

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn get(cursor: &mut Cursor<'_>) -> Option<Self> {
        cursor.array()
    }
}

macro_rules! disk_struct {
    (
        $(#[$doc:meta])*
        $name:ident, $bytes:literal bytes { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        const _: () = assert!(0 $(+ size_of::<$type>())* == $bytes);

        impl $name {
            pub(crate) const BYTES: usize = $bytes;

            /// Names and sizes of the fields in order, for messages and to compare with the format
            /// document.
            #[cfg_attr(not(test), allow(dead_code, reason = "not of every structure"))]
            pub(crate) const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), size_of::<$type>()),)*];

            /// Appends the structure.
            pub(crate) fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            /// Takes the structure from the front of `bytes`; `None` where they end too early.
            pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
                let mut cursor = Cursor::new(bytes);
                Some(Self { $($field: Field::get(&mut cursor)?,)* })
            }
        }
    };
}

disk_struct! {
    /// The superblock.
    Superblock, 128 bytes {
        magic: u32,
        checksum: u32,
        feature_compat: u32,
        block_bits: u8,
        extension_slots: u8,
        root_nid: u16,
        inodes: u64,
        build_time_seconds: u64,
        build_time_nanoseconds: u32,
        blocks: u32,
        meta_block: u32,
        xattr_block: u32,
        uuid: [u8; 16],
        volume_name: [u8; 16],
        feature_incompat: u32,
        compression: u16,
        extra_devices: u16,
        device_slot: u16,
        directory_block_bits: u8,
        xattr_prefixes: u8,
        xattr_prefix_start: u32,
        packed_nid: u64,
        xattr_filter_reserved: u8,
        reserved: [u8; 23],
    }
}

disk_struct! {
    /// The short form of an inode. Its time of modification is the superblock's build time.
    CompactInode, 32 bytes {
        format: u16,
        xattr_count: u16,
        mode: u16,
        nlink: u16,
        size: u32,
        mtime_delta: u32,
        location: u32,
        number: u32,
        uid: u16,
        gid: u16,
        reserved: u32,
    }
}

disk_struct! {
    /// The long form of an inode.
    ExtendedInode, 64 bytes {
        format: u16,
        xattr_count: u16,
        mode: u16,
        reserved_1: u16,
        size: u64,
        location: u32,
        number: u32,
        uid: u32,
        gid: u32,
        mtime_seconds: u64,
        mtime_nanoseconds: u32,
        nlink: u32,
        reserved_2: [u8; 16],
    }
}

disk_struct! {
    /// The start of an inode's xattr area; shared references and local entries follow.
    XattrHeader, 12 bytes {
        name_filter: u32,
        shared_count: u8,
        reserved: [u8; 7],
    }
}

disk_struct! {
    /// The start of one xattr; the name without its prefix and the value follow.
    XattrEntry, 4 bytes {
        name_bytes: u8,
        name_index: u8,
        value_bytes: u16,
    }
}

disk_struct! {
    /// One name of a directory. The names follow the last entry of a block.
    Dirent, 12 bytes {
        nid: u64,
        name_offset: u16,
        file_type: u8,
        reserved: u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table under a heading of docs/format/pack.md.
    fn table(name: &str) -> Vec<(String, usize, usize)> {
        let page = include_str!("../../../../docs/format/pack.md");
        let (_, section) = page.split_once(&format!("### {name}\n")).unwrap();
        let rows = section
            .lines()
            .skip_while(|line| !line.starts_with("|--"))
            .skip(1);
        rows.take_while(|line| line.starts_with('|'))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                let number = |cell: &str| cell.parse::<usize>().unwrap();
                (
                    cells[3].trim_matches('`').to_owned(),
                    number(cells[1]),
                    number(cells[2]),
                )
            })
            .collect()
    }

    #[test]
    fn the_document_has_every_field() {
        for (name, fields) in [
            ("Superblock", Superblock::FIELDS),
            ("CompactInode", CompactInode::FIELDS),
            ("ExtendedInode", ExtendedInode::FIELDS),
            ("XattrHeader", XattrHeader::FIELDS),
            ("XattrEntry", XattrEntry::FIELDS),
            ("Dirent", Dirent::FIELDS),
        ] {
            let mut offset = 0;
            let expected: Vec<_> = fields
                .iter()
                .map(|(field, size)| {
                    offset += size;
                    ((*field).to_owned(), offset - size, *size)
                })
                .collect();
            assert_eq!(table(name), expected, "{name}");
        }
    }
}
