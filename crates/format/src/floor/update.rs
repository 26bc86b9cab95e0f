// SPDX-License-Identifier: MIT OR Apache-2.0
//! What raises the floor in the firmware: the variable's new content, signed by the owner
//! (`EFI_VARIABLE_AUTHENTICATION_2` of the UEFI specification, 8.2.2).

use super::variable::{ATTRIBUTES, GUID, NAME};
use super::{Error, Floor, time};
use crate::limits;

/// `EFI_CERT_TYPE_PKCS7_GUID`, 4aafd29d-68df-49ee-8aa9-347d375665a7.
const PKCS7: [u8; 16] = [
    0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68, 0xee, 0x49, 0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7,
];

/// `WIN_CERT_TYPE_EFI_GUID`, and the only revision.
const CERTIFICATE_TYPE: u16 = 0x0ef1;
const REVISION: u16 = 0x0200;

/// Bytes of `WIN_CERTIFICATE_UEFI_GUID` before its data.
const HEADER_BYTES: usize = 24;

/// The bytes that the owner signs, for one floor.
pub fn message(floor: Floor) -> Vec<u8> {
    let mut bytes: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
    bytes.extend(GUID);
    bytes.extend(ATTRIBUTES.to_le_bytes());
    bytes.extend(time::of(floor));
    bytes.extend(floor.to_string().into_bytes());
    bytes
}

/// The update to a floor, whole: what the firmware is given to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The floor that it sets.
    pub floor: Floor,
    bytes: Vec<u8>,
}

impl Update {
    /// Puts an update together with a detached PKCS#7 signature of its [`message`] with SHA-256, in
    /// DER, with or without the `ContentInfo` around.
    pub fn new(floor: Floor, pkcs7: &[u8]) -> Result<Self, Error> {
        let signature = signed_data(pkcs7)?;
        let certificate_bytes = signature.len().saturating_add(HEADER_BYTES);
        let too_long = |_| Error::Bytes {
            what: "signature",
            expected: "at most 64 KiB",
            found: format!("{certificate_bytes} bytes"),
        };
        let certificate_bytes = u32::try_from(certificate_bytes).map_err(too_long)?;
        let mut bytes = time::of(floor).to_vec();
        bytes.extend(certificate_bytes.to_le_bytes());
        bytes.extend(REVISION.to_le_bytes());
        bytes.extend(CERTIFICATE_TYPE.to_le_bytes());
        bytes.extend(PKCS7);
        bytes.extend(signature);
        bytes.extend(floor.to_string().into_bytes());
        Self::parse(&bytes)
    }

    /// Reads an update. Its signature is left to the firmware, which alone knows the key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > limits::MAX_FLOOR_UPDATE_BYTES {
            return Err(wrong("at most 65536 bytes", bytes));
        }
        let floor = Self::content(bytes)
            .ok_or_else(|| wrong("an EFI_VARIABLE_AUTHENTICATION_2 with PKCS#7", bytes))?;
        let floor = Floor::parse(floor)?;
        if !bytes.starts_with(&time::of(floor)) {
            return Err(wrong("the time that belongs to its floor", bytes));
        }
        Ok(Self {
            floor,
            bytes: bytes.to_vec(),
        })
    }

    /// What follows time and certificate.
    fn content(bytes: &[u8]) -> Option<&[u8]> {
        let (_, certificate) = bytes.split_at_checked(time::TIME_BYTES)?;
        let (length, rest) = certificate.split_first_chunk()?;
        let certificate_bytes = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (guid, _) = rest.split_first_chunk::<16>()?;
        let is_ours = u16::from_le_bytes(*revision) == REVISION
            && u16::from_le_bytes(*kind) == CERTIFICATE_TYPE
            && *guid == PKCS7
            && certificate_bytes > HEADER_BYTES;
        is_ours.then(|| certificate.get(certificate_bytes..))?
    }

    /// The bytes for the firmware, behind the attributes in a write to efivarfs.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn wrong(expected: &'static str, found: &[u8]) -> Error {
    Error::Bytes {
        what: "update",
        expected,
        found: format!("{} bytes that are not", found.len()),
    }
}

/// The `SignedData` in a `ContentInfo` of that type, or what is none as it is: firmware is divided
/// over the frame, and all of it takes the bare form.
fn signed_data(der: &[u8]) -> Result<&[u8], Error> {
    /// The object identifier pkcs7-signedData, 1.2.840.113549.1.7.2.
    const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    const SEQUENCE: u8 = 0x30;
    const EXPLICIT_0: u8 = 0xa0;
    let refuse = || Error::Bytes {
        what: "signature",
        expected: "one PKCS#7 SignedData in DER",
        found: format!("{} bytes that are not", der.len()),
    };
    let content = element(der, SEQUENCE).ok_or_else(refuse)?;
    match content.strip_prefix(SIGNED_DATA) {
        None => Ok(der),
        Some(rest) => {
            let inner = element(rest, EXPLICIT_0).ok_or_else(refuse)?;
            element(inner, SEQUENCE).ok_or_else(refuse)?;
            Ok(inner)
        }
    }
}

/// The content of the one DER element with this tag that the bytes are.
fn element(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&found, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, content) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (length, content) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let add = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add((*byte).into());
            (length.iter().try_fold(0, add)?, content)
        }
        _ => return None,
    };
    (found == tag && content.len() == length).then_some(content)
}
