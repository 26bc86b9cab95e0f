// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot says of itself to the TPM (`docs/design/rollback.md`, "Measured boot").

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    digest::{DIGEST_BYTES, Sha256Digest, VerityDigest},
    floor::Floor,
    policy::Mode,
    sign::ReleaseNumbers,
    text::{OrNone, Tagged},
};

/// The PCR that a boot extends, in the bank SHA-256.
pub const PCR: u32 = 15;

const VERSION: u32 = 1;

/// What the digest of an event begins with, so that it is one of nothing else.
const DOMAIN: &[u8] = b"sealroot.boot.v1\0";

/// What was booted, how, and above which floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootEvent<'e> {
    /// The pack.
    pub pack: VerityDigest,
    /// The text of its verified statement, where there was one.
    pub statement: Option<&'e str>,
    /// What is enforced.
    pub mode: Mode,
    /// Which release.
    pub release: ReleaseNumbers,
    /// The floor that it was held against.
    pub floor: Floor,
}

/// The text of the event.
impl fmt::Display for BootEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statement = self.statement.map(|text| Sha256::digest(text).into());
        let statement = statement.map(|bytes| Prefixed(Sha256Digest::from_bytes(bytes)));
        writeln!(f, "sealroot boot {VERSION}")?;
        writeln!(f, "pack {}", Tagged(&self.pack))?;
        writeln!(f, "statement {}", OrNone(statement.as_ref()))?;
        writeln!(f, "mode {}", self.mode)?;
        writeln!(f, "index {}", self.release.index)?;
        writeln!(f, "epoch {}", self.release.epoch)?;
        writeln!(f, "floor-epoch {}", self.floor.epoch)?;
        writeln!(f, "floor-index {}", self.floor.index)
    }
}

struct Prefixed(Sha256Digest);

impl fmt::Display for Prefixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// The bytes whose SHA-256 a PCR is extended with, for the text of an event.
pub fn preimage(event: &str) -> Vec<u8> {
    let len_bytes = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [DOMAIN, &len_bytes.to_le_bytes(), event.as_bytes()].concat()
}

/// The digest that a PCR is extended with, for the text of an event.
pub fn digest(event: &str) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(preimage(event)).into())
}

/// The value of a PCR of the bank SHA-256 that was `before`, after it was extended with `digest`.
pub fn extended(before: [u8; DIGEST_BYTES], digest: &Sha256Digest) -> Sha256Digest {
    let value = Sha256::new()
        .chain_update(before)
        .chain_update(digest.as_bytes());
    Sha256Digest::from_bytes(value.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_measured() {
        let event = BootEvent {
            pack: VerityDigest::from_bytes([0xfa; 32]),
            statement: Some("a statement\n"),
            mode: Mode::Sealed,
            release: ReleaseNumbers {
                index: 42,
                epoch: 3,
            },
            floor: Floor { epoch: 2, index: 1 },
        };
        let changes: [BootEvent<'_>; 7] = [
            BootEvent {
                statement: None,
                ..event.clone()
            },
            BootEvent {
                statement: Some("a statement"),
                ..event.clone()
            },
            BootEvent {
                mode: Mode::Verity,
                ..event.clone()
            },
            BootEvent {
                floor: Floor::default(),
                ..event.clone()
            },
            BootEvent {
                floor: Floor { epoch: 1, index: 2 },
                ..event.clone()
            },
            BootEvent {
                pack: VerityDigest::from_bytes([0xfb; 32]),
                ..event.clone()
            },
            BootEvent {
                release: ReleaseNumbers {
                    index: 3,
                    epoch: 42,
                },
                ..event.clone()
            },
        ];
        for other in changes {
            assert_ne!(digest(&other.to_string()), digest(&event.to_string()));
        }
        let page = include_str!("../../../docs/design/rollback.md");
        let lines = page.split_once("```text\n").expect("an example").1;
        let keys = |text: &str| -> Vec<String> {
            let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
            text.lines().map(key).collect()
        };
        let example = lines.split_once("```").expect("its end").0;
        assert_eq!(keys(example), keys(&event.to_string()));
    }

    #[test]
    fn a_pcr_is_extended_as_by_a_tpm() {
        // The SHA-256 of 64 zeros.
        assert_eq!(
            extended([0; 32], &Sha256Digest::from_bytes([0; 32])).to_hex(),
            "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"
        );
        let text = preimage("x\n");
        assert_eq!(text, b"sealroot.boot.v1\0\x02\0\0\0x\n");
    }
}
