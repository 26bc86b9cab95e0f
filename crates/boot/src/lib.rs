// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initramfs program: verifies a release, mounts it and hands the machine over to it
//! (`docs/design/boot.md`).
//!
//! [`plan()`] decides, from the policy in the initramfs and what the machine says about itself,
//! without effects; the rest carries it out as PID 1. Every failure is a [`Refusal`], said in one
//! line, and ends the boot.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::os::fd::{BorrowedFd, OwnedFd};

use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::Layer;
use sealroot_format::sign::ReleaseNumbers;

mod boot;
mod console;
mod device;
mod facts;
mod floor;
mod hash;
mod kept;
mod keyring;
mod layer;
mod measure;
mod modules;
mod objects;
mod overlay;
mod pack;
mod plan;
mod refusal;
mod release;
mod repair;
mod report;
mod root;
mod state;
mod switch;
mod sysroot;
mod system;

#[cfg(feature = "fuzz")]
pub use device::fuzz;
pub use facts::{Facts, FirmwareState};
pub use overlay::Enforcement;
pub use plan::{BootPlan, Choice, EtcPlan, plan};
pub use refusal::{Code, Refusal};
pub use system::is_initramfs;

/// Opens and authenticates one pack of a directory, and mounts or unpacks it, as a boot does,
/// detached: for tests that change the directory meanwhile.
pub fn mount_pack(
    plan: &BootPlan,
    packs: BorrowedFd<'_>,
    pack: VerityDigest,
) -> Result<OwnedFd, Refusal> {
    let release = release::Release {
        pack,
        // No floor is asked for here.
        numbers: ReleaseNumbers { index: 0, epoch: 0 },
        deployment: None,
        stated: None,
    };
    let pack = pack::open(plan, &release, packs)?;
    match plan.layer {
        Layer::Erofs => layer::mount_detached(&pack),
        Layer::Tmpfs(_) => layer::unpack_into_tmpfs(&pack, plan.memory_limit_bytes, None)?.detach(),
    }
}

/// Verifies and mounts the release at `/sysroot`, for the init of an initramfs that another has
/// made and that will switch to it. Powers the machine off where it refuses.
pub fn run_for_another() {
    console::stop_on_panic();
    if let Err(refusal) = boot::mount_for_another() {
        console::stop(&refusal);
    }
}

/// Boots the machine, or repairs its store where the initramfs is for that. To be called by the program
/// that is PID 1 in an initramfs, and by no other: it mounts over `/dev`, and powers the machine off
/// where it refuses.
pub fn run() -> ! {
    console::stop_on_panic();
    let refusal = if repair::is_meant() {
        repair::repair()
    } else {
        boot::boot()
    };
    console::stop(&refusal)
}
