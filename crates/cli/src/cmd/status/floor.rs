// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floor of this boot, and what the stores that its policy names say now.

use std::io::{self, Write};

use sealroot::floor::{Counter, Firmware};
use sealroot::machine::{Booted, BootedFloor};
use serde::Serialize;

use crate::failure::with_causes;
use crate::output::printable;

/// What releases are held against.
#[derive(Serialize)]
pub(super) struct FloorStatus {
    /// What this boot was held against.
    epoch: u64,
    index: u64,
    /// `epoch` or `index`.
    on: &'static str,
    /// Where it is kept besides the policy.
    stores: Vec<StoreStatus>,
}

#[derive(Serialize)]
struct StoreStatus {
    /// `efi` or `tpm`.
    store: &'static str,
    epoch: Option<u64>,
    /// Of the firmware's alone.
    index: Option<u64>,
    /// Why it cannot be read: the next boot is refused.
    problem: Option<String>,
}

impl FloorStatus {
    /// Of the boot that runs, if it says.
    pub(super) fn of(booted: &Booted, variables: &Firmware) -> Option<Self> {
        let BootedFloor { floor, on, store } = booted.floor?;
        let mut stores = Vec::new();
        if store.efi {
            stores.push(firmware(variables));
        }
        stores.extend(store.tpm.map(tpm));
        Some(Self {
            epoch: floor.epoch,
            index: floor.index,
            on: on.as_str(),
            stores,
        })
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "floor: epoch {}", self.epoch)?;
        if self.on == "index" {
            write!(out, ", index {}", self.index)?;
        }
        if self.stores.is_empty() {
            return writeln!(out, ", kept in the initramfs alone");
        }
        writeln!(out)?;
        for store in &self.stores {
            let place = if store.store == "efi" {
                "firmware"
            } else {
                "TPM"
            };
            let text = match (store.epoch, store.index, &store.problem) {
                (_, _, Some(problem)) => format!("NOT READABLE: {}", printable(problem)),
                (Some(epoch), Some(index), None) => format!("epoch {epoch}, index {index}"),
                (epoch, _, None) => format!("epoch {}", epoch.unwrap_or_default()),
            };
            writeln!(out, "  in the {place}: {text}")?;
        }
        Ok(())
    }
}

fn firmware(variables: &Firmware) -> StoreStatus {
    let floor = variables.floor();
    let problem = match &floor {
        Ok(Some(_)) => None,
        Ok(None) => Some("there is none".to_owned()),
        Err(error) => Some(with_causes(error)),
    };
    let floor = floor.ok().flatten();
    StoreStatus {
        store: "efi",
        epoch: floor.map(|floor| floor.epoch),
        index: floor.map(|floor| floor.index),
        problem,
    }
}

fn tpm(base: u64) -> StoreStatus {
    let epoch = Counter::open(base).and_then(|mut counter| counter.epoch());
    StoreStatus {
        store: "tpm",
        epoch: epoch.as_ref().ok().copied(),
        index: None,
        problem: epoch.as_ref().err().map(|error| with_causes(error)),
    }
}
