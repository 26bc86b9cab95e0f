// SPDX-License-Identifier: MIT OR Apache-2.0
//! Little-endian numbers at places of a byte string.

/// The bytes at a place, if there are so many.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    let end = at.checked_add(N)?;
    bytes.get(at..end)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

/// Puts other bytes at a place, if it is there.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) {
    let end = at.saturating_add(N);
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(&new);
    }
}
