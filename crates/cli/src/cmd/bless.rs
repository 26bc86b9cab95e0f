// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot bless`

use std::io::{self, Write};

use clap::Args;
use sealroot::machine;
use serde::Serialize;

use crate::args::Common;
use crate::machine::BootArgs;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Declare the boot that runs good: its boot entry is no longer counted.
///
/// After `deploy --tries N` the boot loader starts a deployment N times and then gives it up, unless
/// it was blessed. The unit sealroot-bless.service does so once boot-complete.target is reached.
/// Where nothing is counted, nothing changes.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot bless")]
pub(crate) struct Bless {
    #[command(flatten)]
    boot: BootArgs,
}

#[derive(Serialize)]
struct BlessedReport {
    /// The entry that is good now.
    entry: String,
    /// Whether it was counted before.
    is_changed: bool,
    removed: Vec<String>,
}

impl Report for BlessedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.removed {
            writeln!(out, "removed the boot entry {entry}")?;
        }
        if self.is_changed {
            writeln!(out, "{} is good: it is no longer counted", self.entry)
        } else {
            writeln!(out, "{} is not counted: nothing to do", self.entry)
        }
    }
}

impl Bless {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let boot = self.boot.require_for_change(common)?;
        let blessed = {
            let progress = Progress::new(output);
            machine::bless(&store, &self.boot.runtime(), &boot, &progress)?
        };
        output.emit(&BlessedReport {
            entry: blessed.entry.to_string(),
            is_changed: blessed.is_changed,
            removed: blessed.removed.entries,
        })
    }
}
