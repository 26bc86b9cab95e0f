// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running attacks, two machines at a time, and counting what came of them.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::judge::BOOT_PROGRAM;
use super::tally::{Counts, Tally};
use super::{Accept, Attack, Kind, Stage, Target, Verdict, hostile, judge, tries};
use crate::disk::Disk;
use crate::guest::{PROBE_JOB_DISK, write_job_disk};
use crate::kernel::GuestKernel;
use crate::release::{Layer, Release};
use crate::vm::FickleDisk;

/// How long a machine may take to boot and report.
const TIME_OUT: Duration = Duration::from_secs(180);

/// Machines prepared and run at the same time.
const WORKERS: usize = 2;

/// Most attacks that share a machine: each has a disk there.
const TRIES_PER_MACHINE: usize = 12;

/// How much is played, and on how many machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What every change must pass: what can share a machine does.
    Short,
    /// All, each where its [`Stage`] says.
    Full,
}

/// An attack in one layer.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a change is code")]
pub struct Play<'a> {
    /// The attack.
    pub attack: &'a Attack,
    /// The layer.
    pub layer: Layer,
}

impl<'a> Play<'a> {
    /// Attacks, in each of their layers.
    pub fn all(attacks: &'a [Attack]) -> Vec<Self> {
        attacks
            .iter()
            .flat_map(|attack| attack.layers.iter().map(move |layer| (attack, *layer)))
            .map(|(attack, layer)| Self { attack, layer })
            .collect()
    }
}

/// What came of one play.
#[derive(Debug)]
pub(super) struct Outcome {
    line: String,
    verdict: Result<Verdict, String>,
    pub(super) accepted: bool,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub struct Report {
    /// How many there were.
    pub tally: Tally,
    /// Boots that ended in anything but what the attack's expectation allows.
    pub failures: Vec<String>,
    /// One line for each boot.
    pub lines: Vec<String>,
    /// How long it took.
    pub wall: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        for failure in &self.failures {
            writeln!(f, "\nWRONG {failure}")?;
        }
        let Counts {
            played,
            known,
            boots,
            machines,
            wrong,
            ..
        } = self.tally.total();
        let seconds = self.wall.as_secs();
        write!(
            f,
            "played {played} of {known} attacks in {boots} boots on {machines} machines, \
             {wrong} wrong boots, {seconds} s"
        )
    }
}

/// What one machine is switched on for.
enum Machine<'a> {
    Own(Play<'a>),
    Shared(Vec<Play<'a>>),
}

/// Plays those of `known` that are `chosen`, on a release.
pub fn run<'a>(
    known: &[Play<'a>],
    chosen: impl Fn(&Play<'a>) -> bool,
    release: &Release,
    form: Form,
) -> Result<Report> {
    let plays: Vec<Play<'_>> = known.iter().copied().filter(|play| chosen(play)).collect();
    let started = Instant::now();
    let directory = tempfile::tempdir()?;
    let hostile = hostile_disk(&plays, release, directory.path())?;
    let machines = machines(&plays, form);
    let report = Mutex::new(Report::default());
    for_each(&machines, |machine| {
        let outcomes = attempt(machine, release, hostile.as_ref());
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, (play, outcome)) in outcomes.into_iter().enumerate() {
            let is_mended = play.attack.is_mended;
            let counts = Counts {
                played: play.attack.mutants,
                boots: 1,
                machines: (index == 0).into(),
                repairable: is_mended.into(),
                mended: (is_mended && outcome.accepted).into(),
                ..Counts::default()
            };
            let layer = play.layer.to_string();
            report.add(play.attack.id, &layer, counts, outcome);
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    for Play { attack, layer } in known {
        report.know(attack.id, &layer.to_string(), attack.mutants);
    }
    report.end(started);
    Ok(report)
}

/// Does the same with each, two at a time.
pub(super) fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

impl Report {
    /// Attacks of a catalogue, whether they are played or not.
    pub(super) fn know(&mut self, id: &str, layer: &str, known: usize) {
        let counts = Counts {
            known,
            ..Counts::default()
        };
        self.tally.add(id, layer, counts);
    }

    /// What was played in a boot that is counted elsewhere.
    pub(super) fn played_too(&mut self, id: &str, layer: &str, played: usize) {
        let counts = Counts {
            played,
            ..Counts::default()
        };
        self.tally.add(id, layer, counts);
    }

    /// What was played, and what came of it.
    pub(super) fn add(&mut self, id: &str, layer: &str, counts: Counts, outcome: Outcome) {
        println!("{}", outcome.line);
        let wrong = (!outcome.accepted).into();
        self.tally.add(id, layer, Counts { wrong, ..counts });
        if !outcome.accepted {
            self.failures
                .push(format!("{}\n{:?}", outcome.line, outcome.verdict));
        }
        self.lines.push(outcome.line);
    }

    pub(super) fn end(&mut self, started: Instant) {
        self.lines.sort();
        self.wall = started.elapsed();
    }
}

/// The disk with the hostile releases among the plays, if there is one.
fn hostile_disk(plays: &[Play<'_>], release: &Release, directory: &Path) -> Result<Option<Disk>> {
    let releases = plays.iter().filter_map(|play| match &play.attack.kind {
        Kind::Hostile(hostile) => Some(hostile),
        Kind::Change(_) => None,
    });
    let releases: Vec<_> = releases.collect();
    if releases.is_empty() {
        return Ok(None);
    }
    hostile::make_disk(release, &releases, directory).map(Some)
}

/// Each on a machine of its own, or with others of its layer.
fn machines<'a>(plays: &[Play<'a>], form: Form) -> Vec<Machine<'a>> {
    let shares = |Play { attack, .. }: &Play<'_>| match attack.stage {
        Stage::Shared => true,
        Stage::Machine => form == Form::Short && attack.may_share(),
    };
    let (shared, own): (Vec<_>, Vec<_>) = plays.iter().copied().partition(shares);
    let mut machines = Vec::new();
    for layer in Layer::ALL {
        let of_layer = shared.iter().copied().filter(|play| play.layer == layer);
        let of_layer: Vec<Play<'_>> = of_layer.collect();
        let chunks = of_layer.chunks(TRIES_PER_MACHINE);
        machines.extend(chunks.map(|chunk| Machine::Shared(chunk.to_vec())));
    }
    machines.extend(own.into_iter().map(Machine::Own));
    machines
}

fn attempt<'a>(
    machine: &Machine<'a>,
    release: &Release,
    hostile: Option<&Disk>,
) -> Vec<(Play<'a>, Outcome)> {
    let (plays, verdicts) = match machine {
        Machine::Own(play) => (vec![*play], vec![boot(*play, release, hostile)]),
        Machine::Shared(plays) => match tries::play(plays, release) {
            Ok(verdicts) => (plays.clone(), verdicts.into_iter().map(Ok).collect()),
            Err(error) => {
                let again = || Err(anyhow::anyhow!("{error:#}"));
                (plays.clone(), plays.iter().map(|_| again()).collect())
            }
        },
    };
    plays
        .into_iter()
        .zip(verdicts)
        .map(|(play, verdict)| (play, outcome(play, verdict)))
        .collect()
}

fn outcome(Play { attack, layer }: Play<'_>, verdict: Result<Verdict>) -> Outcome {
    Outcome::of(
        attack.id,
        &layer.to_string(),
        &attack.name,
        &attack.accept,
        verdict,
    )
}

impl Outcome {
    pub(super) fn of(
        id: &str,
        layer: &str,
        name: &str,
        accept: &Accept,
        verdict: Result<Verdict>,
    ) -> Self {
        let (accepted, what) = match &verdict {
            Ok(verdict) => (accept.allows(verdict), summary(verdict)),
            Err(error) => (false, format!("{error:#}")),
        };
        let state = if accepted { "ok   " } else { "WRONG" };
        Self {
            line: format!("{id} {state} {layer:5} {name}: {what}"),
            verdict: verdict.map_err(|error| format!("{error:#}")),
            accepted,
        }
    }

    /// With something else to be said of it, where it is accepted.
    pub(super) fn saying(mut self, what: &str) -> Self {
        if self.accepted
            && let Some((line, _)) = self.line.rsplit_once(": ")
        {
            self.line = format!("{line}: {what}");
        }
        self
    }
}

fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::SameTree => "same tree".into(),
        Verdict::Unreadable(paths) => format!("{} paths unreadable", paths.len()),
        Verdict::OtherAttributes(paths) => format!("{} paths with other attributes", paths.len()),
        Verdict::OtherContent(paths) => format!(
            "{} paths changed after they were checked, a limit of the mode",
            paths.len()
        ),
        Verdict::Refused { line, .. } => line.clone(),
        Verdict::Denied => "refused by the firmware or the stub".into(),
        Verdict::Died(_) => "no report".into(),
        Verdict::Wrong(what) => what.lines().next().unwrap_or_default().to_owned(),
    }
}

fn boot(
    Play { attack, layer }: Play<'_>,
    release: &Release,
    hostile: Option<&Disk>,
) -> Result<Verdict> {
    let kernel = GuestKernel::find(attack.machine.series).context("no kernel")?;
    let directory = tempfile::tempdir()?;
    let (disk, job, deployment) = match &attack.kind {
        Kind::Change(change) => {
            let (disk, job) = release.spoil(directory.path(), change)?;
            (disk, job, release.deployment())
        }
        Kind::Hostile(release) => {
            let disk = hostile.context("the disk with the hostile releases")?;
            (disk.clone(), None, release.deployment())
        }
    };
    let mut vm = release
        .machine(&kernel, layer, &disk, &deployment)?
        .memory_mib(attack.machine.memory_mib);
    if let Some(job) = job {
        let path = directory.path().join("job");
        write_job_disk(&path, &job)?;
        vm = vm.scratch_disk(PROBE_JOB_DISK, &path);
    }
    if let Some(line) = attack.line {
        vm = line.put(vm, release, (&kernel, layer), directory.path())?;
    }
    let mut fickle = None;
    if let Some(blocks) = attack.fickle {
        let target = Target {
            disk: &disk,
            release,
        };
        let socket = directory.path().join("socket");
        let served = FickleDisk::serve(disk.path(), blocks(target)?, &socket)?;
        vm = vm
            .without_disk(Release::DISK_SERIAL)
            .fickle_disk(Release::DISK_SERIAL, &served);
        fickle = Some(served);
    }
    let mut outcome = vm.run(TIME_OUT)?;
    if let Some(disk) = fickle {
        ensure!(disk.lies() > 0, "no block was read twice");
    }
    if !outcome.console.contains(BOOT_PROGRAM) {
        // An emulated machine on a busy host may fail before our program is started.
        outcome = vm.run(TIME_OUT)?;
    }
    Ok(judge(&outcome, release))
}
