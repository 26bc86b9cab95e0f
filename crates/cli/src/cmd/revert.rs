// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot revert`

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sealroot::adopt::{self, AdoptError, Left, Theirs, deployments_of_ostree};
use sealroot::entry::Places;
use sealroot::machine::Booted;
use sealroot_format::ErrorClass;
use serde::Serialize;

use crate::args::Common;

use crate::failure::Failure;
use crate::machine::{BootArgs, BootPlace, check_no_entries};
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Go back to plain OSTree: remove the boot entries, deployments, links and refs of sealroot.
///
/// Names what OSTree will boot and asks first. Nothing of OSTree's is changed; fs-verity stays on
/// the files that have it, which is harmless. Changes in the /etc of sealroot's deployments go with
/// them, and releases that OSTree does not have, which it names; /var is shared and stays. Nothing is done
/// while something else is in the store, or while a boot entry that is not sealroot's boots one of
/// its deployments. Run it again after an interruption: it goes on where it was.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Revert {
    /// Do not ask.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    boot: BootArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --sysroot /sysroot revert
  sealroot --sysroot /sysroot revert --yes

While sealroot's release is running, only its boot entries go: boot OSTree's, then run it again.";

#[derive(Serialize)]
struct RevertedReport {
    /// What OSTree boots now.
    commit: String,
    deployment: String,
    stateroot: String,
    entry: PathBuf,
    removed_entries: Vec<String>,
    removed_refs: Vec<String>,
    removed_files: u64,
    /// Whether the store stays because the running system is on it.
    is_store_in_use: bool,
    /// Releases that OSTree does not have, and that are gone if the store is.
    lost_releases: Vec<String>,
}

impl Report for RevertedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.removed_entries {
            writeln!(out, "removed the boot entry {entry}")?;
        }
        for name in &self.removed_refs {
            writeln!(out, "removed the ref {name}")?;
        }
        let is_nothing = self.removed_entries.is_empty() && self.removed_refs.is_empty();
        if self.is_store_in_use {
            writeln!(
                out,
                "the store stays while it runs: boot {} of OSTree and run this again",
                self.deployment
            )?;
        } else if self.removed_files == 0 && is_nothing {
            writeln!(out, "there is nothing of sealroot here")?;
        } else {
            let names = counted(self.removed_files, "name");
            writeln!(out, "removed the store: {names} of files")?;
            for release in &self.lost_releases {
                writeln!(
                    out,
                    "removed a release that OSTree does not have: {release}"
                )?;
            }
            writeln!(
                out,
                "fs-verity stays on the files that have it; OSTree does not mind"
            )?;
        }
        writeln!(out, "OSTree boots {} ({})", self.deployment, self.stateroot)
    }
}

impl Revert {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        if common.store.is_some() {
            let message = "a store by itself has nothing to go back to: name the --sysroot";
            return Err(Failure::new(ErrorClass::Usage, message).into());
        }
        let sysroot = common.physical_root();
        let places = Places::of(&sysroot).directories;
        let theirs = whole(&sysroot, deployments_of_ostree(&sysroot, &places)?)?;
        let place = self.boot.find(common)?;
        match &place {
            BootPlace::Found(boot) => adopt::check_undo(&sysroot, Some(boot))?,
            BootPlace::None(reason) => check_no_entries(&sysroot, "", reason)?,
        }
        let is_running = Booted::read(&self.boot.runtime())?.is_some();
        let lost = Self::lost(&sysroot, output)?;
        self.ask(&theirs, &lost)?;
        common.make_writable()?;
        let place = self.boot.find_for_change(common)?;
        let reverted = {
            let progress = Progress::new(output);
            adopt::undo(&sysroot, place.found(), is_running, &progress)?
        };
        output.emit(&RevertedReport {
            commit: theirs.name.commit.to_string(),
            deployment: theirs.name.to_string(),
            stateroot: theirs.stateroot,
            entry: theirs.entry,
            removed_entries: reverted.entries,
            removed_refs: reverted.refs,
            removed_files: reverted.files,
            is_store_in_use: reverted.left == Some(Left::StoreInUse),
            lost_releases: lost,
        })
    }

    /// The releases that OSTree does not have. What others have put into the store has to be taken out
    /// of it first.
    fn lost(sysroot: &Path, output: Output) -> anyhow::Result<Vec<String>> {
        let lost = adopt::loss(sysroot, &Progress::new(output))?;
        if !lost.strays.is_empty() {
            let paths = lost.strays.iter().map(|path| path.display().to_string());
            let paths = paths.collect::<Vec<_>>().join(", ");
            let message = format!("what is no part of the store would go with it: {paths}");
            let hint = "move it elsewhere, or remove it";
            return Err(Failure::new(ErrorClass::Usage, message).hint(hint).into());
        }
        let names = lost.releases.iter();
        let names = names.map(|(commit, stream)| format!("{commit} ({stream})"));
        Ok(names.collect())
    }

    fn ask(&self, theirs: &Theirs, lost: &[String]) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let lost = match lost {
            [] => String::new(),
            lost => format!(" It does not have {}.", lost.join(", ")),
        };
        let question = format!(
            "OSTree will boot {} ({}, {}).{lost} Remove all of sealroot's?",
            theirs.name, theirs.stateroot, theirs.title
        );
        if !io::stdin().is_terminal() {
            let failure = Failure::new(ErrorClass::Usage, question);
            return Err(failure.hint("answer with --yes").into());
        }
        let mut err = io::stderr().lock();
        write!(err, "{} [y/N] ", crate::output::printable(&question))?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Failure::new(ErrorClass::Usage, "nothing was changed").into())
    }
}

/// What OSTree would boot first, which must be whole.
fn whole(sysroot: &Path, theirs: Vec<Theirs>) -> Result<Theirs, AdoptError> {
    let nothing = |reason: String| AdoptError::NothingToReturnTo {
        sysroot: sysroot.to_owned(),
        reason,
    };
    let first = theirs.into_iter().next();
    let first = first.ok_or_else(|| nothing("it has no boot entry".into()))?;
    match &first.fault {
        None => Ok(first),
        Some(fault) => Err(nothing(format!("{}: {fault}", first.name))),
    }
}
