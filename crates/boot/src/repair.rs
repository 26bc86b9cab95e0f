// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repair instead of a boot, where the initramfs carries the tool for it (`docs/design/repair.md`):
//! nothing of the disk is started, and no release is booted.

use std::ffi::OsString;
use std::fs;

use rustix::mount::MountFlags;
use sealroot_format::ErrorClass;
use sealroot_format::policy::{KEYSET_PATH, REPAIR_TOOL_PATH};
use sealroot_sys::process;

use crate::boot::{Prepared, prepare};
use crate::console::{restart, say};
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::{device, root, system};

/// What keeps power from everything on the root filesystem, as [`root::POWERLESS`] does, but lets the
/// tool write.
const WRITABLE: MountFlags = MountFlags::NODEV
    .union(MountFlags::NOSUID)
    .union(MountFlags::NOEXEC);

/// Whether this initramfs is for repairs.
pub(crate) fn is_meant() -> bool {
    fs::symlink_metadata(format!("/{REPAIR_TOOL_PATH}")).is_ok()
}

/// Repairs the store, and starts the machine anew where something was repaired. Gives back why not.
pub(crate) fn repair() -> Refusal {
    let repaired = system::mount_kernel_filesystems().and_then(|()| look_and_mend());
    match repaired {
        Ok(()) => restart("everything that was damaged is repaired"),
        Err(refusal) => refusal,
    }
}

/// Nothing is written before something was found damaged.
fn look_and_mend() -> Result<(), Refusal> {
    // Its command line and Secure Boot have been judged; which release would boot does not matter.
    let Prepared { plan, .. } = prepare()?;
    let device = device::find(&plan.root)?;
    let _physical = root::mount(&device)?;
    say("looking for damage, block by block: this takes a while");
    if !is_damaged(&["--dry-run"])? {
        return Err(refusal("something to repair", "no damage"));
    }
    let place = root::PLACE;
    let writable = rustix::mount::mount_remount(place, WRITABLE, c"");
    writable.or_refuse(Code::Repair, root::STORE, "to be made writable")?;
    let is_left = is_damaged(&[])?;
    rustix::fs::sync();
    if is_left {
        let expected = "a right copy on this disk of all that is damaged";
        return Err(refusal(expected, "none of what is named above"));
    }
    Ok(())
}

/// Runs the tool over the store, with the keyset of the initramfs and what the disk itself has; whether
/// it says that something is damaged. It speaks on the console.
fn is_damaged(options: &[&str]) -> Result<bool, Refusal> {
    let program = OsString::from(format!("/{REPAIR_TOOL_PATH}"));
    let keyset = format!("/{KEYSET_PATH}");
    let sysroot = ["sealroot", "--sysroot", root::PLACE, "--keyset", &keyset];
    let command = ["repair", "--full", "--offline"];
    let arguments = sysroot.iter().chain(&command).chain(options);
    let arguments: Vec<_> = arguments.map(OsString::from).collect();
    let ended = process::run(&program, &arguments, &[]);
    let ended = ended.or_refuse(Code::Repair, REPAIR_TOOL_PATH, "to run")?;
    match ended.exit_status() {
        Some(0) => Ok(false),
        Some(code) if code == i32::from(ErrorClass::Corrupt.exit_code()) => Ok(true),
        _ => {
            let expected = "to find out what is damaged";
            let found = format!("{ended:?}");
            Err(Refusal::new(
                Code::Repair,
                REPAIR_TOOL_PATH,
                expected,
                found,
            ))
        }
    }
}

fn refusal(expected: &str, found: &str) -> Refusal {
    Refusal::new(Code::Repair, root::STORE, expected, found)
}
