// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot pin` and `sealroot unpin`

use std::io::{self, Write};

use clap::Args;
use sealroot::machine;
use sealroot::monitor::Silent;
use serde::Serialize;

use crate::args::Common;
use crate::machine::DeploymentChoice;
use crate::output::{Output, Report};

/// Keep a deployment, whatever else is collected.
///
/// A pinned deployment stays until it is unpinned, also when no boot entry names it any more.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot pin 3f2a.0")]
pub(crate) struct Pin {
    /// The deployment, <commit>.<serial>; the first digits of the commit do.
    #[arg(value_name = "DEPLOYMENT")]
    deployment: DeploymentChoice,
}

/// Let a pinned deployment go when nothing else uses it.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot unpin 3f2a.0 && sealroot prune")]
pub(crate) struct Unpin {
    /// The deployment, <commit>.<serial>; the first digits of the commit do.
    #[arg(value_name = "DEPLOYMENT")]
    deployment: DeploymentChoice,
}

#[derive(Serialize)]
struct PinReport {
    deployment: String,
    is_pinned: bool,
    is_changed: bool,
}

impl Report for PinReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = match (self.is_pinned, self.is_changed) {
            (true, true) => "is pinned now",
            (true, false) => "was pinned already",
            (false, true) => "is no longer pinned",
            (false, false) => "was not pinned",
        };
        writeln!(out, "{} {state}", self.deployment)
    }
}

impl Pin {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let name = self.deployment.find(&store)?;
        let is_changed = machine::pin(&store, &name, &Silent)?;
        output.emit(&PinReport {
            deployment: name.to_string(),
            is_pinned: true,
            is_changed,
        })
    }
}

impl Unpin {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let name = self.deployment.find(&store)?;
        let is_changed = machine::unpin(&store, &name, &Silent)?;
        output.emit(&PinReport {
            deployment: name.to_string(),
            is_pinned: false,
            is_changed,
        })
    }
}
