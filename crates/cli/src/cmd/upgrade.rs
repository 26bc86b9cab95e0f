// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot upgrade`

use clap::Args;

use crate::args::Common;
use crate::boot_entry::DeployArgs;
use crate::cmd::pull::FromRemote;
use crate::output::Output;

/// Fetch the newest release of a remote and boot it next.
///
/// As `pull` and then `deploy`: what runs now stays as the way back, and `rollback` goes there.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot upgrade && reboot")]
pub(crate) struct Upgrade {
    #[command(flatten)]
    from: FromRemote,

    #[command(flatten)]
    how: DeployArgs,
}

impl Upgrade {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_or_create_store()?;
        let (statement, report) = self.from.pull(&store, output)?;
        if !output.is_json() {
            output.emit(&report)?;
        }
        self.how.run(common, output, |store, keyset| {
            let (commit, stream) = (statement.commit, Some(&statement.stream));
            Ok(sealroot::release::verify_statement(
                store, keyset, commit, stream,
            )?)
        })
    }
}
