// SPDX-License-Identifier: MIT OR Apache-2.0
//! Load options, the content of `Boot####` (UEFI specification 2.10, 3.1.3, `EFI_LOAD_OPTION`), and
//! lists of their numbers (`BootOrder`, `BootNext`).
//!
//! Firmware, other systems and whoever has root write them: bytes from outside.

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
use sealroot_format::limits::{MAX_LOAD_OPTION_BYTES, MAX_LOAD_OPTIONS};

use super::device_path::{self, Node};
use super::partition::Partition;

/// `LOAD_OPTION_ACTIVE`: it is tried where `BootOrder` names it.
const ACTIVE: u32 = 1;

/// `LOAD_OPTION_CATEGORY`: what is not 0 there is no system but a part of the firmware.
const CATEGORY: u32 = 0x1f00;

/// Attributes and the length of the paths.
const HEAD_BYTES: usize = 6;

/// Why a variable is not what it should be: where, in bytes, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset_bytes}: expected {expected}, found {found}")]
pub struct Malformed {
    offset_bytes: usize,
    expected: String,
    found: String,
}

pub(super) fn malformed(
    offset_bytes: usize,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> Malformed {
    Malformed {
        offset_bytes,
        expected: expected.into(),
        found: found.to_string(),
    }
}

/// What firmware may start, as it stands in a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadOption<'b> {
    /// `LOAD_OPTION_*`.
    pub(super) attributes: u32,
    /// For people: UTF-16 without the final zero.
    pub(super) description: Vec<[u8; 2]>,
    /// The first device path, without its end.
    pub(super) path: Vec<Node<'b>>,
    /// Whatever else is among the device paths.
    pub(super) further_paths: &'b [u8],
    /// What the program that is started gets to see: a stub takes it for a command line.
    pub(super) optional_data: &'b [u8],
}

impl<'b> LoadOption<'b> {
    /// Takes a variable's content apart.
    pub(super) fn parse(bytes: &'b [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_LOAD_OPTION_BYTES {
            let expected = format!("at most {MAX_LOAD_OPTION_BYTES} bytes");
            return Err(malformed(0, expected, bytes.len()));
        }
        let mut rest = Cursor::new(bytes);
        let (Some(attributes), Some(paths_bytes)) = (rest.u32(), rest.u16()) else {
            return Err(malformed(0, format!("{HEAD_BYTES} bytes"), bytes.len()));
        };
        let mut description = Vec::new();
        loop {
            match rest.array::<2>() {
                Some([0, 0]) => break,
                Some(unit) => description.push(unit),
                None => {
                    return Err(malformed(
                        HEAD_BYTES,
                        "a description that ends",
                        "its middle",
                    ));
                }
            }
        }
        let (at, left) = (rest.offset_bytes(), rest.rest().len());
        let Some(paths) = rest.take(paths_bytes.into()) else {
            let expected = format!("device paths of at most {left} bytes");
            return Err(malformed(at, expected, paths_bytes));
        };
        let (path, further_paths) = device_path::parse(paths)?;
        Ok(Self {
            attributes,
            description,
            path,
            further_paths,
            optional_data: rest.rest(),
        })
    }

    /// What people are shown.
    pub(super) fn title(&self) -> String {
        let units: Vec<u16> = (self.description.iter())
            .map(|unit| u16::from_le_bytes(*unit))
            .collect();
        String::from_utf16_lossy(&units)
    }

    /// Whether firmware starts it by itself where `BootOrder` names it.
    pub(super) const fn is_started(&self) -> bool {
        self.attributes & ACTIVE != 0 && self.attributes & CATEGORY == 0
    }
}

/// The content of a variable that starts a file on a partition, by its path with slashes.
///
/// Nothing is given to what is started: where nothing verifies it, systemd's stub would take that
/// for the kernel's command line.
pub(super) fn render(title: &str, partition: &Partition, path: &str) -> Vec<u8> {
    let paths = device_path::of_file(partition, path);
    let mut bytes = ACTIVE.to_le_bytes().to_vec();
    bytes.extend(u16::try_from(paths.len()).unwrap_or(u16::MAX).to_le_bytes());
    let title = title.encode_utf16().filter(|unit| *unit != 0).chain([0]);
    bytes.extend(title.flat_map(u16::to_le_bytes));
    bytes.extend(paths);
    bytes
}

/// Text in UTF-16 that ends with its only zero.
pub(super) fn text_of(units: &[[u8; 2]]) -> Option<String> {
    let (last, text) = units.split_last()?;
    if *last != [0, 0] || text.contains(&[0, 0]) {
        return None;
    }
    let units: Vec<u16> = text.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16(&units).ok()
}

/// Numbers of load options, as `BootOrder` and `BootNext` have them.
pub(super) fn parse_numbers(bytes: &[u8]) -> Result<Vec<u16>, Malformed> {
    let (numbers, rest) = bytes.as_chunks::<2>();
    if numbers.len() > MAX_LOAD_OPTIONS || !rest.is_empty() {
        let expected = format!("at most {MAX_LOAD_OPTIONS} numbers of two bytes");
        return Err(malformed(0, expected, format!("{} bytes", bytes.len())));
    }
    Ok(numbers
        .iter()
        .map(|number| u16::from_le_bytes(*number))
        .collect())
}

pub(super) fn render_numbers(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// The name of the variable with a load option.
pub(super) fn name_of(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// The number in such a name.
pub(super) fn number_in(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("Boot")?;
    let number = u16::from_str_radix(digits, 16).ok()?;
    (name_of(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: Partition = Partition {
        number: 3,
        first_block: 2048,
        blocks: 4096,
        guid: [9; 16],
    };

    fn error(bytes: &[u8]) -> String {
        LoadOption::parse(bytes).expect_err("malformed").to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = render("an OS \u{1f427}\0", &PARTITION, "/sealroot/x/uki.efi");
        let option = LoadOption::parse(&bytes).expect("a load option");
        assert_eq!(option.title(), "an OS \u{1f427}");
        assert!(option.is_started() && option.optional_data.is_empty());
        let file = device_path::file_on(&option.path, &PARTITION);
        assert_eq!(file.as_deref(), Some("/sealroot/x/uki.efi"));
        let mut other = PARTITION;
        other.guid[0] = 0;
        assert_eq!(device_path::file_on(&option.path, &other), None);
        let firmware = &option.path[1..];
        assert_eq!(device_path::file_on(firmware, &PARTITION), None);
    }

    #[test]
    fn what_is_no_load_option_is_refused_with_its_place() {
        let good = render("x", &PARTITION, "/a");
        for len in 0..good.len() {
            LoadOption::parse(&good[..len]).expect_err("cut off");
        }
        assert_eq!(error(b"12345"), "byte 0: expected 6 bytes, found 5");
        let long = vec![1; MAX_LOAD_OPTION_BYTES + 1];
        assert!(error(&long).starts_with("byte 0: expected at most 16384 bytes"));
        let mut endless = vec![1, 0, 0, 0, 0xff, 0x0f, 0, 0];
        endless.extend([4, 4, 4, 0].repeat(0x0fff / 4));
        endless.resize(8 + 0x0fff, 0);
        assert!(
            error(&endless).contains("at most 256 nodes"),
            "{}",
            error(&endless)
        );
        let with_node =
            |len_bytes: u8| [&[1, 0, 0, 0, 4, 0, 0, 0, 4, 4][..], &[len_bytes, 0]].concat();
        assert!(error(&with_node(3)).contains("a node of 4 to 4 bytes, found 3"));
        assert!(error(&with_node(5)).contains("a node of 4 to 4 bytes, found 5"));
    }

    #[test]
    fn numbers_have_one_name() {
        assert_eq!(name_of(0xab), "Boot00AB");
        assert_eq!(number_in("Boot00AB"), Some(0xab));
        for name in [
            "Boot00ab",
            "Boot0AB",
            "Boot+0AB",
            "BootOrder",
            "Boot",
            "Boot000AB",
        ] {
            assert_eq!(number_in(name), None, "{name}");
        }
        assert_eq!(parse_numbers(&[1, 0, 0xab, 0x20]), Ok(vec![1, 0x20ab]));
        parse_numbers(&[1]).expect_err("half a number");
        parse_numbers(&[0; 2 * MAX_LOAD_OPTIONS + 2]).expect_err("too many");
    }
}
