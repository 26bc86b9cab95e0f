// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot bless`

use std::io::{self, Write};

use clap::Args;
use sealroot::activate::this_boot;
use sealroot::machine::{self, Blessed};
use sealroot::seal;
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use serde::Serialize;

use crate::args::Common;
use crate::cmd::floor::{FirmwareArgs, RaiseReport, raise_after_good_boot};
use crate::failure::class_of;
use crate::machine::BootArgs;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Declare the boot that runs good: its boot entry is no longer counted, and floors rise.
///
/// After `deploy --tries N` the boot loader starts a deployment N times and then gives it up, unless
/// it was blessed. The unit sealroot-bless.service does so once boot-complete.target is reached.
/// Where nothing is counted, nothing changes there.
///
/// A boot that is sealed is remembered with its deployment: `seal` wants two of them.
///
/// Where the policy of this boot keeps a floor in the firmware or in the TPM, it is raised as `floor
/// raise` does.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot bless")]
pub(crate) struct Bless {
    #[command(flatten)]
    boot: BootArgs,

    #[command(flatten)]
    firmware: FirmwareArgs,
}

#[derive(Serialize)]
struct BlessedReport {
    /// The entry that is good now; null where only floors are kept, and no entries of ours.
    entry: Option<String>,
    /// Whether it was counted before.
    is_changed: bool,
    removed: Vec<String>,
    /// What became of the floors, where the policy of this boot names any.
    floor: Option<RaiseReport>,
    /// How many good sealed boots of this deployment are remembered, if this is one.
    sealed_boots: Option<usize>,
}

impl Report for BlessedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.removed {
            writeln!(out, "removed the boot entry {entry}")?;
        }
        match (&self.entry, self.is_changed) {
            (Some(entry), true) => writeln!(out, "{entry} is good: it is no longer counted")?,
            (Some(entry), false) => writeln!(out, "{entry} is not counted: nothing to do")?,
            (None, _) => {}
        }
        if let Some(boots) = self.sealed_boots {
            writeln!(out, "good sealed boots of this deployment: {boots}")?;
        }
        match &self.floor {
            Some(floor) => floor.write_text(out),
            None => Ok(()),
        }
    }
}

impl Bless {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let blessed = self.bless(common, &store, output);
        let sealed_boots = if blessed.is_ok() {
            self.remember(common, &store, output)?
        } else {
            None
        };
        let firmware = self.firmware.firmware();
        let floor = raise_after_good_boot(&store, &self.boot, &firmware, common)?;
        let blessed = match blessed {
            // An image that the firmware starts has no entry, and a floor all the same.
            Err(error) if floor.is_some() && class_of(&error) == ErrorClass::NotFound => None,
            blessed => Some(blessed?),
        };
        output.emit(&BlessedReport {
            entry: blessed.as_ref().map(|blessed| blessed.entry.to_string()),
            is_changed: blessed.as_ref().is_some_and(|blessed| blessed.is_changed),
            removed: blessed.map_or_else(Vec::new, |blessed| blessed.removed.entries),
            floor,
            sealed_boots,
        })
    }

    /// Remembers this boot, for `sealroot seal`.
    fn remember(
        &self,
        common: &Common,
        store: &Store,
        output: Output,
    ) -> anyhow::Result<Option<usize>> {
        let boot = self.boot.require_for_change(common)?;
        let runtime = self.boot.runtime();
        let boot_id = this_boot()?;
        let progress = Progress::new(output);
        let remembered = seal::remember_good_boot(store, &runtime, &boot, &boot_id, &progress)?;
        Ok(remembered)
    }

    fn bless(&self, common: &Common, store: &Store, output: Output) -> anyhow::Result<Blessed> {
        let boot = self.boot.require_for_change(common)?;
        let progress = Progress::new(output);
        Ok(machine::bless(
            store,
            &self.boot.runtime(),
            &boot,
            &progress,
        )?)
    }
}
