// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/etc` from one release to the next (docs/design/etc.md).
//!
//! A release has a default `/etc` ([`default_of`]); a machine has changes to it ([`diff()`]). For a new
//! release the changes are merged with its default ([`plan()`]): OSTree's three-way rules, where
//! they hurt made better. [`merge()`] does it for a deployment of a store:
//!
//! * `old` is the default of the release that runs, `current` its `/etc` ([`read_own`] gives both; for
//!   another place, such as an OSTree deployment, [`EtcDirectory`] and [`default_of`]);
//! * `new` is the default of the release to come ([`default_in_pack`]);
//! * the result is `deploy/<name>/etc`, there whole or not at all.
//!
//! Where `/etc` is the release's at each boot, single files can be kept ([`keep()`]).

mod accounts;
mod compare;
mod current;
mod default;
mod diff;
mod error;
mod kept;
mod merge;
mod node;
mod plan;
mod reset;
mod write;

pub use accounts::MissingAccounts;
pub use compare::Aspect;
pub use current::{Current, EtcDirectory};
pub use default::default_of;
pub(crate) use default::part_of;
pub use diff::{Change, Difference, diff, has_changes_beyond};
pub use error::EtcError;
pub use kept::{forget, keep, read_kept, read_present};
pub use merge::{
    Merged, Source, check, default_in_pack, has_own, merge, open_own, path_of, read_own,
};
pub use plan::{Clash, ClashKind, Decision, MAX_DEPTH, Outcome, Plan, Sides, plan};
pub use reset::reset;
