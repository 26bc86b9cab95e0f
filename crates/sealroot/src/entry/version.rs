// SPDX-License-Identifier: MIT OR Apache-2.0
//! How boot loaders compare versions and names.
//!
//! Three orders that differ in what is not a letter or digit, and in whether a number stands
//! before or behind letters. Each answers which is newer; loaders put the newest first.

use std::cmp::Ordering;

/// The order of the UAPI Version Format Specification, which systemd-boot uses for versions and
/// names.
pub(super) fn uapi(left: &[u8], right: &[u8]) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        a = skip(a, |byte| !is_uapi(byte));
        b = skip(b, |byte| !is_uapi(byte));
        // `~` is older than everything, the end included.
        if let Some(order) = separator(&mut a, &mut b, b'~', Ordering::Less) {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        for byte in *b"-^" {
            if let Some(order) = separator(&mut a, &mut b, byte, Ordering::Less) {
                return order;
            }
        }
        if let Some(order) = separator(&mut a, &mut b, b'.', Ordering::Less) {
            return order;
        }
        if starts_with_digit(a) || starts_with_digit(b) {
            let (left_digits, left_rest) = split(a, |byte| byte.is_ascii_digit());
            let (right_digits, right_rest) = split(b, |byte| byte.is_ascii_digit());
            // A number is newer than letters.
            let order = right_digits
                .is_empty()
                .cmp(&left_digits.is_empty())
                .then_with(|| numbers(left_digits, right_digits));
            if order.is_ne() {
                return order;
            }
            (a, b) = (left_rest, right_rest);
        } else {
            let (left_letters, left_rest) = split(a, |byte| byte.is_ascii_alphabetic());
            let (right_letters, right_rest) = split(b, |byte| byte.is_ascii_alphabetic());
            let order = left_letters.cmp(right_letters);
            if order.is_ne() {
                return order;
            }
            (a, b) = (left_rest, right_rest);
        }
    }
}

fn is_uapi(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"~-^.".contains(&byte)
}

/// Steps over a separator that both have; the order if only one has it.
fn separator(a: &mut &[u8], b: &mut &[u8], byte: u8, alone: Ordering) -> Option<Ordering> {
    match (a.strip_prefix(&[byte]), b.strip_prefix(&[byte])) {
        (None, None) => None,
        (Some(_), None) => Some(alone),
        (None, Some(_)) => Some(alone.reverse()),
        (Some(left), Some(right)) => {
            (*a, *b) = (left, right);
            None
        }
    }
}

/// The order of file names in Fedora's GRUB: a name is taken apart as that of an RPM package and
/// its parts compared as RPM does.
pub(super) fn rpm_name(left: &[u8], right: &[u8]) -> Ordering {
    let (left, right) = (package_parts(left), package_parts(right));
    let pairs = left.iter().zip(&right);
    pairs.fold(Ordering::Equal, |order, (a, b)| {
        order.then_with(|| rpm(a, b))
    })
}

/// Name, version and release.
fn package_parts(name: &[u8]) -> [&[u8]; 3] {
    let split_last = |text: &[u8]| text.iter().rposition(|&byte| byte == b'-');
    let Some(at) = split_last(name) else {
        return [name, b"", b""];
    };
    let (rest, release) = (&name[..at], &name[at + 1..]);
    match split_last(rest) {
        Some(at) => [&rest[..at], &rest[at + 1..], release],
        None => [rest, release, b""],
    }
}

fn rpm(left: &[u8], right: &[u8]) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    let is_separator = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'~';
    let (mut a, mut b) = (left, right);
    while !a.is_empty() || !b.is_empty() {
        a = skip(a, is_separator);
        b = skip(b, is_separator);
        let before = a.len();
        if let Some(order) = separator(&mut a, &mut b, b'~', Ordering::Less) {
            return order;
        }
        if a.len() != before {
            continue;
        }
        if a.is_empty() || b.is_empty() {
            break;
        }
        let is_number = starts_with_digit(a);
        let of_kind = |byte: u8| {
            if is_number {
                byte.is_ascii_digit()
            } else {
                byte.is_ascii_alphabetic()
            }
        };
        let (left_part, left_rest) = split(a, of_kind);
        let (right_part, right_rest) = split(b, of_kind);
        if right_part.is_empty() {
            return if is_number {
                Ordering::Greater
            } else {
                Ordering::Less
            };
        }
        let order = if is_number {
            numbers(left_part, right_part)
        } else {
            left_part.cmp(right_part)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (left_rest, right_rest);
    }
    a.len().min(1).cmp(&b.len().min(1))
}

/// The order of file names in GRUB 2.14: that of `filevercmp`, as `ls -v` has it.
pub(super) fn file_name(left: &[u8], right: &[u8]) -> Ordering {
    let stem = |name: &[u8]| name.len() - file_suffix_bytes(name);
    let (left_stem, right_stem) = (&left[..stem(left)], &right[..stem(right)]);
    debian(left_stem, right_stem)
        .then_with(|| debian(left, right))
        .then_with(|| left.cmp(right))
}

/// The length of `(\.[A-Za-z~][A-Za-z0-9~]*)*` at the end of a name.
fn file_suffix_bytes(name: &[u8]) -> usize {
    let mut end = name.len();
    while let Some(dot) = name[..end].iter().rposition(|&byte| byte == b'.') {
        let part = &name[dot + 1..end];
        let starts = part
            .first()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'~');
        if !starts
            || !part
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'~')
        {
            break;
        }
        end = dot;
    }
    name.len() - end
}

fn debian(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        None => -1,
        Some(b'~') => -2,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let is_text = |text: &[u8]| text.first().is_some_and(|byte| !byte.is_ascii_digit());
    let (mut a, mut b) = (left, right);
    while !a.is_empty() || !b.is_empty() {
        while is_text(a) || is_text(b) {
            let order = weight(a.first()).cmp(&weight(b.first()));
            if order.is_ne() {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (left_digits, left_rest) = split(a, |byte| byte.is_ascii_digit());
        let (right_digits, right_rest) = split(b, |byte| byte.is_ascii_digit());
        let order = numbers(left_digits, right_digits);
        if order.is_ne() {
            return order;
        }
        (a, b) = (left_rest, right_rest);
    }
    Ordering::Equal
}

/// Compares numbers of any length.
fn numbers(left: &[u8], right: &[u8]) -> Ordering {
    let (left, right) = (
        skip(left, |byte| byte == b'0'),
        skip(right, |byte| byte == b'0'),
    );
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

fn starts_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

fn skip(text: &[u8], is_skipped: impl Fn(u8) -> bool) -> &[u8] {
    split(text, is_skipped).1
}

fn split(text: &[u8], is_in: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !is_in(byte));
    text.split_at(end.unwrap_or(text.len()))
}
