// SPDX-License-Identifier: MIT OR Apache-2.0
//! Passwords of users that the release has.
//!
//! A kept line replaces the one that the release has for the same user, and no other: so there are
//! no users but the release's, and none of them gets another number, shell or home.

use std::collections::HashSet;
use std::fmt;

use super::NOT_SHOWN;
use crate::{
    limits,
    text::{self, Lines},
};

/// Where passwords are.
pub const SHADOW: &str = "/etc/shadow";

/// Fields of a line: name, hash, six dates or numbers of days, and one that nobody uses.
const FIELDS: usize = 9;

/// Longest name of a user, bytes (as useradd has it).
const MAX_USER_BYTES: usize = 32;

/// Fewest and most bytes of a hash with its method and salt.
const HASH_BYTES: std::ops::RangeInclusive<usize> = 40..=256;

/// The methods that are allowed: yescrypt, SHA-512, SHA-256, bcrypt.
const METHODS: [&str; 4] = ["$y$", "$6$", "$5$", "$2b$"];

/// Most digits of a day or a number of days.
const MAX_DAY_DIGITS: usize = 7;

/// What stands in place of the shell of users who cannot log in.
const NO_SHELLS: [&str; 2] = ["nologin", "false"];

/// Kept lines of `/etc/shadow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow<'a>(&'a [u8]);

/// The release's `shadow` with what was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The file.
    pub bytes: Vec<u8>,
    /// Kept lines of users that the release does not have, or who cannot log in.
    pub ignored: usize,
}

impl<'a> Shadow<'a> {
    /// kept.md A13.
    pub(super) fn read(lines: &mut Lines<'a>, bytes: &'a [u8]) -> Result<Self, text::Error> {
        let mut users = Vec::new();
        loop {
            let line = lines.line(EXPECTED)?;
            match user_of(line) {
                Some(user) if !users.contains(&user) => users.push(user),
                _ => return Err(lines.error(EXPECTED, NOT_SHOWN.to_owned())),
            }
            if lines.is_at_end() {
                return Ok(Self(bytes));
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
    }

    /// kept.md A14: puts the kept lines in place of the release's for the same users, of those who
    /// can log in by the release's `passwd`.
    pub fn merge(&self, release: &[u8], passwd: &[u8]) -> Merged {
        let has_line = |name| lines_of(release).any(|line| name_of(line) == name);
        let used: Vec<_> = (self.lines())
            .filter(|line| can_log_in(passwd, name_of(line)) && has_line(name_of(line)))
            .collect();
        let mut bytes = Vec::with_capacity(release.len().saturating_add(self.0.len()));
        for line in lines_of(release) {
            let kept = used.iter().find(|kept| name_of(kept) == name_of(line));
            bytes.extend_from_slice(kept.unwrap_or(&line));
            bytes.push(b'\n');
        }
        Merged {
            bytes,
            ignored: self.lines().count().saturating_sub(used.len()),
        }
    }
}

impl fmt::Display for Shadow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0.utf8_chunks()).try_for_each(|chunk| f.write_str(chunk.valid()))
    }
}

/// The lines of a whole `shadow` that may be kept: those of users who can log in. Where a user
/// stands twice it is the first line, which is the one that logins go by. An error names the first
/// of them that is not what a kept one must be.
pub fn select_shadow(shadow: &[u8], passwd: &[u8]) -> Result<Vec<u8>, text::Error> {
    let mut kept = Vec::new();
    let mut users = HashSet::new();
    for (before, line) in lines_of(shadow).enumerate() {
        if !can_log_in(passwd, name_of(line)) || !users.insert(name_of(line)) {
            continue;
        }
        if str::from_utf8(line).ok().and_then(user_of).is_none() {
            return Err(text::Error::Line {
                what: SHADOW,
                line: before.saturating_add(1),
                expected: EXPECTED.to_owned(),
                found: NOT_SHOWN.to_owned(),
            });
        }
        kept.extend_from_slice(line);
        kept.push(b'\n');
    }
    if kept.is_empty() || kept.len() > limits::MAX_KEPT_FILE_BYTES {
        return Err(text::Error::Line {
            what: SHADOW,
            line: 1,
            expected: "some users who can log in, not hundreds".to_owned(),
            found: format!("{} bytes of their lines", kept.len()),
        });
    }
    Ok(kept)
}

const EXPECTED: &str = "a user once, a hash of $y$, $6$, $5$ or $2b$ or a lock, numbers of days or \
                        nothing, 9 fields";

/// The lines of a file, of which the last may lack its end.
fn lines_of(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let file = file.strip_suffix(b"\n").unwrap_or(file);
    file.split(|byte| *byte == b'\n')
}

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// The user of a line, if the line may be kept.
fn user_of(line: &str) -> Option<&str> {
    let mut fields = line.split(':');
    let (user, hash) = (fields.next()?, fields.next()?);
    let days = fields.clone().take(FIELDS.saturating_sub(3)).all(is_day);
    let is_line = fields.count() == FIELDS.saturating_sub(2) && line.ends_with(':');
    (is_line && days && is_user(user) && (is_lock(hash) || is_hash(hash))).then_some(user)
}

fn is_user(text: &str) -> bool {
    text.len() <= MAX_USER_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// No password opens it. A lock may stand before the hash that it locks.
fn is_lock(text: &str) -> bool {
    matches!(text, "!" | "!!" | "*" | "!*") || text.strip_prefix('!').is_some_and(is_hash)
}

fn is_hash(text: &str) -> bool {
    HASH_BYTES.contains(&text.len())
        && METHODS.iter().any(|method| text.starts_with(method))
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"./$=,".contains(&byte))
}

fn is_day(text: &str) -> bool {
    text.len() <= MAX_DAY_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the `passwd` of the release has the user, with a shell.
fn can_log_in(passwd: &[u8], user: &[u8]) -> bool {
    let line = lines_of(passwd).find(|line| name_of(line) == user);
    let shell = line.and_then(|line| line.split(|byte| *byte == b':').nth(6));
    shell.is_some_and(|shell| {
        let program = shell.rsplit(|byte| *byte == b'/').next();
        let is_shell = |program| !NO_SHELLS.iter().any(|none| none.as_bytes() == program);
        shell.starts_with(b"/") && program.is_some_and(is_shell)
    })
}
