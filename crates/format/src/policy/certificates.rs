// SPDX-License-Identifier: MIT OR Apache-2.0
//! The certificates that the boot program puts into the kernel's keyring for fs-verity
//! (`docs/format/policy.md`, section 6). What is in one is the kernel's to judge.

use crate::codec::Cursor;
use crate::limits::{MAX_VERITY_CERTIFICATES, MAX_VERITY_CERTIFICATES_BYTES};

/// Where they are inside the initramfs, if there are any.
pub const VERITY_CERTIFICATES_PATH: &str = "etc/sealroot/verity-certificates";

/// The tag of a SEQUENCE of DER, which a certificate is.
const SEQUENCE: u8 = 0x30;

/// What is no row of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificatesError {
    /// It is too long.
    #[error("it has {found_bytes} bytes, expected 1 to {MAX_VERITY_CERTIFICATES_BYTES}")]
    Length {
        /// How many there are.
        found_bytes: usize,
    },
    /// There are too many.
    #[error("it has more than {MAX_VERITY_CERTIFICATES} certificates")]
    TooMany,
    /// Something else is between them.
    #[error("at byte {offset_bytes}: expected a certificate in DER, found something else")]
    NotDer {
        /// Where.
        offset_bytes: usize,
    },
}

/// The certificates in a file of them, each in DER, one after another.
pub fn split_certificates(bytes: &[u8]) -> Result<Vec<&[u8]>, CertificatesError> {
    if !(1..=MAX_VERITY_CERTIFICATES_BYTES).contains(&bytes.len()) {
        let found_bytes = bytes.len();
        return Err(CertificatesError::Length { found_bytes });
    }
    let mut certificates = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if certificates.len() >= MAX_VERITY_CERTIFICATES {
            return Err(CertificatesError::TooMany);
        }
        let taken = der_length(rest).and_then(|length| rest.split_at_checked(length));
        let Some((certificate, behind)) = taken else {
            let offset_bytes = bytes.len().saturating_sub(rest.len());
            return Err(CertificatesError::NotDer { offset_bytes });
        };
        certificates.push(certificate);
        rest = behind;
    }
    Ok(certificates)
}

/// The length of the SEQUENCE that `bytes` begin with, its tag and length included.
fn der_length(bytes: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(bytes);
    let [tag, first] = cursor.array()?;
    let (header, content) = match first {
        0..=0x7f => (2_usize, usize::from(first)),
        0x81 => (3, usize::from(cursor.array::<1>()?[0])),
        0x82 => (4, usize::from(u16::from_be_bytes(cursor.array()?))),
        _ => return None,
    };
    // DER has one form for each length.
    let least = [0, 0, 0, 0x80, 0x100].get(header).copied()?;
    (tag == SEQUENCE && content >= least).then(|| header.saturating_add(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SEQUENCE with so many bytes in it.
    fn sequence(content: u16) -> Vec<u8> {
        let [high, low] = content.to_be_bytes();
        let mut bytes = match content {
            0..0x80 => vec![SEQUENCE, low],
            0x80..0x100 => vec![SEQUENCE, 0x81, low],
            _ => vec![SEQUENCE, 0x82, high, low],
        };
        bytes.resize(bytes.len() + usize::from(content), 7);
        bytes
    }

    // Rules: P19
    #[test]
    fn certificates_stand_one_after_another() {
        let parts = [0, 0x7f, 0x80, 0xff, 0x100, 0x1234].map(sequence);
        let all = parts.concat();
        let found = split_certificates(&all).expect("certificates");
        assert_eq!(found, parts);
    }

    // Rules: P19
    #[test]
    fn what_is_no_row_of_certificates_is_refused() {
        let not_der = |offset_bytes| Err(CertificatesError::NotDer { offset_bytes });
        let one = sequence(300);
        let cut = &one[..one.len() - 1];
        assert_eq!(split_certificates(cut), not_der(0));
        let more = [&one, b"\n".as_slice()].concat();
        assert_eq!(split_certificates(&more), not_der(one.len()));
        for wrong in [&b"-----BEGIN"[..], &[0x31, 0], &[0x30, 0x80, 0, 0], &[0x30]] {
            assert_eq!(split_certificates(wrong), not_der(0), "{wrong:?}");
        }
        // Longer forms of a length than need be.
        assert_eq!(split_certificates(&[0x30, 0x81, 1, 0]), not_der(0));
        assert_eq!(split_certificates(&[0x30, 0x82, 0, 1, 0]), not_der(0));
        let many = vec![sequence(1); MAX_VERITY_CERTIFICATES + 1].concat();
        assert_eq!(split_certificates(&many), Err(CertificatesError::TooMany));
        for found_bytes in [0, MAX_VERITY_CERTIFICATES_BYTES + 1] {
            let bytes = vec![SEQUENCE; found_bytes];
            let refused = Err(CertificatesError::Length { found_bytes });
            assert_eq!(split_certificates(&bytes), refused);
        }
    }
}
