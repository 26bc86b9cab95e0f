// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and paths, which may be any bytes: without loss for programs, in one line for people.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::output::printable;

/// A name, a path or the target of a symlink.
///
/// In JSON a string where it is UTF-8, and `{"base64": TEXT}` where not. On a terminal with its
/// backslashes doubled, and escaped what is no text or steers the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnyName(Vec<u8>);

impl From<&[u8]> for AnyName {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_owned())
    }
}

impl From<&Path> for AnyName {
    fn from(path: &Path) -> Self {
        path.as_os_str().as_bytes().into()
    }
}

impl From<PathBuf> for AnyName {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl AnyName {
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl Serialize for AnyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &Base64::encode_string(&self.0))?;
        map.end()
    }
}

impl fmt::Display for AnyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(&printable(&chunk.valid().replace('\\', "\\\\")))?;
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::AnyName;

    #[test]
    fn names_are_shown_in_one_line_and_told_without_loss() {
        for (name, shown, json) in [
            (&b"plain"[..], "plain", r#""plain""#),
            (b"it's \"so\"", r#"it's "so""#, r#""it's \"so\"""#),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n", "\"gr\u{fc}n\""),
            (b"a\\b", r"a\\b", r#""a\\b""#),
            (b"a\n\x1b[2J", r"a\n\u{1b}[2J", r#""a\n\u001b[2J""#),
            ("\u{202e}x".as_bytes(), r"\u{202e}x", "\"\u{202e}x\""),
            (b"\xff\n\"", r#"\xff\n""#, r#"{"base64":"/woi"}"#),
            (b"", "", r#""""#),
        ] {
            let name = AnyName::from(name);
            assert_eq!(name.to_string(), shown);
            let found = serde_json::to_string(&name).expect("JSON");
            assert_eq!(found, json);
        }
    }
}
