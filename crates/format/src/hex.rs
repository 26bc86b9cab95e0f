// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lowercase hexadecimal, the only spelling our formats accept.

use std::fmt;

use crate::digest::DIGEST_BYTES;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes `bytes` as lowercase hex.
pub fn write(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    // In pieces as long as a digest: to write each digit for itself takes many times as long.
    let mut piece = [0; 2 * DIGEST_BYTES];
    for bytes in bytes.chunks(DIGEST_BYTES) {
        let digits = &mut piece[..2 * bytes.len()];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [byte >> 4, byte & 15].map(|nibble| DIGITS[usize::from(nibble)]);
        }
        out.write_str(str::from_utf8(digits).expect("digits are ASCII"))?;
    }
    Ok(())
}

/// `bytes` as a lowercase hex string.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    write(&mut text, bytes).expect("writing to a String cannot fail");
    text
}

/// Exactly `N` bytes from exactly `2 * N` lowercase hex digits; `None` for anything else.
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lowercase_of_the_right_length_decodes() {
        assert_eq!(decode::<2>(b"0aff"), Some([0x0a, 0xff]));
        for bad in ["0aFF", "0af", "0aff0", "0aff00", "0ag0", ""] {
            assert_eq!(decode::<2>(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(encode(&[0x0a, 0xff]), "0aff");
    }

    #[test]
    fn any_length_is_written() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in [0, 1, 31, 32, 33, 64, 256] {
            let digits: Vec<_> = bytes[..len].iter().map(|b| format!("{b:02x}")).collect();
            let expected = digits.concat();
            assert_eq!(encode(&bytes[..len]), expected, "{len} bytes");
        }
    }
}
