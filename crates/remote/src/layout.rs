// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names on a server (docs/format/repository.md 1).

use std::fmt;
use std::str::FromStr;

use sealroot_format::digest::Sha256Digest;
use sealroot_format::sign::{Channel, Name, RemoteFile, Statement};

/// Which channel: releases of one OS, edition, stream and architecture.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName {
    /// The OS, as in the statements of its releases.
    pub os: Name,
    /// The edition of the OS.
    pub variant: Option<Name>,
    /// The line of releases.
    pub stream: Name,
    /// The machine architecture.
    pub arch: Name,
}

impl ChannelName {
    /// The channel that a release belongs to.
    pub fn of_release(statement: &Statement) -> Self {
        Self {
            os: statement.os.clone(),
            variant: statement.variant.clone(),
            stream: statement.stream.clone(),
            arch: statement.arch.clone(),
        }
    }

    /// The name that a channel has.
    pub fn of_channel(channel: &Channel) -> Self {
        Self {
            os: channel.os.clone(),
            variant: channel.variant.clone(),
            stream: channel.stream.clone(),
            arch: channel.arch.clone(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> String {
        format!("channel/{self}.channel")
    }
}

/// `os/variant/stream/arch`
impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = self.variant.as_ref().map_or("-", Name::as_str);
        write!(f, "{}/{variant}/{}/{}", self.os, self.stream, self.arch)
    }
}

impl FromStr for ChannelName {
    type Err = String;

    /// As it is displayed.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let [os, variant, stream, arch] = parts[..] else {
            return Err("expected OS/VARIANT/STREAM/ARCH, and - where there is no variant".into());
        };
        let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        Ok(Self {
            os: name(os)?,
            variant: (variant != "-").then(|| name(variant)).transpose()?,
            stream: name(stream)?,
            arch: name(arch)?,
        })
    }
}

/// `keyset/<version>.keyset`
pub fn keyset_path(version: u64) -> String {
    format!("keyset/{version}.keyset")
}

/// Files named by what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Statements with signatures.
    Statement,
    /// Packs and objects.
    Bundle,
    /// Deltas.
    Delta,
    /// Unified kernel images.
    Image,
    /// Signatures of objects.
    Signatures,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Statement,
        Self::Bundle,
        Self::Delta,
        Self::Image,
        Self::Signatures,
    ];

    /// Where such a file is.
    pub fn path(self, file: &RemoteFile) -> String {
        self.path_of(&file.head)
    }

    /// Where the file with this head is.
    pub(crate) fn path_of(self, head: &Sha256Digest) -> String {
        let (directory, suffix) = self.names();
        format!("{directory}/{head}.{suffix}")
    }

    /// Whether a path is that of such a file.
    pub(crate) fn is_path(path: &str) -> bool {
        Self::ALL.iter().any(|kind| {
            let (directory, suffix) = kind.names();
            let name = path
                .strip_prefix(directory)
                .and_then(|name| name.strip_prefix('/'));
            let name = name.and_then(|name| name.strip_suffix(suffix));
            let head = name.and_then(|name| name.strip_suffix('.'));
            head.is_some_and(|head| Sha256Digest::from_hex(head).is_some())
        })
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Statement => ("statement", "sign"),
            Self::Bundle => ("bundle", "bundle"),
            Self::Delta => ("delta", "delta"),
            Self::Image => ("image", "image"),
            Self::Signatures => ("signatures", "signatures"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ChannelName;

    #[test]
    fn channels_are_named_by_four_parts() {
        for text in [
            "exampleos/-/stable/x86_64",
            "exampleos/server/stable/x86_64",
        ] {
            let name: ChannelName = text.parse().expect("a name");
            assert_eq!(name.to_string(), text);
            assert_eq!(name.variant.is_none(), text.contains('-'));
        }
        for text in [
            "",
            "exampleos/stable/x86_64",
            "a/b/c/d/e",
            "a//c/d",
            "a/-/-/d",
            "../-/c/d",
        ] {
            assert!(text.parse::<ChannelName>().is_err(), "{text}");
        }
    }
}
