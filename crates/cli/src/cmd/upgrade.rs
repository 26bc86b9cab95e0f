// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot upgrade`

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use crate::args::Common;
use crate::boot_entry::{DeployArgs, DeployedReport};
use crate::cmd::pull::{Fetched, FromRemote, PullReport};
use crate::output::{Output, Report};

/// Fetch the newest release of a remote and boot it next.
///
/// As `pull` and then `deploy`: what runs now stays as the way back, and `rollback` goes there. A machine
/// that is started by a unified kernel image gets the new release's: it comes with the release.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot upgrade && reboot")]
pub(crate) struct Upgrade {
    #[command(flatten)]
    from: FromRemote,

    #[command(flatten)]
    how: DeployArgs,
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
        let store = common.open_or_create_store()?;
        if self.from.names_image() {
            self.how.check_image()?;
        }
        let needs_image = self.how.needs_image(common)?;
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
}
