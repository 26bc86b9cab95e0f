// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types of one line or a few.

use crate::text::{self, Lines, excerpt};

/// Longest host name, bytes (`HOST_NAME_MAX` of Linux).
const MAX_HOSTNAME_BYTES: usize = 64;

/// Longest label of one (RFC 1123, 2.1 and RFC 1035, 2.3.4), bytes.
const MAX_LABEL_BYTES: usize = 63;

/// Longest name of a time zone, bytes. The longest there is has 32.
const MAX_ZONE_BYTES: usize = 64;

/// Longest number in the state of the clock, bytes.
const MAX_NUMBER_BYTES: usize = 20;

/// The next line as `read` takes it; `expected` says what that accepts.
pub(super) fn take<'a, T>(
    lines: &mut Lines<'a>,
    expected: &str,
    read: impl FnOnce(&'a str) -> Option<T>,
) -> Result<T, text::Error> {
    let line = lines.line(expected)?;
    read(line).ok_or_else(|| lines.error(expected, excerpt(line.as_bytes())))
}

/// kept.md A5.
pub(super) fn machine_id(lines: &mut Lines<'_>) -> Result<u128, text::Error> {
    take(lines, "32 lowercase hex digits, not all 0", |line| {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = line.len() == 32 && line.bytes().all(is_digit);
        let id = u128::from_str_radix(line, 16).ok().filter(|id| *id != 0);
        id.filter(|_| is_id)
    })
}

/// kept.md A6.
pub(super) fn hostname<'a>(lines: &mut Lines<'a>) -> Result<&'a str, text::Error> {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let expected =
        "a host name: at most 64 letters, digits and hyphens, in labels with dots between";
    take(lines, expected, |line| {
        let is_name = line.len() <= MAX_HOSTNAME_BYTES && line.split('.').all(is_label);
        is_name.then_some(line)
    })
}

/// kept.md A7.
pub(super) fn zone<'a>(lines: &mut Lines<'a>) -> Result<&'a str, text::Error> {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && (part.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    take(
        lines,
        "the name of a time zone, such as Europe/Paris",
        |line| {
            let is_name = line.len() <= MAX_ZONE_BYTES && line.split('/').all(is_part);
            is_name.then_some(line)
        },
    )
}

/// kept.md A9.
pub(super) fn check_clock(lines: &mut Lines<'_>) -> Result<(), text::Error> {
    take(lines, "three numbers: the drift of the clock", |line| {
        let mut numbers = line.split(' ');
        let is_line = numbers
            .by_ref()
            .take(3)
            .filter(|text| is_number(text))
            .count()
            == 3;
        (is_line && numbers.next().is_none()).then_some(())
    })?;
    take(lines, "a number: when the clock was calibrated", |line| {
        is_number(line).then_some(())
    })?;
    take(lines, "UTC or LOCAL", |line| {
        matches!(line, "UTC" | "LOCAL").then_some(())
    })
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    text.len() <= MAX_NUMBER_BYTES
        && match unsigned.split_once('.') {
            None => digits(unsigned),
            Some((whole, part)) => digits(whole) && digits(part),
        }
}
