// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/etc` from one release to the next (docs/design/etc.md).
//!
//! A release has a default `/etc` ([`default_of`]); a machine has changes to it ([`diff`]). For a new
//! release the changes are merged with its default ([`plan()`]): OSTree's three-way rules, where
//! they hurt made better.

mod compare;
mod default;
mod diff;
mod error;
mod node;
mod plan;

pub use compare::Aspect;
pub use default::default_of;
pub use diff::{Change, Difference, diff};
pub use error::EtcError;
pub use plan::{Clash, ClashKind, Decision, MAX_DEPTH, Outcome, Plan, Sides, plan};
