// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes in both forms.

use super::layout::{BLOCK_BITS, CHUNK_BITS_MAX, CompactInode, ExtendedInode};
use crate::tree::{DeviceNumber, Timestamp};

/// Where an inode's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// In blocks of its own, or nowhere if there is none.
    Plain,
    /// Full blocks of its own, and the rest behind the inode.
    Inline,
    /// Behind a map of chunks; ours are all holes.
    Chunked,
}

impl DataLayout {
    const fn code(self) -> u16 {
        match self {
            Self::Plain => 0,
            Self::Inline => 2,
            Self::Chunked => 4,
        }
    }
}

/// An inode's fields, whichever form they are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InodeFields {
    pub(crate) layout: DataLayout,
    /// What the inode says of its xattr area: see [`super::xattr::area_count`].
    pub(crate) xattr_count: u16,
    /// The full `st_mode`.
    pub(crate) mode: u16,
    pub(crate) nlink: u32,
    pub(crate) size_bytes: u64,
    /// Block address, device number or chunk format.
    pub(crate) location: u32,
    /// The position in the order of inodes.
    pub(crate) number: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
}

impl InodeFields {
    /// Whether the compact form can hold what it says, given the superblock's build time.
    pub(crate) fn fits_compact(&self, build_time: Timestamp) -> bool {
        self.mtime == build_time
            && u16::try_from(self.nlink).is_ok()
            && u16::try_from(self.uid).is_ok()
            && u16::try_from(self.gid).is_ok()
            && u32::try_from(self.size_bytes).is_ok()
    }

    /// Appends the inode, compact wherever it fits.
    pub(crate) fn encode(&self, build_time: Timestamp, out: &mut Vec<u8>) {
        match self.compact(build_time) {
            Some(compact) => compact.encode(out),
            None => self.extended().encode(out),
        }
    }

    fn compact(&self, build_time: Timestamp) -> Option<CompactInode> {
        if self.mtime != build_time {
            return None;
        }
        Some(CompactInode {
            format: self.layout.code() << 1,
            xattr_count: self.xattr_count,
            mode: self.mode,
            nlink: self.nlink.try_into().ok()?,
            size: self.size_bytes.try_into().ok()?,
            mtime_delta: 0,
            location: self.location,
            number: self.number,
            uid: self.uid.try_into().ok()?,
            gid: self.gid.try_into().ok()?,
            reserved: 0,
        })
    }

    fn extended(&self) -> ExtendedInode {
        ExtendedInode {
            format: self.layout.code() << 1 | 1,
            xattr_count: self.xattr_count,
            mode: self.mode,
            size: self.size_bytes,
            location: self.location,
            number: self.number,
            uid: self.uid,
            gid: self.gid,
            mtime_seconds: self.mtime.seconds.cast_unsigned(),
            mtime_nanoseconds: self.mtime.nanoseconds,
            nlink: self.nlink,
            ..ExtendedInode::default()
        }
    }
}

/// A device number as inodes store it.
pub(crate) const fn encode_device(device: DeviceNumber) -> u32 {
    device.minor & 0xff | device.major << 8 | (device.minor & !0xff) << 12
}

/// The device number of [`encode_device`].
pub(crate) const fn decode_device(location: u32) -> DeviceNumber {
    DeviceNumber {
        major: location >> 8 & 0xfff,
        minor: location & 0xff | location >> 12 & 0xf_ff00,
    }
}

/// How a file that is one hole is divided: the inode's chunk format (size of a chunk as a power
/// of two, counted from the block) and the number of chunks. `size_bytes` is not 0.
pub(crate) fn chunks(size_bytes: u64) -> (u32, u64) {
    let bits = u64::BITS - (size_bytes - 1).leading_zeros();
    let bits = bits.clamp(u32::from(BLOCK_BITS), CHUNK_BITS_MAX);
    (bits - u32::from(BLOCK_BITS), size_bytes.div_ceil(1 << bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_one_chunk_up_to_8_tib() {
        assert_eq!(chunks(1), (0, 1));
        assert_eq!(chunks(4096), (0, 1));
        assert_eq!(chunks(4097), (1, 1));
        assert_eq!(chunks(1 << 33), (21, 1));
        assert_eq!(chunks(1 << 43), (31, 1));
        assert_eq!(chunks((1 << 43) + 1), (31, 2));
        assert_eq!(chunks(1 << 53), (31, 1024));
    }

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(0, 0), (8, 1), (0xfff, 0xf_ffff), (259, 0x100), (1, 0xff)] {
            let device = DeviceNumber { major, minor };
            assert_eq!(decode_device(encode_device(device)), device);
        }
    }
}
