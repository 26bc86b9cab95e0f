// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running attacks, two machines at a time, and counting what came of them.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Attack, Kind, Verdict, hostile, judge};
use crate::disk::Disk;
use crate::guest::PROBE_JOB_DISK;
use crate::kernel::GuestKernel;
use crate::release::{Layer, Release};

/// How long a machine may take to boot and report.
const TIME_OUT: Duration = Duration::from_secs(180);

/// How every line of the boot program begins.
const BOOT_PROGRAM: &str = "sealroot: ";

/// Machines prepared and run at the same time.
const WORKERS: usize = 2;

/// What came of one attack in one layer.
#[derive(Debug)]
struct Outcome {
    line: String,
    verdict: Result<Verdict, String>,
    accepted: bool,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub struct Report {
    /// Attacks, counting every change that shares a boot with others.
    pub attacks: usize,
    /// Machines booted.
    pub boots: usize,
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
        let Self {
            attacks,
            boots,
            failures,
            wall,
            ..
        } = self;
        let (wrong, seconds) = (failures.len(), wall.as_secs());
        write!(
            f,
            "{attacks} attacks in {boots} boots, {wrong} wrong boots, {seconds} s"
        )
    }
}

/// Runs attacks on a release, in each of their layers that is among `layers`.
pub fn run(attacks: &[Attack], layers: &[Layer], release: &Release) -> Result<Report> {
    let jobs: Vec<(&Attack, Layer)> = attacks
        .iter()
        .flat_map(|attack| attack.layers.iter().map(move |layer| (attack, *layer)))
        .filter(|(_, layer)| layers.contains(layer))
        .collect();
    let started = Instant::now();
    let hostile: Vec<_> = attacks
        .iter()
        .filter_map(|attack| match &attack.kind {
            Kind::Hostile(hostile) => Some(hostile),
            Kind::Change(_) => None,
        })
        .collect();
    let directory = tempfile::tempdir()?;
    let hostile_disk = hostile::make_disk(release, &hostile, directory.path())?;
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((attack, layer)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = attempt(attack, *layer, release, hostile_disk.path());
                    println!("{}", outcome.line);
                    lock(&outcomes).push(outcome);
                }
            });
        }
    });
    let mut report = Report {
        attacks: jobs.iter().map(|(attack, _)| attack.mutants).sum(),
        boots: jobs.len(),
        wall: started.elapsed(),
        ..Report::default()
    };
    for outcome in lock(&outcomes).drain(..) {
        if !outcome.accepted {
            report
                .failures
                .push(format!("{}\n{:?}", outcome.line, outcome.verdict));
        }
        report.lines.push(outcome.line);
    }
    report.lines.sort();
    Ok(report)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn attempt(attack: &Attack, layer: Layer, release: &Release, hostile: &Path) -> Outcome {
    let verdict = boot(attack, layer, release, hostile);
    let (accepted, what) = match &verdict {
        Ok(verdict) => (attack.accept.allows(verdict), summary(verdict)),
        Err(error) => (false, format!("{error:#}")),
    };
    let state = if accepted { "ok   " } else { "WRONG" };
    Outcome {
        line: format!("{} {state} {layer:5} {}: {what}", attack.id, attack.name),
        verdict: verdict.map_err(|error| format!("{error:#}")),
        accepted,
    }
}

fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::SameTree => "same tree".into(),
        Verdict::Unreadable(paths) => format!("{} paths unreadable", paths.len()),
        Verdict::OtherAttributes(paths) => format!("{} paths with other attributes", paths.len()),
        Verdict::Refused { line, .. } => line.clone(),
        Verdict::Died(_) => "no report".into(),
        Verdict::Wrong(what) => what.lines().next().unwrap_or_default().to_owned(),
    }
}

fn boot(attack: &Attack, layer: Layer, release: &Release, hostile: &Path) -> Result<Verdict> {
    let kernel = GuestKernel::find(attack.machine.series).context("no kernel")?;
    let directory = tempfile::tempdir()?;
    let (disk, job, deployment) = match &attack.kind {
        Kind::Change(change) => {
            let (disk, job) = release.spoil(directory.path(), change)?;
            (disk, job, release.deployment())
        }
        Kind::Hostile(release) => (Disk::open(hostile), None, release.deployment()),
    };
    let mut vm = release
        .machine(&kernel, layer, &disk, &deployment)?
        .memory_mib(attack.machine.memory_mib);
    if let Some(job) = job {
        let path = directory.path().join("job");
        job.write_disk(&path)?;
        vm = vm.scratch_disk(PROBE_JOB_DISK, &path);
    }
    let mut outcome = vm.run(TIME_OUT)?;
    if !outcome.console.contains(BOOT_PROGRAM) {
        // An emulated machine on a busy host may fail before our program is started.
        outcome = vm.run(TIME_OUT)?;
    }
    Ok(judge(&outcome, release))
}
