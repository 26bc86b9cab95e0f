// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot finalize`

use std::io::{self, Write};

use clap::Args;
use sealroot::activate;
use serde::Serialize;

use crate::args::Common;
use crate::boot_entry::{EntryReport, EtcReport, StagedDeployment};
use crate::machine::BootArgs;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Do what `deploy --stage` has left for the shutdown.
///
/// /etc is merged as it is now, and the staged deployment becomes what boots next. The unit
/// sealroot-finalize.service runs it when the machine goes down; and if the power was cut before,
/// at the next boot, so that no update is lost.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  sealroot finalize\n  sealroot finalize --left-over")]
pub(crate) struct Finalize {
    /// Only if it was staged before this boot: what a power cut has left.
    #[arg(long)]
    left_over: bool,

    #[command(flatten)]
    boot: BootArgs,
}

#[derive(Serialize)]
struct FinalizedReport {
    /// What was staged, if anything was.
    deployment: Option<String>,
    /// The boot entry that was made.
    entry: Option<EntryReport>,
    etc: Option<EtcReport>,
}

impl Report for FinalizedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(etc) = &self.etc {
            etc.write_text(out)?;
        }
        match (&self.entry, &self.deployment) {
            (Some(entry), _) => entry.write_text(out),
            (None, Some(name)) => writeln!(out, "{name} runs already: nothing is left to do"),
            (None, None) => writeln!(out, "nothing is staged"),
        }
    }
}

impl Finalize {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let mut report = FinalizedReport {
            deployment: None,
            entry: None,
            etc: None,
        };
        // Looked at first without the lock: nothing is written where nothing is to be done.
        let store = common.open_store()?;
        let Some((_, staged)) = activate::staged(&store)? else {
            return output.emit(&report);
        };
        if self.left_over && !staged.is_left_over()? {
            return output.emit(&report);
        }
        drop(store);
        let store = common.open_store_for_change()?;
        let boot = self.boot.require_for_change(common)?;
        {
            let progress = Progress::new(output);
            let transaction = store.begin(&progress)?;
            let Some((name, staged)) = activate::staged(&store)? else {
                return output.emit(&report);
            };
            report.deployment = Some(name.to_string());
            if !activate::forget_if_running(&transaction, &self.boot.runtime(), name)? {
                let found = (name, staged);
                let staged = StagedDeployment::find(common, &store, found, &boot, &self.boot)?;
                let (entry, etc) = staged.activate(common, &transaction)?;
                report.entry = Some(entry);
                report.etc = etc;
            }
            transaction.finish()?;
        }
        output.emit(&report)
    }
}
