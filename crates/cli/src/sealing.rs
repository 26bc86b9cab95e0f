// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether this machine is sealed: the facts from their places, for `status` and `seal`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sealroot::deploy::{self, Flag};
use sealroot::entry::{Boot, Entries};
use sealroot::machine::{Runtime, Scan, State};
use sealroot::seal::{self, Facts, FirmwareKeys, OWNER_PATH, Owner, Reason, Way};
use sealroot::store::Store;
use serde::Serialize;

use crate::cmd::floor::FirmwareArgs;
use crate::failure::with_causes;
use crate::machine::BootArgs;
use crate::output::printable;

/// What the machine is judged by.
#[derive(Clone, Debug, Args)]
pub(crate) struct SealingArgs {
    /// Certificates of the owner, in PEM, besides those that have signed what boots [default:
    /// /usr/lib/sealroot/owner.pem of the release that runs, where it is there].
    #[arg(long, value_name = "FILE")]
    owner: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) firmware: FirmwareArgs,
}

/// A reason in a report.
#[derive(Serialize)]
pub(crate) struct ReasonReport {
    pub(crate) kind: &'static str,
    pub(crate) what: String,
    pub(crate) mend: String,
}

impl ReasonReport {
    /// A line: what it is, and what mends it.
    pub(crate) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (what, mend) = (printable(&self.what), printable(&self.mend));
        writeln!(out, "  {what} -> {mend}")
    }
}

impl From<Reason> for ReasonReport {
    fn from(reason: Reason) -> Self {
        Self {
            kind: reason.kind.as_str(),
            what: reason.what,
            mend: reason.mend,
        }
    }
}

impl SealingArgs {
    /// Gathers all that decides. `found` is the partition that boots and what is on it, and others that
    /// a boot loader may read; why it is not known, where it is not.
    pub(crate) fn facts(
        &self,
        boot: &BootArgs,
        store: &Store,
        scan: &Scan,
        found: Result<(&Boot, &Entries, &[Boot]), &str>,
    ) -> anyhow::Result<Facts> {
        let runtime = boot.runtime();
        let firmware = FirmwareKeys::read(self.firmware.efivarfs());
        let started = found
            .ok()
            .and_then(|(boot, ..)| seal::started(&firmware, boot));
        let ways = match found {
            Ok((boot, entries, further)) => Ok(all_ways(boot, entries, further)?),
            Err(reason) => Err(reason.to_owned()),
        };
        let runs = scan.deployments.iter();
        let runs = runs.filter(|found| found.states.contains(&State::Booted));
        let runs: Vec<_> = runs.map(|found| found.name).collect();
        let mut has_made_initramfs = false;
        for name in &runs {
            has_made_initramfs |= deploy::has_flag(store, name, Flag::MadeInitramfs)?;
        }
        Ok(Facts {
            booted: match &scan.booted {
                Ok(booted) => Ok(booted.clone()),
                Err(error) => Err(with_causes(error)),
            },
            runs,
            firmware,
            ways,
            started,
            owner: self.owner()?,
            has_made_initramfs,
            covered: if matches!(scan.booted, Ok(Some(_))) && is_of_this_system(&runtime) {
                seal::covered()?
            } else {
                Vec::new()
            },
        })
    }

    fn owner(&self) -> anyhow::Result<Owner> {
        let mut owner = Owner::default();
        for file in &self.owner {
            owner.add_file(file)?;
        }
        let usual = Path::new(OWNER_PATH);
        if self.owner.is_empty() && usual.exists() {
            owner.add_file(usual)?;
        }
        Ok(owner)
    }
}

/// Whether the records are those of the system that this program runs in.
fn is_of_this_system(runtime: &Runtime) -> bool {
    runtime.booted_path().starts_with(Runtime::USUAL)
}

/// What the menu of the partition shows, and those of others that a boot loader may read.
fn all_ways(boot: &Boot, entries: &Entries, further: &[Boot]) -> anyhow::Result<Vec<Way>> {
    let mut ways = seal::ways(boot, entries)?;
    for boot in further {
        ways.extend(seal::ways(boot, &boot.entries()?)?);
    }
    Ok(ways)
}
