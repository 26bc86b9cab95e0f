// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file names of our boot entries (docs/format/entries.md 2).

use std::fmt;

use sealroot_format::policy::DeploymentName;

/// How our names begin.
const PREFIX: &str = "sealroot-";

/// How the names of all boot entries end.
pub(super) const SUFFIX: &str = ".conf";

/// Digits of a generation.
const GENERATION_DIGITS: usize = 8;

/// The highest generation.
const MAX_GENERATION: u32 = 99_999_999;

/// Digits of the commit in a name.
const COMMIT_DIGITS: usize = 12;

/// Which of all changes of what boots made an entry: the highest one is the default. 1 to
/// 99,999,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(u32);

impl Generation {
    /// The first one.
    pub const FIRST: Self = Self(1);

    /// `number`, if it is one.
    pub const fn new(number: u32) -> Option<Self> {
        match number {
            1..=MAX_GENERATION => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The one after it, if there is one.
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the loader counts: how often it may still try an entry, and how often it has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tries {
    /// Tries left; the loader puts an entry without any behind all others.
    pub left: u32,
    /// Failed tries so far.
    pub done: u32,
}

impl Tries {
    /// How many there were at first.
    pub const fn all(self) -> u32 {
        self.left.saturating_add(self.done)
    }
}

/// `+<left>` or `+<left>-<done>`, as it stands in a name.
impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.left)?;
        if self.done > 0 {
            write!(f, "-{}", self.done)?;
        }
        Ok(())
    }
}

/// The name of an entry's file, without what the loader counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The change that made it.
    pub generation: Generation,
    /// First digits of the commit.
    commit: [u8; COMMIT_DIGITS],
    /// Serial of the deployment.
    serial: u32,
}

impl EntryId {
    /// The name for an entry of a deployment.
    pub fn new(generation: Generation, deployment: &DeploymentName) -> Self {
        let mut commit = [0; COMMIT_DIGITS];
        commit.copy_from_slice(&deployment.commit.to_hex().as_bytes()[..COMMIT_DIGITS]);
        Self {
            generation,
            commit,
            serial: deployment.serial,
        }
    }

    /// Whether an entry of that deployment can have this name.
    pub fn is_of(&self, deployment: &DeploymentName) -> bool {
        *self == Self::new(self.generation, deployment)
    }

    /// The name of the file with these tries.
    pub fn file_name(&self, tries: Option<Tries>) -> String {
        match tries {
            None => format!("{self}{SUFFIX}"),
            Some(tries) => format!("{self}{tries}{SUFFIX}"),
        }
    }

    /// Reads the name of a file; `None` if it is not one of ours.
    pub fn parse(file_name: &[u8]) -> Option<(Self, Option<Tries>)> {
        let text = std::str::from_utf8(file_name).ok()?;
        let (stem, tries) = split_tries(text.strip_suffix(SUFFIX)?);
        let (generation, rest) = stem.strip_prefix(PREFIX)?.split_once('-')?;
        let (commit, serial) = rest.split_once('.')?;
        let is_digits = |text: &str, len| text.len() == len && text.bytes().all(is_digit);
        let is_hex = commit
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digits(generation, GENERATION_DIGITS) || !is_hex {
            return None;
        }
        let id = Self {
            generation: Generation::new(generation.parse().ok()?)?,
            commit: commit.as_bytes().try_into().ok()?,
            serial: canonical_number(serial)?,
        };
        Some((id, tries))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = self.commit.escape_ascii();
        let generation = self.generation.0;
        write!(
            f,
            "{PREFIX}{generation:0GENERATION_DIGITS$}-{commit}.{}",
            self.serial
        )
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({self})")
    }
}

/// Splits `+<left>` or `+<left>-<done>` off a name without its suffix, as systemd-boot does: what
/// does not look so belongs to the name.
pub(super) fn split_tries(stem: &str) -> (&str, Option<Tries>) {
    let parse = || {
        let (name, counters) = stem.rsplit_once('+')?;
        let (left, done) = match counters.split_once('-') {
            Some((left, done)) => (left, number(done)?),
            None => (counters, 0),
        };
        let tries = Tries {
            left: number(left)?,
            done,
        };
        Some((name, tries))
    };
    match parse() {
        Some((name, tries)) => (name, Some(tries)),
        None => (stem, None),
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// A number of digits only, at most `i32::MAX` as the loader has it.
fn number(text: &str) -> Option<u32> {
    let digits_only = !text.is_empty() && text.bytes().all(is_digit);
    let number = digits_only.then(|| text.parse().ok()).flatten()?;
    (number <= i32::MAX.unsigned_abs()).then_some(number)
}

/// A number without leading zeros.
fn canonical_number(text: &str) -> Option<u32> {
    let is_canonical = text == "0" || !text.starts_with('0') && text.bytes().all(is_digit);
    is_canonical.then(|| text.parse().ok()).flatten()
}
