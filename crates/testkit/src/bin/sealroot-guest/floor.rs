// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root may do to the floors of a machine.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use sealroot_sys::efivar::EFIVARFS;
use sealroot_sys::tpm::Tpm;

/// Mounts the firmware's variables.
pub(crate) fn mount_variables() -> Result<()> {
    mount("efivarfs", EFIVARFS, "efivarfs", MountFlags::empty(), None)
        .context("mounting the firmware's variables")
}

/// Destroys the counter in the TPM, or puts one in its place that was never counted up.
pub(crate) fn destroy_counter(is_replaced: bool) -> Result<()> {
    let mut tpm = Tpm::open()?.context("no TPM")?;
    tpm.undefine_floor_counter()?;
    if is_replaced {
        tpm.define_floor_counter()?;
    }
    Ok(())
}

/// Runs a command that must fail, and says what it said.
pub(crate) fn refused(command: &[&str]) -> Result<()> {
    let (program, arguments) = command.split_first().context("a command")?;
    let done = Command::new(program).args(arguments).output()?;
    ensure!(!done.status.success(), "{command:?} did not fail");
    print!("{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
