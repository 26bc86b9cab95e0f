// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which floor a policy wants kept, and where (`docs/design/rollback.md`).

use std::fmt;

use super::{Error, Policy};
use crate::{
    floor::Floor,
    text::{self, Lines, NONE, OrNone},
};

/// Which number of a release the floor is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FloorOn {
    /// The epoch alone: among releases of one epoch any may be gone back to.
    #[default]
    Epoch,
    /// The index too.
    Index,
}

impl FloorOn {
    const EXPECTED: &str = "epoch or index";

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Index => "index",
        }
    }

    fn accept(text: &str) -> Option<Self> {
        [Self::Epoch, Self::Index]
            .into_iter()
            .find(|on| on.as_str() == text)
    }

    /// What of a stored floor counts.
    #[must_use]
    pub const fn of(self, floor: Floor) -> Floor {
        match self {
            Self::Epoch => Floor {
                epoch: floor.epoch,
                index: 0,
            },
            Self::Index => floor,
        }
    }
}

/// Where a machine keeps a floor besides its policy. Each store named must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FloorStore {
    /// The variable of the firmware.
    pub efi: bool,
    /// The counter of the TPM, which shows this number at epoch 0.
    pub tpm: Option<u64>,
}

impl FloorStore {
    const EXPECTED: &str = "efi, tpm, both as efi,tpm, or -";

    /// Whether the machine keeps none.
    pub const fn is_empty(&self) -> bool {
        !self.efi && self.tpm.is_none()
    }

    pub(super) fn parse(lines: &mut Lines<'_>) -> Result<Self, Error> {
        let named = |text: &str| match text {
            NONE => Some((false, false)),
            "efi" => Some((true, false)),
            "tpm" => Some((false, true)),
            "efi,tpm" => Some((true, true)),
            _ => None,
        };
        let (efi, has_tpm) = lines.field("floor-store")?.parse(Self::EXPECTED, named)?;
        let tpm = (lines.field("tpm-base")?).optional(text::NUMBER, text::number)?;
        if has_tpm == tpm.is_some() {
            return Ok(Self { efi, tpm });
        }
        // policy.md P16
        Err(Error::Contradiction {
            fields: "floor-store and tpm-base",
            reason: "a counter has a base, and nothing else has one",
        })
    }
}

impl fmt::Display for FloorStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.efi, self.tpm) {
            (false, None) => NONE,
            (true, None) => "efi",
            (false, Some(_)) => "tpm",
            (true, Some(_)) => "efi,tpm",
        })
    }
}

pub(super) fn parse_on(lines: &mut Lines<'_>) -> Result<FloorOn, Error> {
    Ok((lines.field("floor-on")?).parse(FloorOn::EXPECTED, FloorOn::accept)?)
}

/// policy.md P17: an index is kept where one fits.
pub(super) fn check(policy: &Policy) -> Result<(), Error> {
    if policy.floor_on == FloorOn::Index && !policy.floor_store.efi {
        return Err(Error::Contradiction {
            fields: "floor-on and floor-store",
            reason: "a floor on the index is kept in the firmware, and the policy does not name it",
        });
    }
    Ok(())
}

pub(super) fn write(policy: &Policy, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "floor-on {}", policy.floor_on.as_str())?;
    writeln!(f, "floor-store {}", policy.floor_store)?;
    writeln!(f, "tpm-base {}", OrNone(policy.floor_store.tpm.as_ref()))
}
