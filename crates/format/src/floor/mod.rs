// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floor that a machine keeps besides its policy: releases below it do not boot
//! (`docs/format/floor.md`, reasons in `docs/design/rollback.md`).
//!
//! A [`Floor`] is a text; in the firmware it is the content of an authenticated [`variable`], and
//! [`update`] is what the owner of the machines signs to raise it. In a TPM it is a counter, see
//! [`epoch_of_counter`]. Nothing here trusts its input.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod time;
pub mod update;
pub mod variable;

use std::fmt;

use crate::{
    ErrorClass, limits,
    sign::ReleaseNumbers,
    text::{self, Lines},
};

const VERSION: u32 = 1;

/// The lowest release that boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Floor {
    /// The lowest epoch: at most [`limits::MAX_FLOOR_EPOCH`].
    pub epoch: u64,
    /// The lowest index, where the policy has a floor on it: at most [`limits::MAX_FLOOR_INDEX`].
    pub index: u64,
}

impl Floor {
    /// A floor, if both numbers are within their limits.
    pub const fn new(epoch: u64, index: u64) -> Option<Self> {
        if epoch > limits::MAX_FLOOR_EPOCH || index > limits::MAX_FLOOR_INDEX {
            return None;
        }
        Some(Self { epoch, index })
    }

    /// Reads the text of a floor.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut lines = Lines::new("floor", bytes, limits::MAX_FLOOR_BYTES)?;
        lines.header("floor", VERSION)?;
        let up_to = |text, limit| text::number(text).filter(|number| *number <= limit);
        let floor = Self {
            epoch: (lines.field("epoch")?).parse("a number up to 1023", |text| {
                up_to(text, limits::MAX_FLOOR_EPOCH)
            })?,
            index: (lines.field("index")?).parse("a number up to 134217727", |text| {
                up_to(text, limits::MAX_FLOOR_INDEX)
            })?,
        };
        lines.end()?;
        Ok(floor)
    }

    /// Whether a release may boot as far as its epoch goes, and its index.
    pub const fn allows(&self, release: ReleaseNumbers) -> bool {
        release.epoch >= self.epoch && release.index >= self.index
    }

    /// The lowest release that both floors allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            epoch: self.epoch.max(other.epoch),
            index: self.index.max(other.index),
        }
    }
}

/// The canonical text.
impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sealroot floor {VERSION}")?;
        writeln!(f, "epoch {}", self.epoch)?;
        writeln!(f, "index {}", self.index)
    }
}

/// The epoch that a TPM's counter stands for, which stood at `base` when the floor was 0; `None`
/// below that, where no enrolled counter ever is.
pub const fn epoch_of_counter(counter: u64, base: u64) -> Option<u64> {
    counter.checked_sub(base)
}

/// Why a floor was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text breaks its grammar.
    #[error(transparent)]
    Text(#[from] text::Error),
    /// The variable is not one that only the owner's key can change.
    #[error("floor variable: attributes: expected {expected:#010x}, found {found:#010x}")]
    Attributes {
        /// Those of an authenticated variable.
        expected: u32,
        /// Those of this one.
        found: u32,
    },
    /// The bytes of a variable or an update are not what they should be.
    #[error("floor {what}: expected {expected}, found {found}")]
    Bytes {
        /// What was read.
        what: &'static str,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

impl Error {
    /// What kind of failure this is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Text(error) => error.class(),
            Self::Attributes { .. } => ErrorClass::Untrusted,
            Self::Bytes { .. } => ErrorClass::Corrupt,
        }
    }
}
