// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot manager has: load options of ours and of others, and their order.

use std::collections::BTreeMap;
use std::io;

use sealroot_format::limits::MAX_LOAD_OPTIONS;

use super::load_option::{LoadOption, name_of, number_in, parse_numbers};
use super::{BootManager, BootManagerError, device_path};
use crate::store::again;

pub(super) const ORDER: &str = "BootOrder";
pub(super) const NEXT: &str = "BootNext";
const CURRENT: &str = "BootCurrent";

/// The directory whose files are ours, on the partition.
const OURS: &str = "/sealroot/";

/// A load option that starts a file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurOption {
    /// `####` of `Boot####`.
    pub number: u16,
    /// The file, by its path on the partition, with slashes.
    pub path: String,
    /// Whether firmware starts it where `BootOrder` names it.
    pub is_active: bool,
    /// Whether it gives something to what it starts, which systemd's stub may take for a command line.
    pub has_data: bool,
}

/// A load option of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// What people are shown.
    pub title: String,
    /// Whether firmware starts it by itself: it is active, and no part of the firmware.
    pub is_started: bool,
}

/// All that the boot manager has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Ours, by number.
    pub ours: Vec<OurOption>,
    /// Those of others by number. One that cannot be read is not started.
    pub strangers: BTreeMap<u16, Stranger>,
    /// The numbers that are tried one after another. Some may name nothing.
    pub order: Vec<u16>,
    /// The number that is tried before those, once.
    pub next: Option<u16>,
}

impl Options {
    /// The load option to start a file by: of several, an intact one, and of these one that is started
    /// already.
    pub fn of(&self, path: &str) -> Option<&OurOption> {
        let place = |option: &&OurOption| {
            let at = self
                .order
                .iter()
                .position(|number| *number == option.number);
            (!option.is_intact(), at.unwrap_or(usize::MAX), option.number)
        };
        let with_path = self.ours.iter().filter(|option| option.is_of(path));
        with_path.min_by_key(place)
    }

    /// Whether a number stands anywhere.
    pub(super) fn is_taken(&self, number: u16) -> bool {
        self.strangers.contains_key(&number)
            || self.ours.iter().any(|option| option.number == number)
            || self.order.contains(&number)
            || self.next == Some(number)
    }
}

impl Stranger {
    fn unreadable() -> Self {
        Self {
            title: "a boot option that cannot be read".to_owned(),
            is_started: false,
        }
    }
}

impl OurOption {
    /// Whether it starts its image as it should.
    pub const fn is_intact(&self) -> bool {
        self.is_active && !self.has_data
    }

    /// Whether it starts that file; FAT does not tell letters from capitals.
    pub fn is_of(&self, path: &str) -> bool {
        self.path.eq_ignore_ascii_case(path)
    }
}

impl BootManager {
    /// Reads what there is.
    pub fn options(&self) -> Result<Options, BootManagerError> {
        let names = again(|| self.variables.names()).map_err(failed("list", "Boot####"))?;
        let mut numbers: Vec<u16> = names.iter().filter_map(|name| number_in(name)).collect();
        numbers.sort_unstable();
        if numbers.len() > MAX_LOAD_OPTIONS {
            return Err(BootManagerError::TooMany {
                found: numbers.len(),
                max: MAX_LOAD_OPTIONS,
            });
        }
        let mut found = Options {
            order: self.numbers(ORDER)?,
            next: self.numbers(NEXT)?.first().copied(),
            ..Options::default()
        };
        for number in numbers {
            match self.read(&name_of(number)) {
                Ok(Some(bytes)) => self.sort(number, &bytes, &mut found),
                Ok(None) => {}
                Err(error) if error.is_too_large() => {
                    found.strangers.insert(number, Stranger::unreadable());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Whether what runs was started by a load option of ours.
    pub fn runs_ours(&self) -> Result<bool, BootManagerError> {
        let current = self.numbers(CURRENT)?.first().copied();
        let ours = self.options()?.ours;
        Ok(ours.iter().any(|option| Some(option.number) == current))
    }

    /// Whose a load option is.
    fn sort(&self, number: u16, bytes: &[u8], found: &mut Options) {
        let Ok(option) = LoadOption::parse(bytes) else {
            found.strangers.insert(number, Stranger::unreadable());
            return;
        };
        let path = device_path::file_on(&option.path, &self.partition);
        match path.filter(|path| starts_with(path, OURS)) {
            Some(path) => found.ours.push(OurOption {
                number,
                is_active: option.is_started(),
                has_data: !option.optional_data.is_empty(),
                path,
            }),
            None => {
                found.strangers.insert(
                    number,
                    Stranger {
                        title: option.title(),
                        is_started: option.is_started(),
                    },
                );
            }
        }
    }

    fn numbers(&self, name: &str) -> Result<Vec<u16>, BootManagerError> {
        let bytes = self.read(name)?.unwrap_or_default();
        parse_numbers(&bytes).map_err(|source| BootManagerError::Malformed {
            name: name.to_owned(),
            source,
        })
    }

    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, BootManagerError> {
        again(|| self.variables.read(name)).map_err(failed("read", name))
    }
}

fn starts_with(path: &str, directory: &str) -> bool {
    let start = path.get(..directory.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(directory))
}

/// Gives an [`io::Error`] its context.
pub(super) fn failed(
    operation: &'static str,
    name: &str,
) -> impl FnOnce(io::Error) -> BootManagerError {
    let name = name.to_owned();
    move |source| BootManagerError::Variable {
        operation,
        name,
        source,
    }
}
