// SPDX-License-Identifier: MIT OR Apache-2.0
//! `deployment.toml`: what a deployment is made of (docs/format/store.md 7).
//!
//! For people, `status` and the choice of a boot entry. Nothing in it is trusted at boot.

use std::str::FromStr;

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::policy::{EtcMode, Mode};
use sealroot_format::sign::{Name, Word};
use serde::{Deserialize, Serialize};

use super::Request;

/// The version of the record this code reads and writes.
const RECORD_VERSION: u32 = 1;

/// How a pack's digest begins.
const PACK_TAG: &str = "sha256:4096:";

/// The modes as they are written.
const MODES: [(Mode, &str); 3] = [
    (Mode::Sealed, "sealed"),
    (Mode::Verity, "verity"),
    (Mode::Integrity, "integrity"),
];

/// What a deployment was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The OS.
    pub os: Name,
    /// Its edition.
    pub variant: Option<Name>,
    /// The line of releases.
    pub stream: Name,
    /// The machine architecture.
    pub arch: Name,
    /// The version for people.
    pub release: Option<Word>,
    /// Number of the release in its stream.
    pub index: u64,
    /// Security epoch.
    pub epoch: u64,
    /// The tree.
    pub commit: CommitId,
    /// The pack.
    pub pack: VerityDigest,
    /// When the release was made, seconds since 1970.
    pub created: u64,
    /// The mode it was deployed for.
    pub mode: Mode,
    /// How many objects the release has.
    pub objects: u64,
    /// How many of them the deployment's own layer lacks, because their inodes have as many
    /// links as the filesystem allows.
    pub unlinked: u64,
    /// When it was deployed, seconds since 1970.
    pub deployed: u64,
    /// Where the release came from.
    pub origin: Option<Word>,
    /// The stateroot whose `/var` it is for; `None` if the boot policy alone says.
    pub stateroot: Option<Name>,
    /// How `/etc` is made; `None` if the boot policy alone says.
    pub etc: Option<EtcMode>,
}

impl Record {
    /// Whether this is what the request asks for.
    pub(super) fn is_of(&self, request: &Request<'_>) -> bool {
        let statement = request.statement;
        self.os == statement.os
            && self.variant == statement.variant
            && self.stream == statement.stream
            && self.arch == statement.arch
            && self.release == statement.version
            && self.index == statement.index
            && self.epoch == statement.epoch
            && self.commit == statement.commit
            && self.pack == statement.pack_digest
            && self.created == statement.created
            && self.objects == statement.objects
            && self.mode == request.mode
            && self.stateroot == request.stateroot
            && self.etc == request.etc
    }

    /// Reads a record; the reason if it says nothing we understand.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let reason = |error: toml::de::Error| error.message().to_owned();
        // The version first: a newer one may have keys that we would only call unknown.
        let VersionOnly { version } = toml::from_str(text).map_err(reason)?;
        if version != RECORD_VERSION {
            return Err(format!(
                "it has version {version}, expected {RECORD_VERSION}: made by a newer sealroot?"
            ));
        }
        toml::from_str::<Raw>(text).map_err(reason)?.into_record()
    }

    /// The text of a record.
    pub(super) fn render(&self) -> String {
        toml::to_string(&Raw::from(self)).expect("numbers and plain words are TOML")
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// The record as TOML has it. Keys stand in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u32,
    os: String,
    variant: Option<String>,
    stream: String,
    arch: String,
    release: Option<String>,
    index: u64,
    epoch: u64,
    commit: String,
    pack: String,
    created: u64,
    mode: String,
    objects: u64,
    unlinked: u64,
    deployed: u64,
    origin: Option<String>,
    stateroot: Option<String>,
    etc: Option<String>,
}

impl Raw {
    fn into_record(self) -> Result<Record, String> {
        let pack = self.pack.strip_prefix(PACK_TAG);
        let pack = pack.and_then(VerityDigest::from_hex).ok_or_else(|| {
            format!(
                "pack: expected {PACK_TAG} and 64 lowercase hex digits, found {:?}",
                self.pack
            )
        })?;
        let commit = CommitId::from_hex(&self.commit).ok_or_else(|| {
            format!(
                "commit: expected 64 lowercase hex digits, found {:?}",
                self.commit
            )
        })?;
        let mode = MODES.iter().find(|(_, word)| *word == self.mode);
        let (mode, _) = mode.ok_or_else(|| {
            format!(
                "mode: expected sealed, verity or integrity, found {:?}",
                self.mode
            )
        })?;
        let etc = self.etc.map(|text| value("etc", &text)).transpose()?;
        Ok(Record {
            os: value("os", &self.os)?,
            variant: self
                .variant
                .map(|text| value("variant", &text))
                .transpose()?,
            stream: value("stream", &self.stream)?,
            arch: value("arch", &self.arch)?,
            release: self
                .release
                .map(|text| value("release", &text))
                .transpose()?,
            index: self.index,
            epoch: self.epoch,
            commit,
            pack,
            created: self.created,
            mode: *mode,
            objects: self.objects,
            unlinked: self.unlinked,
            deployed: self.deployed,
            origin: self.origin.map(|text| value("origin", &text)).transpose()?,
            stateroot: self
                .stateroot
                .map(|text| value("stateroot", &text))
                .transpose()?,
            etc,
        })
    }
}

impl From<&Record> for Raw {
    fn from(record: &Record) -> Self {
        let mode = MODES.iter().find(|(mode, _)| *mode == record.mode);
        Self {
            version: RECORD_VERSION,
            os: record.os.to_string(),
            variant: record.variant.as_ref().map(ToString::to_string),
            stream: record.stream.to_string(),
            arch: record.arch.to_string(),
            release: record.release.as_ref().map(ToString::to_string),
            index: record.index,
            epoch: record.epoch,
            commit: record.commit.to_string(),
            pack: format!("{PACK_TAG}{}", record.pack),
            created: record.created,
            mode: mode.expect("all modes have a word").1.into(),
            objects: record.objects,
            unlinked: record.unlinked,
            deployed: record.deployed,
            origin: record.origin.as_ref().map(ToString::to_string),
            stateroot: record.stateroot.as_ref().map(ToString::to_string),
            etc: record.etc.map(|mode| mode.as_str().into()),
        }
    }
}

fn value<T: FromStr>(key: &str, text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../../testdata/v1/store/deployment.toml");
    const GOLDEN_OF_MACHINE: &str =
        include_str!("../../../../testdata/v1/store/deployment-stateroot.toml");

    fn record() -> Record {
        let word = |text: &str| Some(text.parse::<Word>().expect("a word"));
        let name = |text: &str| text.parse::<Name>().expect("a name");
        Record {
            os: name("debian"),
            variant: None,
            stream: name("stable"),
            arch: name("x86_64"),
            release: word("12.8"),
            index: 7,
            epoch: 1,
            commit: CommitId::from_bytes([0xc0; 32]),
            pack: VerityDigest::from_bytes([0xfa; 32]),
            created: 1_700_000_000,
            mode: Mode::Verity,
            objects: 1234,
            unlinked: 0,
            deployed: 1_700_000_123,
            origin: word("https://updates.example.org/debian/stable"),
            stateroot: None,
            etc: None,
        }
    }

    fn record_of_machine() -> Record {
        Record {
            stateroot: Some("debian".parse().expect("a name")),
            etc: Some(EtcMode::Merge),
            ..record()
        }
    }

    #[test]
    fn the_record_is_the_golden_one() {
        assert_eq!(record().render(), GOLDEN);
        assert_eq!(Record::parse(GOLDEN.as_bytes()), Ok(record()));
        let of_machine = record_of_machine();
        assert_eq!(of_machine.render(), GOLDEN_OF_MACHINE);
        assert_eq!(Record::parse(GOLDEN_OF_MACHINE.as_bytes()), Ok(of_machine));
    }

    #[test]
    fn every_mode_is_written_and_read() {
        for (mode, _) in MODES {
            let record = Record { mode, ..record() };
            let text = record.render();
            assert_eq!(Record::parse(text.as_bytes()), Ok(record));
        }
        for mode in EtcMode::ALL {
            let etc = Some(mode);
            let record = Record { etc, ..record() };
            let text = record.render();
            assert_eq!(Record::parse(text.as_bytes()), Ok(record));
        }
    }

    #[test]
    fn the_longest_record_is_within_its_bound() {
        let word: Word = "w".repeat(255).parse().expect("a word");
        let name: Name = "n".repeat(64).parse().expect("a name");
        let largest = u64::MAX;
        let record = Record {
            os: name.clone(),
            variant: Some(name.clone()),
            stream: name.clone(),
            arch: name.clone(),
            release: Some(word.clone()),
            index: largest,
            epoch: largest,
            created: largest,
            objects: largest,
            unlinked: largest,
            deployed: largest,
            origin: Some(word),
            stateroot: Some(name),
            etc: Some(EtcMode::Allowlist),
            ..record()
        };
        let text = record.render();
        let bound = sealroot_format::limits::MAX_DEPLOYMENT_RECORD_BYTES;
        assert!((text.len() as u64) < bound, "{}", text.len());
        assert_eq!(Record::parse(text.as_bytes()), Ok(record));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (from, to, expected) in [
            ("version = 1", "version = 2", "version 2, expected 1"),
            ("os = \"debian\"", "os = \"\"", "os: expected"),
            ("os = \"debian\"\n", "", "missing field `os`"),
            ("mode = \"verity\"", "mode = \"any\"", "mode: expected"),
            ("commit = \"c0", "commit = \"C0", "commit: expected"),
            ("sha256:4096:", "sha512:4096:", "pack: expected"),
            ("index = 7", "index = -7", "invalid value"),
            ("index = 7", "index = 7\nx = 1", "unknown field `x`"),
            ("etc = \"merge\"", "etc = \"own\"", "etc: expected"),
            (
                "stateroot = \"debian\"",
                "stateroot = \"a/b\"",
                "stateroot: expected",
            ),
        ] {
            let text = GOLDEN_OF_MACHINE.replacen(from, to, 1);
            assert_ne!(text, GOLDEN_OF_MACHINE, "{from}");
            let reason = Record::parse(text.as_bytes()).expect_err(to);
            assert!(reason.contains(expected), "{to}: {reason}");
        }
    }
}
