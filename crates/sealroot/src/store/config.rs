// SPDX-License-Identifier: MIT OR Apache-2.0
//! `store.toml`: what a store is (docs/format/store.md 3).

use serde::{Deserialize, Serialize};

/// The version of the layout this code reads and writes.
pub const STORE_VERSION: u32 = 1;

/// Whether the filesystem under a store enforces digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VeritySupport {
    /// fs-verity is enabled on every object and pack; presence counts once measured.
    Kernel,
    /// No fs-verity: a present object is trusted by name and size, digests are computed in user
    /// space where content is new or a full check is asked for.
    None,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    version: u32,
    verity: VeritySupport,
}

/// Why `store.toml` cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConfigFault {
    /// It is of another version than ours.
    Version(u32),
    /// It says nothing we understand, for that reason.
    Invalid(String),
}

/// What `store.toml` says.
pub(crate) fn parse(bytes: &[u8]) -> Result<VeritySupport, ConfigFault> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }

    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|error| ConfigFault::Invalid(error.to_string()))?;
    let reason = |error: toml::de::Error| ConfigFault::Invalid(error.message().to_owned());
    // The version first: a newer one may have keys that we would only call unknown.
    let Version { version } = toml::from_str(text).map_err(reason)?;
    if version != STORE_VERSION {
        return Err(ConfigFault::Version(version));
    }
    let config: Config = toml::from_str(text).map_err(reason)?;
    Ok(config.verity)
}

/// The text of a new `store.toml`.
pub(crate) fn render(verity: VeritySupport) -> String {
    let config = Config {
        version: STORE_VERSION,
        verity,
    };
    toml::to_string(&config).expect("a number and a word are TOML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_parses() {
        for verity in [VeritySupport::Kernel, VeritySupport::None] {
            assert_eq!(parse(render(verity).as_bytes()), Ok(verity));
        }
        assert_eq!(
            render(VeritySupport::Kernel),
            "version = 1\nverity = \"kernel\"\n"
        );
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (bad, expected) in [
            ("", "missing field `version`"),
            ("version = 1\n", "missing field `verity`"),
            ("version = 1\nverity = \"on\"\n", "unknown variant `on`"),
            (
                "version = 1\nverity = \"none\"\nextra = 1\n",
                "unknown field `extra`",
            ),
            ("version", "key with no value"),
        ] {
            match parse(bad.as_bytes()) {
                Err(ConfigFault::Invalid(reason)) => {
                    assert!(reason.contains(expected), "{bad:?}: {reason}");
                }
                other => panic!("{bad:?}: {other:?}"),
            }
        }
        let newer = parse(b"version = 2\nnew = 1\n");
        assert_eq!(newer, Err(ConfigFault::Version(2)));
        assert!(parse(b"\xff").is_err());
    }
}
