// SPDX-License-Identifier: MIT OR Apache-2.0
//! UEFI firmware, for machines that boot from their disks as real ones do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::escaped;
use crate::need;

/// Without Secure Boot: what verifies the boot loader is no part of the tests.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The firmware of one machine: its variables outlive reboots, in a file.
#[derive(Clone, Debug)]
pub struct Firmware {
    variables: PathBuf,
}

impl Firmware {
    /// Firmware as it leaves the factory, with its variables in a new file; `None` after
    /// [`need::missing`] has been told.
    pub fn create(variables: &Path) -> Result<Option<Self>> {
        if !Path::new(CODE).exists() || !Path::new(VARIABLES).exists() {
            need::missing("the firmware OVMF");
            return Ok(None);
        }
        fs::copy(VARIABLES, variables).context("copying the firmware's variables")?;
        Ok(Some(Self {
            variables: variables.to_owned(),
        }))
    }

    /// A copy that shares no change with this one.
    pub fn copy_to(&self, variables: &Path) -> Result<Self> {
        fs::copy(&self.variables, variables).context("copying the firmware's variables")?;
        Ok(Self {
            variables: variables.to_owned(),
        })
    }

    pub(super) fn add_to(&self, command: &mut Command) -> Result<()> {
        let variables = escaped(&self.variables)?;
        command.args([
            "-drive",
            &format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}"),
        ]);
        command.args([
            "-drive",
            &format!("if=pflash,format=raw,unit=1,file={variables}"),
        ]);
        Ok(())
    }
}
