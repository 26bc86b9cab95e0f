// SPDX-License-Identifier: MIT OR Apache-2.0
//! UEFI firmware, for machines that boot from their disks as real ones do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::escaped;
use crate::disk::succeed;
use crate::need;

/// Takes what it finds on a disk.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// Has Secure Boot, and keeps its variables from the guest with the help of the machine.
const SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Whose keys they are does not matter.
const KEY_OWNER: &str = "a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8";

/// The firmware of one machine: its variables outlive reboots, in a file.
#[derive(Clone, Debug)]
pub struct Firmware {
    variables: PathBuf,
    verifies: Verifies,
}

/// What the firmware verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verifies {
    Nothing,
    Images,
}

/// Certificates in PEM for Secure Boot.
#[derive(Clone, Copy, Debug)]
pub struct EnrolledKeys<'k> {
    /// Whose key may change the others.
    pub platform: &'k Path,
    /// Whose key may change which images start.
    pub exchange: &'k Path,
    /// By which images are verified.
    pub images: &'k Path,
}

impl Firmware {
    /// Firmware as it leaves the factory, with its variables in a new file; `None` after
    /// [`need::missing`] has been told. What verifies the boot loader is no part of most tests.
    pub fn create(variables: &Path) -> Result<Option<Self>> {
        if !Path::new(CODE).exists() || !Path::new(VARIABLES).exists() {
            need::missing("the firmware OVMF");
            return Ok(None);
        }
        fs::copy(VARIABLES, variables).context("copying the firmware's variables")?;
        Ok(Some(Self {
            variables: variables.to_owned(),
            verifies: Verifies::Nothing,
        }))
    }

    /// Firmware that has Secure Boot and no keys yet: in setup mode; `None` after [`need::missing`]
    /// has been told.
    pub fn in_setup_mode(variables: &Path) -> Result<Option<Self>> {
        if !Path::new(SECURE_CODE).exists() || !Path::new(VARIABLES).exists() {
            need::missing("the firmware OVMF with Secure Boot");
            return Ok(None);
        }
        fs::copy(VARIABLES, variables).context("copying the firmware's variables")?;
        Ok(Some(Self {
            variables: variables.to_owned(),
            verifies: Verifies::Images,
        }))
    }

    /// Firmware with Secure Boot on and these keys enrolled; `None` after [`need::missing`] has been
    /// told.
    pub fn with_secure_boot(variables: &Path, keys: EnrolledKeys<'_>) -> Result<Option<Self>> {
        let (Some(enrol), Some(firmware)) =
            (need::tool("virt-fw-vars"), Self::in_setup_mode(variables)?)
        else {
            return Ok(None);
        };
        let mut command = Command::new(enrol);
        command
            .args(["--input", VARIABLES, "--output"])
            .arg(variables);
        for (option, certificate) in [
            ("--set-pk", keys.platform),
            ("--add-kek", keys.exchange),
            ("--add-db", keys.images),
        ] {
            command.args([option, KEY_OWNER]).arg(certificate);
        }
        succeed(command.arg("--secure-boot"))?;
        Ok(Some(firmware))
    }

    /// Turns Secure Boot off, as who sits in front of the machine may; the keys stay.
    pub fn turn_secure_boot_off(&self) -> Result<()> {
        let enrol = need::find_tool("virt-fw-vars").context("virt-fw-vars is missing")?;
        let mut command = Command::new(enrol);
        command.arg("--inplace").arg(&self.variables);
        succeed(command.args(["--set-false", "SecureBootEnable"])).map(drop)
    }

    /// A copy that shares no change with this one.
    pub fn copy_to(&self, variables: &Path) -> Result<Self> {
        fs::copy(&self.variables, variables).context("copying the firmware's variables")?;
        Ok(Self {
            variables: variables.to_owned(),
            verifies: self.verifies,
        })
    }

    /// The machine that it needs.
    pub(super) const fn machine(&self) -> &'static str {
        match self.verifies {
            Verifies::Nothing => "q35,accel=tcg",
            Verifies::Images => "q35,smm=on,accel=tcg",
        }
    }

    pub(super) fn add_to(&self, command: &mut Command) -> Result<()> {
        let variables = escaped(&self.variables)?;
        let code = match self.verifies {
            Verifies::Nothing => CODE,
            Verifies::Images => {
                command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
                // What sleeps in memory is no part of it, and this firmware does without.
                command.args(["-global", "ICH9-LPC.disable_s3=1"]);
                SECURE_CODE
            }
        };
        command.args([
            "-drive",
            &format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"),
        ]);
        command.args([
            "-drive",
            &format!("if=pflash,format=raw,unit=1,file={variables}"),
        ]);
        Ok(())
    }
}
