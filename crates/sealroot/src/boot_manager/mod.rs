// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's own boot manager: load options (`Boot####`), their order (`BootOrder`) and what
//! is started once (`BootNext`), UEFI specification 2.10, 3.1.
//!
//! What is promised here:
//!
//! * only load options that start a file below `sealroot/` of one partition are ever written or removed; of
//!   those of others, not even the order among them changes;
//! * each change is one write of one variable, which is read back;
//! * a load option is removed after `BootOrder` and `BootNext` name it no more, so firmware never
//!   comes by a number that is another's by then;
//! * what is right already is not written once more: the flash of firmware wears.

mod change;
mod device_path;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod load_option;
mod options;
mod partition;
mod variables;

use std::os::fd::AsFd;
use std::path::Path;

pub use error::BootManagerError;
pub use load_option::Malformed;
pub use options::{Options, OurOption, Stranger};
pub use partition::Partition;
pub use variables::{KernelVariables, Variables};

/// Where the kernel shows disks.
const SYS: &str = "/sys";
const DEV: &str = "/dev";

/// The boot manager, and the partition from which it starts what is ours.
#[derive(Debug)]
pub struct BootManager {
    variables: Box<dyn Variables>,
    partition: Partition,
}

impl BootManager {
    /// The boot manager behind these variables.
    pub fn new(variables: Box<dyn Variables>, partition: Partition) -> Self {
        Self {
            variables,
            partition,
        }
    }

    /// The one of this machine, by the efivarfs at `efivarfs`, for the filesystem at `path`.
    pub fn of_machine(
        efivarfs: &Path,
        filesystem: impl AsFd,
        path: &Path,
    ) -> Result<Self, BootManagerError> {
        let none = |source| BootManagerError::NoVariables {
            path: efivarfs.to_owned(),
            source,
        };
        let variables = KernelVariables::open(efivarfs).map_err(none)?;
        // A directory that nothing is mounted on has none.
        if variables.names().map_err(none)?.is_empty() {
            return Err(none(std::io::ErrorKind::NotFound.into()));
        }
        let partition = Partition::of(filesystem, Path::new(SYS), Path::new(DEV));
        let partition = partition.map_err(|source| BootManagerError::NoPartition {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::new(Box::new(variables), partition))
    }

    /// Where the variables are, for messages.
    pub fn location(&self) -> &Path {
        self.variables.location()
    }
}
