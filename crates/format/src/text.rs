// SPDX-License-Identifier: MIT OR Apache-2.0
//! The line grammar that statements, keysets and policies share, and the words in it.
//!
//! A text is a sequence of lines `key value`, each ended by one LF, of printable ASCII only.
//! Keys come in one order and all of them must be there, so that a text has exactly one form.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::{fmt, str::FromStr};

use crate::{ErrorClass, digest::VerityDigest, limits};

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More bytes than its kind of text may have; not looked at.
    #[error("{what} is too long: expected at most {limit_bytes} bytes, found {found_bytes}")]
    TooLong {
        /// The kind of text.
        what: &'static str,
        /// The most bytes it may have.
        limit_bytes: usize,
        /// The bytes it has.
        found_bytes: usize,
    },
    /// The first line names a version of the format that this program does not know.
    #[error("{what} has format version {found}, this program knows version {known}")]
    Version {
        /// The kind of text.
        what: &'static str,
        /// The version this program reads.
        known: u32,
        /// The version found.
        found: String,
    },
    /// A line is not what the grammar wants there.
    #[error("{what}, line {line}: expected {expected}, found {found}")]
    Line {
        /// The kind of text.
        what: &'static str,
        /// The line, counted from 1.
        line: usize,
        /// What the grammar wants.
        expected: String,
        /// What is there, shortened and escaped.
        found: String,
    },
    /// A value on its own, outside of a text, is not what its type allows.
    #[error("expected {expected}, found {found}")]
    Value {
        /// What the type allows.
        expected: &'static str,
        /// What was given, shortened and escaped.
        found: String,
    },
}

impl Error {
    /// What kind of failure this is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Version { .. } => ErrorClass::Unsupported,
            Self::TooLong { .. } | Self::Line { .. } => ErrorClass::Corrupt,
            Self::Value { .. } => ErrorClass::Usage,
        }
    }
}

/// `bytes` for an error message: quoted, escaped and shortened; not at all if they may be a secret
/// key, which is easily given where another file is wanted.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 60;
    if may_hold_a_key(bytes) {
        return format!("{} bytes that may hold a key, not shown", bytes.len());
    }
    match bytes.get(..SHOWN_BYTES) {
        Some(start) if bytes.len() > SHOWN_BYTES => format!("\"{}\"...", start.escape_ascii()),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// Whether 24 or more random bytes may stand there in base64, which mixes the cases. Digests and
/// key ids, in lowercase hex, are no secret.
fn may_hold_a_key(bytes: &[u8]) -> bool {
    const CHARACTERS: usize = 32;
    bytes
        .split(|byte| !(byte.is_ascii_alphanumeric() || b"+/=".contains(byte)))
        .filter(|run| run.len() >= CHARACTERS)
        .any(|run| run.iter().any(u8::is_ascii_uppercase) && run.iter().any(u8::is_ascii_lowercase))
}

macro_rules! word_type {
    ($(#[$doc:meta])* $name:ident, $allowed:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            pub(crate) const EXPECTED: &str = $expected;

            pub(crate) fn accept(text: &str) -> Option<Self> {
                $allowed(text).then(|| Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::accept(text).ok_or_else(|| Error::Value {
                    expected: Self::EXPECTED,
                    found: excerpt(text.as_bytes()),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

word_type! {
    /// The name of an OS, a variant, a stream, an architecture, a stateroot or a filesystem:
    /// 1 to [`limits::MAX_FIELD_NAME_BYTES`] letters, digits and `. _ + -`, the first a letter
    /// or a digit. Such names become parts of file names, on FAT too.
    Name, is_name, "a name of 1 to 64 letters, digits and ._+- that begins with a letter or digit"
}

word_type! {
    /// Text for people or other programs, such as a version or a kernel release: 1 to
    /// [`limits::MAX_WORD_BYTES`] printable ASCII characters without spaces, not `-` alone.
    Word, is_word, "a word: 1 to 255 printable ASCII characters without spaces, not - alone"
}

fn is_name(text: &str) -> bool {
    text.len() <= limits::MAX_FIELD_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

fn is_word(text: &str) -> bool {
    (1..=limits::MAX_WORD_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text != NONE
}

/// Stands for a value that is not there.
pub(crate) const NONE: &str = "-";

/// Writes an optional value: itself, or `-`.
pub(crate) struct OrNone<'a, T>(pub(crate) Option<&'a T>);

impl<T: fmt::Display> fmt::Display for OrNone<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(NONE),
        }
    }
}

/// Writes and reads a fs-verity digest with the profile it was made by, so that it can be taken
/// for no other digest: `sha256:4096:<hex>`.
pub(crate) struct Tagged<'a>(pub(crate) &'a VerityDigest);

impl Tagged<'_> {
    pub(crate) const EXPECTED: &'static str = "sha256:4096: and 64 lowercase hex digits";
    const TAG: &'static str = "sha256:4096:";

    pub(crate) fn parse(text: &str) -> Option<VerityDigest> {
        VerityDigest::from_hex(text.strip_prefix(Self::TAG)?)
    }
}

impl fmt::Display for Tagged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::TAG, self.0)
    }
}

/// A decimal number in its only form: no sign, no leading zeros.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok()).flatten()
}

pub(crate) const NUMBER: &str = "a decimal number without leading zeros that fits its field";

/// Takes a text apart line by line.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    what: &'static str,
    rest: &'a [u8],
    line: usize,
}

impl<'a> Lines<'a> {
    /// The lines of `bytes`, a text of the kind `what` and at most `limit_bytes` long.
    pub(crate) fn new(
        what: &'static str,
        bytes: &'a [u8],
        limit_bytes: usize,
    ) -> Result<Self, Error> {
        if bytes.len() > limit_bytes {
            return Err(Error::TooLong {
                what,
                limit_bytes,
                found_bytes: bytes.len(),
            });
        }
        Ok(Self {
            what,
            rest: bytes,
            line: 0,
        })
    }

    /// Whether all lines were taken.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether the next line has the key `key`.
    pub(crate) fn is_next(&self, key: &str) -> bool {
        let rest = self.rest.strip_prefix(key.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b" "))
    }

    /// The next line without its LF; `expected` is for the error message.
    pub(crate) fn line(&mut self, expected: &str) -> Result<&'a str, Error> {
        self.line = self.line.saturating_add(1);
        if self.rest.is_empty() {
            return Err(self.error(expected, "the end of the text".to_owned()));
        }
        let mut parts = self.rest.splitn(2, |&byte| byte == b'\n');
        let (line, rest) = (parts.next().unwrap_or_default(), parts.next());
        let Some(rest) = rest else {
            return Err(self.error("a line feed at the end of the last line", "none".to_owned()));
        };
        self.rest = rest;
        let printable = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
        match str::from_utf8(line) {
            Ok(text) if printable => Ok(text),
            _ => Err(self.error("printable ASCII characters", excerpt(line))),
        }
    }

    /// The first line of every text: `sealroot <format> <version>`.
    pub(crate) fn header(&mut self, format: &str, known: u32) -> Result<(), Error> {
        let start = format!("sealroot {format} ");
        let expected = format!("{start}{known}");
        let line = self.line(&expected)?;
        match line.strip_prefix(start.as_str()).map(number::<u32>) {
            Some(Some(version)) if version == known => Ok(()),
            Some(Some(version)) => Err(Error::Version {
                what: self.what,
                known,
                found: version.to_string(),
            }),
            _ if line.starts_with("sealroot ") => {
                Err(self.error(&expected, excerpt(line.as_bytes())))
            }
            _ => Err(self.error(
                &expected,
                "the first line of another kind of file".to_owned(),
            )),
        }
    }

    /// The value of the next line, which must have the key `key`.
    pub(crate) fn field(&mut self, key: &'static str) -> Result<Value<'a>, Error> {
        let line = self.line(key)?;
        match line.split_once(' ') {
            Some((found, text)) if found == key => Ok(Value {
                what: self.what,
                line: self.line,
                key,
                text,
            }),
            _ => Err(self.error(
                &format!("the key {key} and a value"),
                excerpt(line.as_bytes()),
            )),
        }
    }

    /// Ends the text: nothing may be left.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.line = self.line.saturating_add(1);
        let line = self.rest.split(|&byte| byte == b'\n').next();
        Err(self.error("the end of the text", excerpt(line.unwrap_or_default())))
    }

    /// An error in the line taken last.
    pub(crate) fn error(&self, expected: &str, found: String) -> Error {
        Error::Line {
            what: self.what,
            line: self.line,
            expected: expected.to_owned(),
            found,
        }
    }
}

/// The value of one line, not yet of a type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    what: &'static str,
    line: usize,
    key: &'static str,
    text: &'a str,
}

impl<'a> Value<'a> {
    /// The value as `parse` reads it; `expected` says what that accepts.
    pub(crate) fn parse<T>(
        self,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, Error> {
        parse(self.text).ok_or_else(|| Error::Line {
            what: self.what,
            line: self.line,
            expected: format!("{}: {expected}", self.key),
            found: excerpt(self.text.as_bytes()),
        })
    }

    /// As [`Value::parse`], or `None` for `-`.
    pub(crate) fn optional<T>(
        self,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        if self.text == NONE {
            return Ok(None);
        }
        self.parse(expected, parse).map(Some)
    }

    pub(crate) fn number<T: FromStr>(self) -> Result<T, Error> {
        self.parse(NUMBER, number)
    }

    pub(crate) fn name(self) -> Result<Name, Error> {
        self.parse(Name::EXPECTED, Name::accept)
    }
}
