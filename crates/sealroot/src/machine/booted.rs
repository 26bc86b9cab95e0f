// SPDX-License-Identifier: MIT OR Apache-2.0
//! `booted.json`: what the boot program says of this boot (docs/design/boot.md).

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::floor::Floor;
use sealroot_format::limits::MAX_BOOTED_RECORD_BYTES;
use sealroot_format::policy::{DeploymentName, FloorOn, FloorStore};
use sealroot_format::sign::ReleaseNumbers;
use serde::Deserialize;

use super::MachineError;
use super::runtime::{Runtime, read_bounded};

/// What was booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booted {
    /// The pack that is the root.
    pub pack: VerityDigest,
    /// The deployment, where the command line named one.
    pub deployment: Option<DeploymentName>,
    /// `sealed`, `verity` or `integrity`.
    pub mode: String,
    /// `erofs` or `tmpfs`.
    pub layer: String,
    /// `transient`, `allowlist` or `merge`; older boot programs do not say.
    pub etc: Option<String>,
    /// What speaks against calling this boot sealed.
    pub insecure: Vec<String>,
    /// Which release it is; older boot programs do not always say.
    pub release: Option<ReleaseNumbers>,
    /// The floor that it was held against; older boot programs do not say.
    pub floor: Option<BootedFloor>,
    /// The text that the TPM was told of it, if it was.
    pub event: Option<String>,
    /// The text of its verified statement, where one was asked for.
    pub statement: Option<String>,
}

/// A floor as a boot found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootedFloor {
    /// What the release was held against.
    pub floor: Floor,
    /// Which of its numbers count.
    pub on: FloorOn,
    /// Where the policy says it is kept, besides itself.
    pub store: FloorStore,
}

/// As the boot program writes it. It may get more keys.
#[derive(Deserialize)]
#[serde(expecting = "what the boot program writes")]
struct Raw {
    version: u32,
    insecure: Vec<String>,
    mode: String,
    layer: String,
    etc: Option<String>,
    pack: String,
    commit: Option<String>,
    serial: Option<u32>,
    index: Option<u64>,
    epoch: Option<u64>,
    floor: Option<RawFloor>,
    measured: Option<RawMeasured>,
    statement: Option<String>,
}

#[derive(Deserialize)]
struct RawFloor {
    epoch: u64,
    index: u64,
    on: String,
    efi: bool,
    tpm_base: Option<u64>,
}

#[derive(Deserialize)]
struct RawMeasured {
    event: String,
}

impl RawFloor {
    fn into_floor(self) -> Result<BootedFloor, String> {
        let Self { epoch, index, .. } = self;
        let on = [FloorOn::Epoch, FloorOn::Index];
        let on = on.into_iter().find(|on| on.as_str() == self.on);
        Ok(BootedFloor {
            floor: Floor { epoch, index },
            on: on.ok_or_else(|| format!("floor: expected epoch or index, found {:?}", self.on))?,
            store: FloorStore {
                efi: self.efi,
                tpm: self.tpm_base,
            },
        })
    }
}

impl Booted {
    /// Reads the record; `None` if there is none.
    pub fn read(runtime: &Runtime) -> Result<Option<Self>, MachineError> {
        match Self::read_text(runtime)? {
            None => Ok(None),
            Some(bytes) => Self::parse(&bytes)
                .map(Some)
                .map_err(|reason| MachineError::Booted {
                    path: runtime.booted_path(),
                    reason,
                }),
        }
    }

    /// The deployment that runs; `None` if none of ours does, or the command line named none.
    pub fn running(runtime: &Runtime) -> Result<Option<DeploymentName>, MachineError> {
        Ok(Self::read(runtime)?.and_then(|booted| booted.deployment))
    }

    /// The record as it is, at most [`MAX_BOOTED_RECORD_BYTES`]; `None` if there is none.
    pub fn read_text(runtime: &Runtime) -> Result<Option<Vec<u8>>, MachineError> {
        let path = runtime.booted_path();
        read_bounded(&path, MAX_BOOTED_RECORD_BYTES).map_err(|error| MachineError::Booted {
            path,
            reason: error.to_string(),
        })
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if raw.version != 1 {
            return Err(format!("it has version {}, expected 1", raw.version));
        }
        let pack = VerityDigest::from_hex(&raw.pack);
        let pack = pack.ok_or_else(|| format!("pack: expected a digest, found {:?}", raw.pack))?;
        let commit = match &raw.commit {
            None => None,
            Some(text) => Some(
                CommitId::from_hex(text)
                    .ok_or_else(|| format!("commit: expected a commit, found {text:?}"))?,
            ),
        };
        let named = commit.zip(raw.serial);
        Ok(Self {
            pack,
            deployment: named.map(|(commit, serial)| DeploymentName { commit, serial }),
            mode: raw.mode,
            layer: raw.layer,
            etc: raw.etc,
            insecure: raw.insecure,
            release: (raw.index.zip(raw.epoch))
                .map(|(index, epoch)| ReleaseNumbers { index, epoch }),
            floor: raw.floor.map(RawFloor::into_floor).transpose()?,
            event: raw.measured.map(|measured| measured.event),
            statement: raw.statement,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(serial: &str) -> String {
        let (pack, commit) = ("ab".repeat(32), "cd".repeat(32));
        format!(
            "{{\"version\": 1, \"sealed\": false, \"insecure\": [\"no Secure Boot\"], \"mode\": \
             \"verity\", \"layer\": \"erofs\", \"pack\": \"{pack}\", \"commit\": \"{commit}\", \
             \"serial\": {serial}, \"index\": 1, \"epoch\": 0, \"statement\": \"x\"}}"
        )
    }

    #[test]
    fn the_boot_programs_record_is_read() {
        let booted = Booted::parse(record("3").as_bytes()).expect("a record");
        let commit = CommitId::from_bytes([0xcd; 32]);
        assert_eq!(
            booted,
            Booted {
                pack: VerityDigest::from_bytes([0xab; 32]),
                deployment: Some(DeploymentName { commit, serial: 3 }),
                mode: "verity".into(),
                layer: "erofs".into(),
                etc: None,
                insecure: vec!["no Secure Boot".into()],
                release: Some(ReleaseNumbers { index: 1, epoch: 0 }),
                floor: None,
                event: None,
                statement: Some("x".into()),
            }
        );
        let without = Booted::parse(record("null").as_bytes()).expect("a record");
        assert_eq!(without.deployment, None);
    }

    #[test]
    fn the_floor_and_the_event_are_read() {
        let further = "\"floor\": {\"epoch\": 2, \"index\": 7, \"on\": \"index\", \"efi\": true, \
                       \"tpm_base\": 64}, \"measured\": {\"pcr\": 15, \"event\": \"e\\n\"}, ";
        let text = record("3").replacen("\"commit\"", &format!("{further}\"commit\""), 1);
        let booted = Booted::parse(text.as_bytes()).expect("a record");
        let expected = BootedFloor {
            floor: Floor { epoch: 2, index: 7 },
            on: FloorOn::Index,
            store: FloorStore {
                efi: true,
                tpm: Some(64),
            },
        };
        assert_eq!(booted.floor, Some(expected));
        assert_eq!(booted.event.as_deref(), Some("e\n"));
        let odd = text.replace("\"on\": \"index\"", "\"on\": \"both\"");
        Booted::parse(odd.as_bytes()).expect_err("no such floor");
    }

    #[test]
    fn anything_else_is_an_error_and_not_nothing() {
        let good = record("3");
        for bad in [
            String::new(),
            "[".repeat(100_000),
            "null".into(),
            good.replace("\"version\": 1", "\"version\": 2"),
            good.replace("abab", "xyxy"),
            good.replace("cdcd", "CDCD"),
            good.replace(": 3", ": -3"),
        ] {
            assert!(Booted::parse(bad.as_bytes()).is_err(), "{bad:.60}");
        }
    }

    #[test]
    fn a_record_that_is_too_large_or_no_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = Runtime::new(directory.path());
        assert_eq!(Booted::read(&runtime).expect("none"), None);
        std::fs::create_dir(runtime.booted_path()).expect("planted");
        Booted::read(&runtime).expect_err("a directory");
        std::fs::remove_dir(runtime.booted_path()).expect("removed");
        let len = usize::try_from(MAX_BOOTED_RECORD_BYTES).expect("small") + 1;
        std::fs::write(runtime.booted_path(), vec![b' '; len]).expect("planted");
        let error = Booted::read(&runtime).expect_err("too large");
        assert!(
            error.to_string().contains("more than 262144 bytes"),
            "{error}"
        );
    }
}
