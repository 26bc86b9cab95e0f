// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot floor enrol`

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use sealroot::floor::{self, Counter};
use serde::Serialize;

use super::{FirmwareArgs, FloorReport};
use crate::output::{Output, Report};

pub(super) const EXAMPLE: &str = "\
Examples:
  sealroot floor enrol --update floor.auth
  sealroot floor enrol --tpm-base 64 --epoch 3";

#[derive(Debug, Args)]
#[group(id = "stores", required = true, multiple = true, args = ["update", "tpm_base"])]
pub(crate) struct Enrol {
    /// The update that makes the variable of the firmware.
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,

    /// What the counter of the TPM is to show at epoch 0: the tpm-base of the policy. It is made and
    /// counted up; one that is there is kept.
    #[arg(long, value_name = "N")]
    tpm_base: Option<u64>,

    /// The epoch that the counter begins with.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tpm_base")]
    epoch: u64,

    #[command(flatten)]
    firmware: FirmwareArgs,
}

#[derive(Serialize)]
struct EnrolledReport {
    /// What the variable says, where it was asked for.
    firmware: Option<FloorReport>,
    /// The epoch that the counter stands for, where it was asked for.
    tpm_epoch: Option<u64>,
    /// More than was asked for: the counters of this TPM are higher.
    is_higher: bool,
}

impl Report for EnrolledReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(FloorReport { epoch, index }) = self.firmware {
            writeln!(out, "firmware: epoch {epoch}, index {index}")?;
        }
        if let Some(epoch) = self.tpm_epoch {
            writeln!(out, "TPM: epoch {epoch}")?;
        }
        Ok(())
    }
}

impl Enrol {
    pub(super) fn run(&self, output: Output) -> anyhow::Result<()> {
        let update = self.update.as_deref().map(floor::read_update).transpose()?;
        let firmware = match update {
            None => None,
            Some(update) => {
                let firmware = self.firmware.firmware();
                if firmware.floor()? != Some(update.floor) {
                    firmware.write(&update)?;
                }
                firmware.floor()?.map(FloorReport::from)
            }
        };
        let tpm_epoch = match self.tpm_base {
            None => None,
            Some(base) => Some(Counter::open(base)?.enrol(self.epoch)?),
        };
        let is_higher = tpm_epoch.is_some_and(|epoch| epoch > self.epoch);
        if is_higher {
            output.warn(
                "the counters of this TPM are past what was asked for: releases below the epoch \
                 that is shown will not boot where a policy has this base; a higher base, in the \
                 policy too, is the way out",
            );
        }
        output.emit(&EnrolledReport {
            firmware,
            tpm_epoch,
            is_higher,
        })
    }
}
