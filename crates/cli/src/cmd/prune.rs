// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot prune`

use std::io::{self, Write};

use clap::Args;
use sealroot::machine::{self, BootChoices, Pruned, Releases, Retention};
use serde::Serialize;

use crate::args::Common;
use crate::machine::BootArgs;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Collect what nothing uses: deployments, releases, packs and objects.
///
/// Kept is what runs, what a boot entry names, what is pinned, staged or mounted, and all that
/// their packs name. The rest is put aside, and deleted by the next run: so nothing is lost at
/// once, and space is free after the second run. Interrupted at any point, the next run goes on.
///
/// A release goes with the last of its deployments. One that was never deployed stays. Where no
/// boot entry names a deployment it is not known what boots: then no deployment is removed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Prune {
    /// Keep that many of the newest deployments that nothing uses.
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep: usize,

    /// Collect releases that were never deployed too.
    #[arg(long)]
    releases: bool,

    /// Only say what would be put aside.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    boot: BootArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot prune --dry-run
  sealroot prune && sealroot prune                # frees the space at once
  sealroot prune --keep 2
  sealroot --store ./store prune --releases";

#[derive(Serialize)]
struct PrunedReport {
    is_dry_run: bool,
    deployments: Vec<String>,
    /// Why no deployment was removed.
    deployments_kept_because: Option<String>,
    statements: Vec<String>,
    packs: Vec<String>,
    objects: u64,
    objects_linked_elsewhere: u64,
    /// What the next run will free.
    aside_bytes: u64,
    /// What this run has freed.
    freed_bytes: u64,
    freed_files: u64,
}

impl PrunedReport {
    fn new(pruned: &Pruned, is_dry_run: bool, reason: Option<&str>) -> Self {
        let unknown = || reason.unwrap_or("no boot entry names one").to_owned();
        Self {
            is_dry_run,
            deployments: pruned.deployments.iter().map(ToString::to_string).collect(),
            deployments_kept_because: pruned.is_boot_unknown.then(unknown),
            statements: (pruned.statements.iter())
                .map(|(commit, stream)| format!("{commit}.{stream}"))
                .collect(),
            packs: pruned.packs.iter().map(ToString::to_string).collect(),
            objects: pruned.objects,
            objects_linked_elsewhere: pruned.linked_elsewhere,
            aside_bytes: pruned.aside_bytes,
            freed_bytes: pruned.emptied.freed_bytes,
            freed_files: pruned.emptied.files,
        }
    }

    const fn is_nothing(&self) -> bool {
        self.deployments.is_empty()
            && self.statements.is_empty()
            && self.packs.is_empty()
            && self.objects == 0
    }
}

impl Report for PrunedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.freed_files > 0 {
            writeln!(
                out,
                "freed {}, in {} that an earlier run had put aside",
                counted(self.freed_bytes, "byte"),
                counted(self.freed_files, "file")
            )?;
        }
        if let Some(reason) = &self.deployments_kept_because {
            writeln!(
                out,
                "no deployment was removed: which of them boot is not known ({reason})"
            )?;
        }
        if self.is_nothing() {
            return writeln!(out, "nothing to put aside");
        }
        let verb = if self.is_dry_run {
            "would put aside"
        } else {
            "put aside"
        };
        writeln!(
            out,
            "{verb} {}, {}, {}, {}",
            counted(self.deployments.len() as u64, "deployment"),
            counted(self.statements.len() as u64, "statement"),
            counted(self.packs.len() as u64, "pack"),
            counted(self.objects, "object")
        )?;
        for deployment in &self.deployments {
            writeln!(out, "  {deployment}")?;
        }
        write!(
            out,
            "their objects take {}, free after the next `prune`",
            counted(self.aside_bytes, "byte")
        )?;
        match self.objects_linked_elsewhere {
            0 => writeln!(out),
            count => writeln!(
                out,
                "; {} elsewhere too and not counted",
                match count {
                    1 => "1 object is linked".to_owned(),
                    count => format!("{count} objects are linked"),
                }
            ),
        }
    }
}

impl Prune {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let place = self.boot.find_for_change(common)?;
        let runtime = self.boot.runtime();
        let choices = || BootChoices::of(place.found());
        let retention = Retention {
            keep: self.keep,
            releases: if self.releases {
                Releases::None
            } else {
                Releases::OfDeployments
            },
        };
        let pruned = if self.dry_run {
            machine::plan_prune(&store, &runtime, &choices, retention)?
        } else {
            let progress = Progress::new(output);
            machine::prune(&store, &runtime, &choices, retention, &progress)?
        };
        output.emit(&PrunedReport::new(&pruned, self.dry_run, place.reason()))
    }
}
