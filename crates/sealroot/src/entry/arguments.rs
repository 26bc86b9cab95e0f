// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel arguments as a list (docs/format/entries.md 5).
//!
//! Taken apart as the kernel does (`next_arg` in `lib/cmdline.c`): spaces separate, quotation
//! marks around an argument or a value keep it together. The boot program takes no command line
//! with a quotation mark, so an argument that needs one is refused here.

use std::fmt;
use std::str::FromStr;

use sealroot_format::limits::MAX_BOOT_OPTIONS_BYTES;

use super::EntryError;

/// How all arguments begin that belong to sealroot.
const OURS: &str = "sealroot";

/// What ends the kernel's own arguments; those behind it are for init.
const END: &str = "--";

/// What the script language of GRUB, or its expansion of variables, would change.
const SPECIAL_IN_GRUB: &[u8] = b"$'\\;|&<>`";

/// Kernel arguments in their order: printable ASCII without spaces and quotation marks, none that
/// begins with `sealroot`, at most [`MAX_BOOT_OPTIONS_BYTES`] together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelArguments(Vec<Box<str>>);

impl KernelArguments {
    /// The arguments.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().map(|argument| &**argument)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this very argument is there.
    pub fn contains(&self, argument: &str) -> bool {
        self.iter().any(|present| present == argument)
    }

    /// Adds arguments, `KEY` or `KEY=VALUE`, behind all others of the kernel.
    pub fn append(&mut self, text: &str) -> Result<(), EntryError> {
        let refuse = |reason: &str| EntryError::Argument {
            argument: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.contains(char::is_control) {
            return Err(refuse("it has control characters"));
        }
        let added: Self = text.parse()?;
        if added.is_empty() {
            return Err(refuse("expected an argument"));
        }
        let end = self.0.iter().position(|argument| &**argument == END);
        let at = end.unwrap_or(self.0.len());
        let mut changed = self.clone();
        changed.0.splice(at..at, added.0);
        changed.check_length()?;
        *self = changed;
        Ok(())
    }

    /// Removes an argument: `KEY=VALUE` that very one, `KEY` the only one of that key.
    pub fn delete(&mut self, argument: &str) -> Result<(), EntryError> {
        let at = self.only(argument)?;
        self.0.remove(at);
        Ok(())
    }

    /// Gives the only argument of a key another value (`KEY=NEW`), or one of several that has the
    /// value `OLD` (`KEY=OLD=NEW`). Where there is none of that key, it is added.
    pub fn replace(&mut self, text: &str) -> Result<(), EntryError> {
        let new = one(text)?;
        let Some((key, value)) = new.split_once('=') else {
            return Err(EntryError::Argument {
                argument: text.to_owned(),
                reason: "expected KEY=VALUE".to_owned(),
            });
        };
        if self.iter().all(|present| key_of(present) != key) {
            return self.append(&new);
        }
        let named = value.match_indices('=').find_map(|(at, _)| {
            let old = format!("{key}={}", &value[..at]);
            let at_argument = self.iter().position(|present| present == old)?;
            Some((at_argument, format!("{key}={}", &value[at + 1..])))
        });
        let mut changed = self.clone();
        if let Some((at, replacement)) = named {
            changed.0[at] = replacement.into();
        } else {
            let at = self.only(key)?;
            changed.0[at] = new;
        }
        changed.check_length()?;
        *self = changed;
        Ok(())
    }

    /// The first argument that GRUB would not hand on as it is, if there is one.
    pub(crate) fn special_in_grub(&self) -> Option<&str> {
        let is_special = |argument: &&str| {
            matches!(*argument, "{" | "}" | "[[" | "]]" | "!")
                || argument.starts_with('#')
                || argument.bytes().any(|byte| SPECIAL_IN_GRUB.contains(&byte))
        };
        self.iter().find(is_special)
    }

    /// Where the argument is that `text` means: that very one, or the only one of that key.
    fn only(&self, text: &str) -> Result<usize, EntryError> {
        let refuse = |reason: &str| EntryError::Argument {
            argument: text.to_owned(),
            reason: reason.to_owned(),
        };
        let is_meant = |present: &str| {
            if text.contains('=') {
                present == text
            } else {
                key_of(present) == text
            }
        };
        let mut meant = (self.iter().enumerate()).filter(|(_, present)| is_meant(present));
        match (meant.next(), meant.next()) {
            (None, _) => Err(refuse("there is no such kernel argument")),
            (Some((at, _)), None) => Ok(at),
            (Some((at, first)), Some((_, second))) if first == second => Ok(at),
            _ => Err(refuse(
                "there are several with this key: give the value too",
            )),
        }
    }

    fn check_length(&self) -> Result<(), EntryError> {
        let found_bytes = self.to_string().len();
        if found_bytes <= MAX_BOOT_OPTIONS_BYTES {
            return Ok(());
        }
        Err(EntryError::Argument {
            argument: format!("all {} arguments together", self.0.len()),
            reason: format!(
                "they have {found_bytes} bytes, expected at most {MAX_BOOT_OPTIONS_BYTES}"
            ),
        })
    }
}

fn key_of(argument: &str) -> &str {
    argument.split_once('=').map_or(argument, |(key, _)| key)
}

/// Exactly one argument.
fn one(text: &str) -> Result<Box<str>, EntryError> {
    let KernelArguments(mut arguments) = text.parse()?;
    match (arguments.pop(), arguments.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(EntryError::Argument {
            argument: text.to_owned(),
            reason: "expected one argument".to_owned(),
        }),
    }
}

impl FromStr for KernelArguments {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let refuse = |argument: &str, reason: &str| EntryError::Argument {
            argument: argument.to_owned(),
            reason: reason.to_owned(),
        };
        let mut arguments = Vec::new();
        for raw in split(text).ok_or_else(|| refuse(text, "a quotation mark is not closed"))? {
            let argument = without_quotes(raw);
            if argument.contains(['"', ' ']) {
                return Err(refuse(
                    raw,
                    "arguments that need quotation marks cannot boot",
                ));
            }
            if !argument.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(refuse(raw, "expected printable ascii characters"));
            }
            if argument.starts_with(OURS) {
                return Err(refuse(raw, "sealroot itself names the deployment to boot"));
            }
            if argument.starts_with('=') {
                return Err(refuse(raw, "expected a key before `=`"));
            }
            // A pair of quotation marks around nothing.
            if !argument.is_empty() {
                arguments.push(argument.into());
            }
        }
        let arguments = Self(arguments);
        arguments.check_length()?;
        Ok(arguments)
    }
}

/// The arguments separated by one space each.
impl fmt::Display for KernelArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, argument) in self.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(f, "{space}{argument}")?;
        }
        Ok(())
    }
}

/// Splits at white space outside of quotation marks; `None` if one is left open.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut in_quotes = false;
    let parts = text
        .split(|character: char| {
            in_quotes ^= character == '"';
            character.is_ascii_whitespace() && !in_quotes
        })
        .filter(|part| !part.is_empty())
        .collect();
    (!in_quotes).then_some(parts)
}

/// Without the quotation marks around the whole or the value: for the kernel they are not part of
/// it.
fn without_quotes(raw: &str) -> String {
    let unquote = |text: &str| {
        let inner = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        inner.unwrap_or(text).to_owned()
    };
    let whole = unquote(raw);
    match whole.split_once('=') {
        Some((key, value)) => format!("{key}={}", unquote(value)),
        None => whole,
    }
}
