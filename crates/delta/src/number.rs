// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of variable length: seven bits a byte, the lowest first, the highest bit set in all but
//! the last byte. Each number has one encoding.

use sealroot_format::codec::Cursor;

/// The longest encoding.
const MAX_BYTES: usize = 10;

/// Appends a number.
pub fn push(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// The next number; `None` if the bytes end, or it has another encoding than [`push`] makes.
pub fn take(cursor: &mut Cursor<'_>) -> Option<u64> {
    let mut number = 0;
    for index in 0..MAX_BYTES {
        let byte = cursor.u8()?;
        let bits = u64::from(byte & 0x7f);
        let shift = u32::try_from(index).ok()? * 7;
        if index == MAX_BYTES - 1 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            let is_shortest = bits != 0 || index == 0;
            return is_shortest.then_some(number);
        }
    }
    None
}

/// A signed number among the others: small ones, of either sign, stay short.
pub const fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The inverse of [`fold`].
pub const fn unfold(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let powers = (0..64).map(|bit| 1_u64 << bit);
        for number in powers
            .flat_map(|power| [power - 1, power])
            .chain([u64::MAX])
        {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(take(&mut cursor), Some(number));
            assert!(cursor.rest().is_empty());
            assert_eq!(fold(unfold(number)), number);
            for len in 0..bytes.len() {
                assert_eq!(take(&mut Cursor::new(&bytes[..len])), None, "{number} cut");
            }
        }
        assert_eq!([0, -1, 1, -2].map(fold), [0, 1, 2, 3]);
    }

    #[test]
    fn other_encodings_are_none() {
        for bytes in [&[0x80, 0][..], &[0xff; 9], &[0xff; 11], &[0x81, 0x80, 0]] {
            assert_eq!(take(&mut Cursor::new(bytes)), None, "{bytes:x?}");
        }
        let too_large = [[0xff; 9].as_slice(), &[2]].concat();
        assert_eq!(take(&mut Cursor::new(&too_large)), None);
    }
}
