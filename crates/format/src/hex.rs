// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lowercase hexadecimal, the only spelling our formats accept.

use std::fmt;

/// Writes `bytes` as lowercase hex.
pub fn write(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
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
}
