// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot seal`

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sealroot::entry::Boot;
use sealroot::machine::{self, BootChoices};
use sealroot::seal::{self, Facts, SealPlan, Sealed};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::sign::Unverified;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::machine::BootArgs;
use crate::name::AnyName;
use crate::output::{Output, Report, counted, printable};
use crate::progress::Progress;
use crate::sealing::{ReasonReport, SealingArgs};

/// Let nothing boot any more but images that seal: the one step that has no way back.
///
/// Removes every boot entry that starts anything else: OSTree's, kernels with the initramfs beside
/// them, other systems' (with the kernels that are OSTree's or sealroot's and that nothing else uses).
/// What runs and what seals stays. Asks first.
///
/// Nothing is changed until nothing else speaks against calling the machine sealed (`status`), two good
/// boots of what stays are remembered (`bless` does), one of them of what runs, and the holders of the
/// keyset's root keys have shown that they have them: with these alone can lost release keys be
/// replaced. For that, write a challenge, have it signed by `keys prove`, and bring it back.
///
/// The firmware's keys are not touched: enrol them there, or with `sbkeysync`, `efi-updatevar`, or the
/// boot loader's own enrolment. Run it again after an interruption: it goes on where it was.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Seal {
    /// Only say what is missing, and what would be removed.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,

    /// Only write what the holders of the root keys are to sign. It is the same for all machines that
    /// run this release with this keyset.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "yes", "recovery"])]
    challenge: Option<PathBuf>,

    /// The challenge, signed by enough root keys.
    #[arg(long, value_name = "FILE")]
    recovery: Option<PathBuf>,

    #[command(flatten)]
    boot: BootArgs,

    #[command(flatten)]
    sealing: SealingArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot seal --dry-run
  sealroot seal --challenge recovery              # then, where a root key is:
  sealroot keys prove recovery --key root.secret
  sealroot seal --recovery recovery --yes";

#[derive(Serialize)]
struct SealReport {
    /// Whether nothing was left to do.
    is_done: bool,
    /// Whether only a look was asked for.
    is_dry_run: bool,
    missing: Vec<ReasonReport>,
    /// Boot entries that were removed, or would be.
    removed_entries: Vec<EntryReport>,
    /// Kernels that were removed with them.
    removed_kernels: Vec<AnyName>,
    /// The deployments that boot afterwards.
    kept: Vec<String>,
}

#[derive(Serialize)]
struct EntryReport {
    partition: AnyName,
    file: String,
    why: String,
}

impl Report for SealReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.is_done {
            return writeln!(out, "this machine is sealed: there is nothing to do");
        }
        if !self.missing.is_empty() {
            writeln!(out, "missing:")?;
        }
        for reason in &self.missing {
            reason.write_text(out)?;
        }
        let verb = if self.is_dry_run {
            "would remove"
        } else {
            "removed"
        };
        for EntryReport {
            partition,
            file,
            why,
        } in &self.removed_entries
        {
            let (file, why) = (printable(file), printable(why));
            writeln!(out, "{verb} the boot entry {file} in {partition}: {why}")?;
        }
        for path in &self.removed_kernels {
            writeln!(out, "removed {path}")?;
        }
        for name in &self.kept {
            writeln!(out, "{name} boots")?;
        }
        if self.is_dry_run {
            return Ok(());
        }
        writeln!(out, "this machine is sealed: nothing else boots")
    }
}

#[derive(Serialize)]
struct ChallengeReport {
    challenge: AnyName,
    keyset: u64,
    commit: String,
}

impl Report for ChallengeReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: to be signed by root keys of keyset {}, for machines that run {}",
            self.challenge, self.keyset, self.commit
        )
    }
}

impl Seal {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let is_look = self.dry_run || self.challenge.is_some();
        let store = if is_look {
            common.open_store()?
        } else {
            common.open_store_for_change()?
        };
        let boot = if is_look {
            self.boot.require(common)?
        } else {
            self.boot.require_for_change(common)?
        };
        let entries = boot.entries()?;
        let choices = BootChoices::of_entries(&entries);
        let scan = machine::scan(&store, &self.boot.runtime(), &choices)?;
        let further = self.boot.further(common, &boot)?;
        let found = (&boot, &entries, &further[..]);
        let facts = self.sealing.facts(&self.boot, &store, &scan, Ok(found))?;
        if let Some(file) = &self.challenge {
            return write_challenge(file, &store, &facts, output);
        }
        let proof = self.recovery.as_deref().map(seal::read_proof).transpose()?;
        let plan = seal::plan_seal(&store, &facts, proof.as_ref())?;
        if self.dry_run {
            return output.emit(&report(plan, None));
        }
        if let Some(first) = plan.missing.first() {
            let count = counted(plan.missing.len() as u64, "thing");
            let message = format!(
                "this machine cannot be sealed yet, {count} missing: {}",
                plan.missing
                    .iter()
                    .map(|reason| &*reason.what)
                    .collect::<Vec<_>>()
                    .join("; ")
            );
            let hint = format!("{}; `sealroot seal --dry-run` says it of each", first.mend);
            return Err(Failure::new(ErrorClass::Usage, message).hint(hint).into());
        }
        if !plan.is_done {
            self.ask(&plan)?;
        }
        let partitions: Vec<&Boot> = std::iter::once(&boot).chain(&further).collect();
        let sealed = {
            let progress = Progress::new(output);
            seal::seal(&store, &partitions, &plan, &progress)?
        };
        output.emit(&report(plan, Some(&sealed)))
    }

    fn ask(&self, plan: &SealPlan) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let entries = counted(plan.removes.len() as u64, "boot entry");
        let names: Vec<_> = plan.removes.iter().map(|(_, file, _)| &**file).collect();
        let question = format!(
            "This removes {entries} for good: {}. Only images that seal boot then. Seal this machine?",
            names.join(", ")
        );
        if !io::stdin().is_terminal() {
            let failure = Failure::new(ErrorClass::Usage, question);
            return Err(failure.hint("answer with --yes").into());
        }
        let mut err = io::stderr().lock();
        write!(err, "{} [y/N] ", printable(&question))?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Failure::new(ErrorClass::Usage, "nothing was changed").into())
    }
}

fn write_challenge(
    file: &Path,
    store: &Store,
    facts: &Facts,
    output: Output,
) -> anyhow::Result<()> {
    let image = seal::running_image(facts).ok_or_else(|| {
        let message = "what runs was not started from an image that seals: there is no keyset to \
                       be proven";
        Failure::new(ErrorClass::NotFound, message).hint("`sealroot status` says what to do")
    })?;
    let recovery = seal::challenge(store, facts, image)?;
    sealroot::keys::write_document(file, &Unverified::unsigned(&recovery)?)?;
    output.emit(&ChallengeReport {
        challenge: file.into(),
        keyset: recovery.keyset,
        commit: recovery.commit.to_string(),
    })
}

/// What a plan did, or would do where it was not carried out.
fn report(plan: SealPlan, sealed: Option<&Sealed>) -> SealReport {
    let is_told = |place: &PathBuf, file: &String| {
        let entries = sealed.map(|sealed| &sealed.entries);
        entries.is_none_or(|done| done.contains(&(place.clone(), file.clone())))
    };
    let entries = plan.removes.into_iter();
    let entries = entries.filter(|(place, file, _)| is_told(place, file));
    let kernels = sealed.iter().flat_map(|sealed| &sealed.kernels);
    let kernels = kernels.map(|(place, path)| place.join(path).as_path().into());
    let removed_kernels: Vec<AnyName> = kernels.collect();
    SealReport {
        is_done: plan.is_done && removed_kernels.is_empty(),
        is_dry_run: sealed.is_none(),
        missing: plan.missing.into_iter().map(Into::into).collect(),
        removed_entries: entries
            .map(|(partition, file, why)| EntryReport {
                partition: partition.as_path().into(),
                file,
                why,
            })
            .collect(),
        removed_kernels,
        kept: plan.keeps.iter().map(ToString::to_string).collect(),
    }
}
