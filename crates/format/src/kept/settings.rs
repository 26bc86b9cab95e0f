// SPDX-License-Identifier: MIT OR Apache-2.0
//! Assignments to variables of a fixed list.

use super::line;
use crate::text::{self, Lines};

/// What `locale.conf` may set.
pub(super) const LOCALE: &[&str] = &[
    "LANG",
    "LANGUAGE",
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LC_MESSAGES",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
];

/// What `vconsole.conf` may set.
pub(super) const CONSOLE: &[&str] = &[
    "KEYMAP",
    "KEYMAP_TOGGLE",
    "FONT",
    "FONT_MAP",
    "FONT_UNIMAP",
    "XKBLAYOUT",
    "XKBMODEL",
    "XKBVARIANT",
    "XKBOPTIONS",
];

/// Longest value, bytes.
const MAX_VALUE_BYTES: usize = 128;

/// kept.md A8.
pub(super) fn check(
    lines: &mut Lines<'_>,
    keys: &'static [&'static str],
) -> Result<(), text::Error> {
    let expected = "a variable of the list, once, = and letters, digits and ._@:,+-";
    // A bit for each variable that was set.
    let mut seen = 0_u32;
    loop {
        line::take(lines, expected, |line| {
            let (key, value) = line.split_once('=')?;
            let bit = 1_u32.checked_shl(
                keys.iter()
                    .position(|known| *known == key)?
                    .try_into()
                    .ok()?,
            )?;
            let is_new = seen & bit == 0;
            seen |= bit;
            (is_new && is_value(value)).then_some(())
        })?;
        if lines.is_at_end() {
            return Ok(());
        }
    }
}

/// No `/`, so that it names no file of another place; nothing in front that makes an option of it.
fn is_value(text: &str) -> bool {
    text.len() <= MAX_VALUE_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"._@:,+-".contains(&byte))
}
