// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot floor raise`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sealroot::deploy;
use sealroot::floor::{self, Change, Firmware, Raised, UPDATE_PATH};
use sealroot::machine::{self, Booted, Runtime};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::policy::FloorOn;
use sealroot_format::sign::ReleaseNumbers;
use serde::Serialize;

use super::{FirmwareArgs, FloorReport};
use crate::args::Common;
use crate::failure::Failure;
use crate::machine::BootArgs;
use crate::output::{Output, Report};

pub(super) const EXAMPLE: &str = "\
Examples:
  sealroot floor raise
  sealroot floor raise --update floor.auth";

#[derive(Debug, Args)]
pub(crate) struct Raise {
    /// The update for the firmware [default: /usr/lib/sealroot/floor.auth, where it is there].
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,

    #[command(flatten)]
    firmware: FirmwareArgs,

    #[command(flatten)]
    boot: BootArgs,
}

/// What became of the floors.
#[derive(Serialize)]
pub(crate) struct RaiseReport {
    firmware: Option<ChangeReport<FloorReport>>,
    tpm_epoch: Option<ChangeReport<u64>>,
    /// Why a floor is not where it could be.
    left: Vec<String>,
}

#[derive(Serialize)]
struct ChangeReport<T> {
    before: T,
    after: T,
}

impl<T, R: From<T>> From<Change<T>> for ChangeReport<R> {
    fn from(change: Change<T>) -> Self {
        Self {
            before: change.before.into(),
            after: change.after.into(),
        }
    }
}

impl From<Raised> for RaiseReport {
    fn from(raised: Raised) -> Self {
        Self {
            firmware: raised.variable.map(ChangeReport::from),
            tpm_epoch: raised.counter.map(ChangeReport::from),
            left: raised.left,
        }
    }
}

impl Report for RaiseReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(ChangeReport { before, after }) = &self.firmware {
            writeln!(
                out,
                "floor in the firmware: epoch {}, index {} (before: epoch {}, index {})",
                after.epoch, after.index, before.epoch, before.index
            )?;
        }
        if let Some(ChangeReport { before, after }) = &self.tpm_epoch {
            writeln!(
                out,
                "floor in the TPM: epoch {after} (before: epoch {before})"
            )?;
        }
        self.left.iter().try_for_each(|why| writeln!(out, "{why}"))
    }
}

impl Raise {
    pub(super) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let runtime = self.boot.runtime();
        let update = self.update.as_deref();
        let kept = || {
            let store = common.open_store()?;
            kept(&store, &self.boot, common)
        };
        let raised = raise(&runtime, &self.firmware.firmware(), update, kept)?;
        let report = raised.ok_or_else(|| {
            let message = "the policy of this boot keeps no floor in the firmware or the TPM";
            Failure::new(ErrorClass::NotFound, message)
        })?;
        output.emit(&report)
    }
}

/// Raises the floors that the policy of this boot names; `None` if it names none.
pub(crate) fn raise_after_good_boot(
    store: &Store,
    boot: &BootArgs,
    firmware: &Firmware,
    common: &Common,
) -> anyhow::Result<Option<RaiseReport>> {
    raise(&boot.runtime(), firmware, None, || {
        kept(store, boot, common)
    })
}

fn raise(
    runtime: &Runtime,
    firmware: &Firmware,
    update: Option<&Path>,
    kept: impl FnOnce() -> anyhow::Result<Vec<ReleaseNumbers>>,
) -> anyhow::Result<Option<RaiseReport>> {
    let booted = Booted::read(runtime)?;
    let kept_floor = booted.and_then(|booted| booted.release.zip(booted.floor));
    let Some((running, policy)) = kept_floor.filter(|(_, policy)| !policy.store.is_empty()) else {
        return Ok(None);
    };
    let kept = match policy.on {
        FloorOn::Epoch => Vec::new(),
        FloorOn::Index => kept()?,
    };
    let goal = floor::goal(running, kept, policy.on);
    let update = match update {
        Some(path) => Some(floor::read_update(path)?),
        None if Path::new(UPDATE_PATH).exists() => Some(floor::read_update(UPDATE_PATH.as_ref())?),
        None => None,
    };
    let raised = floor::raise(policy.store, firmware, goal, update.as_ref())?;
    Ok(Some(raised.into()))
}

/// The releases of all deployments that an entry of ours boots.
fn kept(store: &Store, boot: &BootArgs, common: &Common) -> anyhow::Result<Vec<ReleaseNumbers>> {
    let place = boot.find(common)?;
    let Some(found) = place.found() else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    for name in machine::deployments_of_entries(found)? {
        let record = deploy::read_record(store, name)?;
        kept.push(ReleaseNumbers {
            index: record.index,
            epoch: record.epoch,
        });
    }
    Ok(kept)
}
