// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys by which an SSH server is known.

use super::{NOT_SHOWN, line};
use crate::text::{self, Lines};

pub(super) const RSA: &[&str] = &["ssh-rsa"];
pub(super) const ED25519: &[&str] = &["ssh-ed25519"];
pub(super) const ECDSA: &[&str] = &[
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
];

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// The text `openssh-key-v1` and a NUL in base64: every key of the format begins so.
const MAGIC: &str = "b3BlbnNzaC1rZXktdjEA";

/// Longest line of base64 between the two others, bytes.
const MAX_LINE_BYTES: usize = 76;

/// kept.md A11.
pub(super) fn check_public(lines: &mut Lines<'_>, types: &[&str]) -> Result<(), text::Error> {
    let expected = "a public key: its type, base64, and perhaps a comment";
    line::take(lines, expected, |line| {
        let (kind, rest) = line.split_once(' ')?;
        let key = rest.split(' ').next()?;
        let is_key = types.contains(&kind) && !key.is_empty() && is_base64(key);
        is_key.then_some(())
    })
}

/// kept.md A12. Nothing of it is shown.
pub(super) fn check_private(lines: &mut Lines<'_>) -> Result<(), text::Error> {
    if lines.line(BEGIN)? != BEGIN {
        return Err(lines.error(BEGIN, NOT_SHOWN.to_owned()));
    }
    let mut is_first = true;
    loop {
        let expected = "a line of base64, or the end of a key";
        let line = lines.line(expected)?;
        if line == END && !is_first {
            return Ok(());
        }
        let is_line = (1..=MAX_LINE_BYTES).contains(&line.len()) && is_base64(line);
        if !is_line || (is_first && !line.starts_with(MAGIC)) {
            return Err(lines.error(expected, NOT_SHOWN.to_owned()));
        }
        is_first = false;
    }
}

fn is_base64(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let digits = text
        .strip_suffix("==")
        .or(text.strip_suffix('='))
        .unwrap_or(text);
    digits.bytes().all(is_digit)
}
