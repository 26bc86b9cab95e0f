// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot undeploy`

use std::io::{self, Write};

use clap::Args;
use sealroot::machine::{self, BootChoices};
use serde::Serialize;

use crate::args::Common;
use crate::machine::{BootArgs, BootPlace, DeploymentChoice, check_no_entries};
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Remove a deployment and its boot entries.
///
/// Refused, with nothing changed, while the deployment runs, is what boots next, is pinned, staged or
/// mounted, or a boot entry that is not sealroot's boots it.
///
/// It is put aside at once; its release and what only that needs are collected by `prune`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Undeploy {
    /// The deployment, <commit>.<serial>; the first digits of the commit do.
    #[arg(value_name = "DEPLOYMENT")]
    deployment: DeploymentChoice,

    #[command(flatten)]
    boot: BootArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot undeploy 3f2a.0
  sealroot undeploy COMMIT.0 && sealroot prune";

#[derive(Serialize)]
struct UndeployedReport {
    deployment: String,
    /// Files of the boot entries that were removed.
    entries: Vec<String>,
    /// The deployment that boots next, as before; `null` if none of sealroot's does.
    boots_next: Option<String>,
}

impl Report for UndeployedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.entries {
            writeln!(out, "removed the boot entry {entry}")?;
        }
        writeln!(
            out,
            "{} is no longer deployed; `sealroot prune` collects what only it needed",
            self.deployment
        )?;
        match &self.boots_next {
            Some(name) => writeln!(out, "{name} boots next, as before"),
            None => Ok(()),
        }
    }
}

impl Undeploy {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let name = self.deployment.find(&store)?;
        let place = self.boot.find_for_change(common)?;
        if let (BootPlace::None(reason), None) = (&place, &common.store) {
            check_no_entries(&common.physical_root(), &name.to_string(), reason)?;
        }
        let runtime = self.boot.runtime();
        let undeployed = {
            let progress = Progress::new(output);
            machine::undeploy(&store, &runtime, place.found(), &name, &progress)?
        };
        let boots_next = BootChoices::of(place.found())?.default;
        output.emit(&UndeployedReport {
            deployment: name.to_string(),
            entries: undeployed.entries,
            boots_next: boots_next.map(|name| name.to_string()),
        })
    }
}
