// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes what boots on a real boot partition, many times, for a host that watches every write.

use std::path::Path;

use anyhow::Result;
use sealroot::entry::{Boot, Content, Loader, NewEntry, OurEntry, Starts};
use sealroot::monitor::Silent;
use sealroot_format::digest::CommitId;
use sealroot_format::policy::DeploymentName;
use sealroot_testkit::content;

/// Adds entries with new kernels, in place of older ones; some are tried and blessed, some are
/// made the default again, some get other arguments.
pub(crate) fn change(directory: &str, loader: &str, changes: u32) -> Result<()> {
    let loader = match loader {
        "systemd-boot" => Loader::SystemdBoot,
        _ => Loader::Grub,
    };
    let boot = Boot::open(Path::new(directory), loader)?;
    for number in 0..changes {
        match number % 4 {
            3 => again(&boot, number)?,
            _ => add(&boot, number)?,
        }
        let entries = boot.entries()?;
        let default = entries.default_entry().map(|entry| &*entry.file_name);
        println!("{number} {}", default.unwrap_or("-"));
    }
    Ok(())
}

fn deployment(number: u32) -> Result<DeploymentName> {
    Ok(DeploymentName {
        commit: CommitId::from_bytes([u8::try_from(number % 251)?; 32]),
        serial: number,
    })
}

fn add(boot: &Boot, number: u32) -> Result<()> {
    let tries = (boot.loader().counts_tries() && number % 4 == 2).then_some(3);
    let seed = u64::from(number);
    let linux = content::bytes(seed, 20_000 + usize::try_from(number)? * 1000);
    let initrd = content::bytes(seed + 1000, 40_000);
    let new = NewEntry {
        deployment: deployment(number)?,
        title: format!("Change {number}"),
        content: Content::Kernel {
            arguments: "quiet rw".parse()?,
            linux: &linux,
            initrd: &initrd,
        },
        tries,
    };
    // The one before stays, as the rollback.
    let newest = boot
        .entries()?
        .ours()
        .map(|(_, ours)| ours.id.generation)
        .max();
    let keep = |ours: &OurEntry| Some(ours.id.generation) == newest;
    let added = boot.add(&new, &keep, &Silent)?;
    if tries.is_some() {
        boot.bless(&added.entry.id, &Silent)?;
    }
    Ok(())
}

/// A rollback, or the default with other arguments.
fn again(boot: &Boot, number: u32) -> Result<()> {
    let entries = boot.entries()?;
    let entry = match number % 8 {
        3 => entries.rollback_entry(),
        _ => entries.default_entry(),
    };
    if let Some(ours) = entry.and_then(|entry| entry.ours()) {
        let mut new = NewEntry::again(ours);
        if let Content::Present {
            starts: Starts::Kernel(arguments),
            ..
        } = &mut new.content
        {
            arguments.append(&format!("change={number}"))?;
        }
        boot.add(&new, &|_| true, &Silent)?;
    }
    Ok(())
}
