// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a machine is sealed, every reason why it is not, and the last step to it
//! (docs/design/seal.md).
//!
//! Facts are gathered in one place, from the boot program's record, the firmware's variables and the
//! boot menus, and judged in another, without effects. None of it is evidence: root can change what
//! is read here. It keeps owners from taking a machine for sealed that is not.

mod certificate;
mod error;
mod firmware;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod good;
mod judge;
mod lists;
mod plan;
mod ways;

use std::io;
use std::path::Path;

use sealroot_format::limits::MAX_RECOVERY_BYTES;
use sealroot_format::sign::{Recovery, Unverified};

use crate::check::explain;
use crate::entry::{Boot, BootIo};
use crate::input;
use crate::mountinfo;

pub use certificate::{OWNER_PATH, Owner, Trusted};
pub use error::SealError;
pub use firmware::{FirmwareKeys, Keys, Verifies};
pub use good::{good_boots, remember_good_boot};
pub use judge::{Facts, Judgement, Migration, Reason, ReasonKind, judge, running_image};
pub use plan::{SealPlan, Sealed, challenge, plan_seal, seal};
pub use ways::{SealedImage, Way, WayKind, further_partitions, ways};

/// Reads a proof that root keys are held, of which nothing is verified.
pub fn read_proof(path: &Path) -> Result<Unverified<Recovery>, SealError> {
    let bytes = input::read(path, MAX_RECOVERY_BYTES).map_err(|source| SealError::Read {
        path: path.to_owned(),
        source,
    })?;
    Unverified::parse(&bytes).map_err(|source| SealError::Proof {
        path: path.to_owned(),
        source,
    })
}

/// Where the parts of an OS lie that are never mounted over by it.
const VERIFIED: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];

/// The image that the firmware names as started, read from the partition that it should be on;
/// `None` where none is named.
pub fn started<B: BootIo>(
    firmware: &FirmwareKeys,
    boot: &Boot<B>,
) -> Option<Result<SealedImage, String>> {
    let path = firmware.started.as_deref()?;
    Some(match boot.file(path) {
        Ok(Some(bytes)) => SealedImage::read(&bytes),
        Ok(None) => Err(format!("{path} is not in {}", boot.location().display())),
        Err(error) => Err(explain(&error)),
    })
}

/// What is mounted over the verified parts of the running system.
pub fn covered() -> io::Result<Vec<String>> {
    let covers = |point: &Path| VERIFIED.iter().any(|part| point.starts_with(part));
    let mounts = mountinfo::mounts()?;
    let covering = mounts.iter().filter(|mount| covers(&mount.point));
    let told =
        |mount: &mountinfo::Mount| format!("{} ({})", mount.point.display(), mount.filesystem);
    Ok(covering.map(told).collect())
}
