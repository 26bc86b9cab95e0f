// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot rollback`

use clap::Args;
use sealroot::machine;

use crate::args::Common;
use crate::boot_entry::EntryReport;
use crate::machine::BootArgs;
use crate::output::Output;
use crate::progress::Progress;

/// Boot next what booted before.
///
/// The newest boot entry of another deployment than the default becomes the default, with its own
/// kernel and arguments. What was the default stays and can be gone back to in the same way: so after an
/// interruption, see what `status` says is the default before this is run once more.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot rollback && reboot")]
pub(crate) struct Rollback {
    #[command(flatten)]
    boot: BootArgs,
}

impl Rollback {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let boot = self.boot.require_for_change(common)?;
        let added = {
            let progress = Progress::new(output);
            machine::rollback(&store, &self.boot.runtime(), &boot, &progress)?
        };
        output.emit(&EntryReport::new(&added, boot.loader()))
    }
}
