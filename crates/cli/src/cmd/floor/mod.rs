// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot floor`

mod enrol;
mod raise;
mod sign;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sealroot::floor::Firmware;
use sealroot_format::floor::Floor;
use sealroot_sys::efivar::EFIVARFS;
use serde::Serialize;

use crate::args::Common;
use crate::output::Output;

pub(crate) use raise::{RaiseReport, raise_after_good_boot};

/// Keep older releases from booting: floors in the firmware and in the TPM.
#[derive(Debug, Subcommand)]
pub(crate) enum FloorCommand {
    /// Sign an update that raises the floor in the firmware.
    ///
    /// Made by the owner of the machines, anywhere, with a key of his own. The first update that a
    /// machine gets decides which key that is. Shipped in a release as /usr/lib/sealroot/floor.auth
    /// it is written by `bless`. Needs the openssl command.
    #[command(after_long_help = sign::EXAMPLE)]
    Sign(sign::Sign),
    /// Make the floors of this machine, before an image whose policy names them boots here.
    #[command(after_long_help = enrol::EXAMPLE)]
    Enrol(enrol::Enrol),
    /// Raise the floors that the policy of this boot names, as `bless` does.
    ///
    /// At most to the release that runs. A floor never falls.
    #[command(after_long_help = raise::EXAMPLE)]
    Raise(raise::Raise),
}

impl FloorCommand {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Sign(sign) => sign.run(output),
            Self::Enrol(enrol) => enrol.run(output),
            Self::Raise(raise) => raise.run(common, output),
        }
    }
}

/// Where the firmware's variables are.
#[derive(Clone, Debug, Args)]
pub(crate) struct FirmwareArgs {
    /// Where efivarfs is mounted.
    #[arg(long, value_name = "DIR", default_value = EFIVARFS)]
    efivarfs: PathBuf,
}

impl FirmwareArgs {
    pub(crate) fn firmware(&self) -> Firmware {
        Firmware::new(&self.efivarfs)
    }

    /// Whether it is said to be elsewhere than usual.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.efivarfs != Path::new(EFIVARFS)
    }

    pub(crate) fn efivarfs(&self) -> &Path {
        &self.efivarfs
    }
}

/// A floor in a report.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct FloorReport {
    pub(crate) epoch: u64,
    pub(crate) index: u64,
}

impl From<Floor> for FloorReport {
    fn from(floor: Floor) -> Self {
        Self {
            epoch: floor.epoch,
            index: floor.index,
        }
    }
}
