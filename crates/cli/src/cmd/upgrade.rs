// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot upgrade`

use std::io::{self, Write};

use clap::Args;
use sealroot::seal::{FirmwareKeys, Verifies};
use sealroot_format::ErrorClass;
use serde::Serialize;

use crate::args::Common;
use crate::boot_entry::{DeployArgs, DeployedReport};
use crate::cmd::floor::FirmwareArgs;
use crate::cmd::pull::{Fetched, FromRemote, PullReport};
use crate::failure::Failure;
use crate::output::{Output, Report};

/// Fetch the newest release of a remote and boot it next.
///
/// As `pull` and then `deploy`: what runs now stays as the way back, and `rollback` goes there. A machine
/// that is started by a unified kernel image gets the new release's: it comes with the release, and is
/// taken only where Secure Boot verifies it.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot upgrade && reboot")]
pub(crate) struct Upgrade {
    #[command(flatten)]
    from: FromRemote,

    #[command(flatten)]
    how: DeployArgs,

    #[command(flatten)]
    firmware: FirmwareArgs,
}

/// What was fetched, and what was made of it.
#[derive(Serialize)]
struct UpgradeReport {
    pulled: PullReport,
    #[serde(flatten)]
    deployed: DeployedReport,
}

impl Report for UpgradeReport {
    /// What was fetched has been told a person when it was there.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.deployed.write_text(out)
    }
}

impl Upgrade {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_or_create_store(output)?;
        if self.from.names_image() {
            self.how.check_image()?;
        }
        let needs_image = self.how.needs_image(common)?;
        if needs_image || self.from.names_image() {
            self.check_verified()?;
        }
        let Fetched {
            statement,
            image,
            report: pulled,
        } = self.from.pull(common, &store, needs_image, output)?;
        if !output.is_json() {
            output.emit(&pulled)?;
        }
        let deployed = self.how.deploy(common, output, image, |store, keyset| {
            let (commit, stream) = (statement.commit, Some(&statement.stream));
            Ok(sealroot::release::verify_statement(
                store, keyset, commit, stream,
            )?)
        })?;
        output.emit(&UpgradeReport { pulled, deployed })
    }

    /// That the firmware will verify an image before it starts. Nobody else does: release keys do not
    /// sign images, and the channel's key only says which there is.
    fn check_verified(&self) -> anyhow::Result<()> {
        let firmware = FirmwareKeys::read(self.firmware.efivarfs());
        if firmware.verifies == Verifies::Images && !firmware.is_shim_off {
            return Ok(());
        }
        let message = "a unified kernel image of a remote is taken only where the firmware verifies it, and Secure \
                       Boot is not on";
        Err(Failure::new(ErrorClass::Untrusted, message)
            .hint(
                "turn Secure Boot on; or fetch the image with `sealroot pull --image default`, look at it with \
                 `sealroot uki show`, and give it to `sealroot deploy --uki`",
            )
            .into())
    }
}
