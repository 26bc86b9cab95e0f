// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of signatures, in which firmware and shim keep whom they trust (UEFI specification 2.10,
//! 32.4.1, `EFI_SIGNATURE_LIST`).
//!
//! Whoever holds the keys of a machine writes them, and firmware is not to be trusted to have them
//! in order: bytes from outside.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use sealroot_format::codec::Cursor;
use sealroot_format::limits::{MAX_EFI_KEYS, MAX_EFI_KEYS_BYTES};

/// Names a kind of signature, or whoever added one.
pub(super) type Guid = [u8; GUID_BYTES];

const GUID_BYTES: usize = 16;

/// Kind, and the lengths of the list, of its header and of each signature.
const HEAD_BYTES: usize = GUID_BYTES + 3 * 4;

/// `EFI_CERT_X509_GUID`: a certificate in DER.
pub(super) const X509: Guid = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";

/// `EFI_CERT_SHA256_GUID`: the digest of an image.
pub(super) const SHA256: Guid =
    *b"\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28";

/// Signatures of one kind and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List<'b> {
    /// The kind.
    pub(super) kind: Guid,
    /// What some kinds have in front.
    pub(super) header: &'b [u8],
    /// The length of each signature with its owner.
    pub(super) signature_bytes: u32,
    /// The signatures: whoever added it, and what it is.
    pub(super) signatures: Vec<(Guid, &'b [u8])>,
}

/// Why a variable is no sequence of lists: where, in bytes, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset_bytes}: expected {expected}, found {found}")]
pub(super) struct Malformed {
    offset_bytes: usize,
    expected: String,
    found: String,
}

/// Takes all lists of a variable apart, which follow on one another to its end.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<List<'_>>, Malformed> {
    if bytes.len() > MAX_EFI_KEYS_BYTES {
        let expected = format!("at most {MAX_EFI_KEYS_BYTES} bytes");
        return Err(malformed(0, expected, bytes.len()));
    }
    let mut rest = Cursor::new(bytes);
    let (mut lists, mut count) = (Vec::new(), 0_usize);
    while !rest.rest().is_empty() {
        let at = rest.offset_bytes();
        let list = list(&mut rest, at)?;
        count = count.saturating_add(list.signatures.len());
        // A list without a signature is long enough to be bounded by the bytes.
        if count > MAX_EFI_KEYS {
            return Err(malformed(at, format!("at most {MAX_EFI_KEYS} keys"), count));
        }
        lists.push(list);
    }
    Ok(lists)
}

fn list<'b>(rest: &mut Cursor<'b>, at: usize) -> Result<List<'b>, Malformed> {
    let left = rest.rest().len();
    let mut head = || -> Option<(Guid, u32, u32, u32)> {
        Some((rest.array()?, rest.u32()?, rest.u32()?, rest.u32()?))
    };
    let Some((kind, list_bytes, header_bytes, signature_bytes)) = head() else {
        return Err(malformed(at, format!("{HEAD_BYTES} bytes"), left));
    };
    let body = usize::try_from(list_bytes).ok();
    let body = body.and_then(|list_bytes| rest.take(list_bytes.checked_sub(HEAD_BYTES)?));
    let Some(body) = body else {
        let expected = format!("a list of {HEAD_BYTES} to {left} bytes");
        return Err(malformed(at, expected, list_bytes));
    };
    let mut body = Cursor::new(body);
    let header = usize::try_from(header_bytes).ok();
    let Some(header) = header.and_then(|header_bytes| body.take(header_bytes)) else {
        let expected = format!("a header of at most {} bytes", body.rest().len());
        return Err(malformed(at, expected, header_bytes));
    };
    let content = usize::try_from(signature_bytes).ok();
    let Some(content_bytes) = content.and_then(|bytes| bytes.checked_sub(GUID_BYTES)) else {
        let expected = format!("signatures of at least {GUID_BYTES} bytes");
        return Err(malformed(at, expected, signature_bytes));
    };
    let mut signatures = Vec::new();
    while !body.rest().is_empty() {
        let left = body.rest().len();
        let (Some(owner), Some(content)) = (body.array(), body.take(content_bytes)) else {
            let expected = format!("signatures of {signature_bytes} bytes to the end of the list");
            return Err(malformed(at, expected, left));
        };
        signatures.push((owner, content));
    }
    Ok(List {
        kind,
        header,
        signature_bytes,
        signatures,
    })
}

fn malformed(offset_bytes: usize, expected: String, found: impl std::fmt::Display) -> Malformed {
    Malformed {
        offset_bytes,
        expected,
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of one kind, of signatures of one length.
    fn encoded(kind: Guid, signatures: &[&[u8]]) -> Vec<u8> {
        let signature_bytes = GUID_BYTES + signatures.first().map_or(0, |content| content.len());
        let list_bytes = HEAD_BYTES + signature_bytes * signatures.len();
        let mut bytes = kind.to_vec();
        for number in [list_bytes, 0, signature_bytes] {
            bytes.extend(u32::try_from(number).expect("small").to_le_bytes());
        }
        for content in signatures {
            bytes.extend([7; GUID_BYTES]);
            bytes.extend_from_slice(content);
        }
        bytes
    }

    #[test]
    fn lists_follow_on_one_another() {
        assert_eq!(parse(&[]), Ok(Vec::new()));
        let bytes = [
            encoded(X509, &[b"certificate"]),
            encoded(SHA256, &[&[1; 32], &[2; 32]]),
            encoded(SHA256, &[]),
        ];
        let bytes = bytes.concat();
        let lists = parse(&bytes).expect("lists");
        let counts: Vec<_> = lists.iter().map(|list| list.signatures.len()).collect();
        assert_eq!(counts, [1, 2, 0]);
        assert_eq!(lists[0].signatures[0].1, b"certificate");
        assert_eq!(lists[1].signatures[1], ([7; 16], &[2; 32][..]));
    }

    #[test]
    fn what_does_not_add_up_is_refused_with_its_place() {
        let good = [encoded(X509, &[b"one"]), encoded(SHA256, &[&[1; 32]])].concat();
        for end in 1..good.len() {
            let whole = end == 28 + 16 + 3;
            assert_eq!(parse(&good[..end]).is_ok(), whole, "{end} bytes");
        }
        let second = 28 + 16 + 3;
        let with = |at: usize, number: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            parse(&bytes).expect_err("malformed").to_string()
        };
        for (at, number, words) in [
            (
                16,
                27,
                "byte 0: expected a list of 28 to 123 bytes, found 27",
            ),
            (16, u32::MAX, "found 4294967295"),
            (
                20,
                20,
                "byte 0: expected a header of at most 19 bytes, found 20",
            ),
            (
                24,
                15,
                "byte 0: expected signatures of at least 16 bytes, found 15",
            ),
            (24, 18, "byte 0: expected signatures of 18 bytes to the end"),
            (
                second + 24,
                u32::MAX,
                "byte 47: expected signatures of 4294967295",
            ),
        ] {
            let error = with(at, number);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn there_are_bounds() {
        let many = vec![&b""[..]; MAX_EFI_KEYS + 1];
        let error = parse(&encoded(X509, &many)).expect_err("too many");
        assert!(
            error.to_string().contains("at most 4096 keys, found 4097"),
            "{error}"
        );
        let error = parse(&vec![0; MAX_EFI_KEYS_BYTES + 1]).expect_err("too long");
        assert!(
            error.to_string().contains("at most 262144 bytes"),
            "{error}"
        );
    }
}
