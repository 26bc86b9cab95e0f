// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs programs by turns and keeps what each took.

use std::fmt;
use std::iter::Sum;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Makes the commands that are measured, in an existing directory that no run has used before.
/// What it does itself is not measured.
type Prepare<'a> = Box<dyn Fn(&Path) -> Result<Vec<Command>> + 'a>;

/// Something that is measured.
pub(crate) struct Contestant<'a> {
    pub(crate) name: String,
    prepare: Prepare<'a>,
    runs: Vec<Run>,
}

/// What one run took, with all its threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) wall: Duration,
}

/// The middle of all runs, and the least CPU time of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// User and system time together.
    pub(crate) cpu: Duration,
    pub(crate) least_cpu: Duration,
    pub(crate) wall: Duration,
}

impl fmt::Debug for Contestant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contestant")
            .field("name", &self.name)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}

impl Sum for Run {
    fn sum<I: Iterator<Item = Self>>(runs: I) -> Self {
        runs.fold(Self::default(), |sum, run| Self {
            user: sum.user + run.user,
            system: sum.system + run.system,
            wall: sum.wall + run.wall,
        })
    }
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(
        name: impl Into<String>,
        prepare: impl Fn(&Path) -> Result<Vec<Command>> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            prepare: Box::new(prepare),
            runs: Vec::new(),
        }
    }

    /// The commands of one run, in an existing directory that no run has used before.
    pub(crate) fn commands(&self, place: &Path) -> Result<Vec<Command>> {
        (self.prepare)(place)
    }

    pub(crate) fn figures(&self) -> Figures {
        let median = |of: fn(&Run) -> Duration| {
            let mut values: Vec<Duration> = self.runs.iter().map(of).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let cpu = |run: &Run| run.user + run.system;
        Figures {
            user: median(|run| run.user),
            system: median(|run| run.system),
            cpu: median(cpu),
            least_cpu: self.runs.iter().map(cpu).min().unwrap_or_default(),
            wall: median(|run| run.wall),
        }
    }
}

/// Runs a command to its end, once, and gives what it wrote.
pub(crate) fn run_once(command: &mut Command) -> Result<(Run, String)> {
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let start = Instant::now();
    let written = output(command)?;
    let wall = start.elapsed();
    let after = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let user = |usage: &Usage| usage.user_time().num_microseconds();
    let system = |usage: &Usage| usage.system_time().num_microseconds();
    let between = |of: &dyn Fn(&Usage) -> i64| {
        Duration::from_micros(u64::try_from(of(&after) - of(&before)).unwrap_or(0))
    };
    let run = Run {
        user: between(&user),
        system: between(&system),
        wall,
    };
    Ok((run, written))
}

/// What a command writes to its standard output; an error unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {message}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The directory in `place`, of the same files under further names: a run changes its own.
pub(crate) fn hardlinked(directory: &Path, place: &Path) -> Result<PathBuf> {
    let copy = place.join("copy");
    let mut cp = Command::new("cp");
    output(cp.args(["--archive", "--link"]).arg(directory).arg(&copy))?;
    Ok(copy)
}

/// Runs all contestants once to warm up, then `rounds` times, one after the other in each round so
/// that whatever else the machine does meets them alike, and each round begun by another so that
/// none is always the one after the same other.
///
/// Each run has a directory of its own in `scratch`. Nothing is deleted in between: what is
/// deleted from ext4 is paid for by whoever writes next.
pub(crate) fn measure(
    contestants: &mut [Contestant<'_>],
    rounds: usize,
    scratch: &Path,
) -> Result<()> {
    let count = contestants.len();
    for round in 0..=rounds {
        for turn in 0..count {
            let index = (turn + round) % count;
            let contestant = &mut contestants[index];
            let place: PathBuf = scratch.join(format!("{round}-{index}"));
            std::fs::create_dir(&place)
                .with_context(|| format!("cannot create {}", place.display()))?;
            let mut commands = contestant.commands(&place)?;
            // What was written before must not be written back during this run.
            rustix::fs::sync();
            let runs = commands.iter_mut().map(|command| Ok(run_once(command)?.0));
            let runs: Result<Vec<Run>> = runs.collect();
            let run = runs?.into_iter().sum();
            if round > 0 {
                contestant.runs.push(run);
            }
        }
    }
    Ok(())
}
