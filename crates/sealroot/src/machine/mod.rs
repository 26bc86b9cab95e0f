// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of the machine: which deployments there are, what uses them, and what can go.
//!
//! There is no database. The state is what can be found: the deployments of the store and the flags
//! in them, what boots, what this boot's programs wrote under `/run/sealroot`, and what is mounted
//! (docs/design/machine.md).

mod boot;
mod booted;
mod choices;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod mark;
mod mounts;
mod others;
mod plan;
mod prune;
mod remove;
mod runtime;
mod scan;
mod stateroot;
mod writable;

pub(crate) use boot::running;
pub use boot::{
    Blessed, arguments, bless, change_arguments, deployments_of_entries, kept_entries,
    make_default, rollback,
};
pub use booted::{Booted, BootedFloor};
pub use choices::BootChoices;
pub use error::MachineError;
pub use mounts::{LiveMount, MountRecord, record_mount};
pub use others::entries_of_others;
pub use prune::{Pruned, Releases, Retention, plan_prune, prune};
pub use remove::{Undeployed, pin, undeploy, unpin};
pub use runtime::Runtime;
pub use scan::{Found, Scan, State, scan};
pub use stateroot::make_stateroot;
pub use writable::{filesystem_of, make_writable};
