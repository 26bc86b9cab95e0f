// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root, or a battery, may do to the firmware's load options.

use std::fs;

use anyhow::{Context, Result};
use sealroot::boot_manager::{KernelVariables, Variables as _};
use sealroot_sys::efivar::EFIVARFS;

const ORDER: &str = "BootOrder";

fn variables() -> Result<KernelVariables> {
    KernelVariables::open(EFIVARFS.as_ref()).context("opening the firmware's variables")
}

/// Has the first load option give a text to what it starts, as a shell's command line.
pub(crate) fn slip_in(text: &str) -> Result<()> {
    let variables = variables()?;
    let order = variables.read(ORDER)?.context("no order")?;
    let first = order.first_chunk::<2>().context("an empty order")?;
    let name = format!("Boot{:04X}", u16::from_le_bytes(*first));
    let mut option = variables.read(&name)?.context("no load option")?;
    option.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    Ok(variables.write(&name, &option)?)
}

/// Loses all load options and their order.
pub(crate) fn lose() -> Result<()> {
    let variables = variables()?;
    for name in variables.names()? {
        if name.starts_with("Boot") && name != "BootCurrent" && name != "BootOptionSupport" {
            variables
                .remove(&name)
                .with_context(|| format!("removing {name}"))?;
        }
    }
    Ok(())
}

/// Prints the order, and how long each variable of the boot manager is.
pub(crate) fn show() -> Result<()> {
    let variables = variables()?;
    let mut names = variables.names()?;
    names.sort();
    for name in names.iter().filter(|name| name.starts_with("Boot")) {
        let content = variables.read(name)?.unwrap_or_default();
        println!("{name} {}", content.escape_ascii());
    }
    let boot = fs::read_dir("/mnt/esp/EFI/BOOT").map_or(0, Iterator::count);
    println!("fallbacks {boot}");
    Ok(())
}
