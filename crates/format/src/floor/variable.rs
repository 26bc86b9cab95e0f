// SPDX-License-Identifier: MIT OR Apache-2.0
//! The UEFI variable that holds a floor, as efivarfs shows it.

use super::{Error, Floor};

/// The name of the variable's file in efivarfs: its name, `-` and the vendor's GUID.
pub const FILE_NAME: &str = "SealrootFloor-99addf37-e3f9-424e-8c8c-34a422bae4ab";

pub(super) const NAME: &str = "SealrootFloor";

/// The GUID of [`FILE_NAME`] as UEFI lays one out: the first three groups little-endian.
pub(super) const GUID: [u8; 16] = [
    0x37, 0xdf, 0xad, 0x99, 0xf9, 0xe3, 0x4e, 0x42, 0x8c, 0x8c, 0x34, 0xa4, 0x22, 0xba, 0xe4, 0xab,
];

/// `EFI_VARIABLE_NON_VOLATILE`, `_BOOTSERVICE_ACCESS`, `_RUNTIME_ACCESS` and
/// `_TIME_BASED_AUTHENTICATED_WRITE_ACCESS`: kept without power, seen by the OS, and written only
/// with a newer signature by the key of the first writer.
pub const ATTRIBUTES: u32 = 0x01 | 0x02 | 0x04 | 0x20;

/// The floor in the bytes of the variable's file: four of attributes, then the text.
///
/// The attributes say whether the firmware guards the content; other ones mean that whoever could
/// write there has written.
pub fn parse(file: &[u8]) -> Result<Floor, Error> {
    let Some((attributes, text)) = file.split_first_chunk() else {
        return Err(Error::Bytes {
            what: "variable",
            expected: "four bytes of attributes and a text",
            found: format!("{} bytes", file.len()),
        });
    };
    let found = u32::from_le_bytes(*attributes);
    if found != ATTRIBUTES {
        return Err(Error::Attributes {
            expected: ATTRIBUTES,
            found,
        });
    }
    Floor::parse(text)
}
