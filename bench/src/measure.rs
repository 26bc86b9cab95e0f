// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs programs by turns and keeps what each took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// A program that is measured.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) command: Command,
    runs: Vec<Run>,
}

/// What one run took, with all its threads.
#[derive(Clone, Copy, Debug)]
struct Run {
    user: Duration,
    system: Duration,
    wall: Duration,
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

impl Contestant {
    pub(crate) fn new(name: impl Into<String>, command: Command) -> Self {
        Self {
            name: name.into(),
            command,
            runs: Vec::new(),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let median = |of: fn(&Run) -> Duration| {
            let mut values: Vec<Duration> = self.runs.iter().map(of).collect();
            values.sort_unstable();
            values[values.len() / 2]
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

    fn run(&mut self) -> Result<Run> {
        let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let start = Instant::now();
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {:?}", self.command))?;
        let wall = start.elapsed();
        let after = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("{:?}: {}: {message}", self.command, output.status);
        }
        let user = |usage: &Usage| usage.user_time().num_microseconds();
        let system = |usage: &Usage| usage.system_time().num_microseconds();
        let between = |of: &dyn Fn(&Usage) -> i64| {
            Duration::from_micros(u64::try_from(of(&after) - of(&before)).unwrap_or(0))
        };
        Ok(Run {
            user: between(&user),
            system: between(&system),
            wall,
        })
    }
}

/// Runs all contestants once to warm up, then `rounds` times, one after the other in each round so
/// that whatever else the machine does meets them alike.
pub(crate) fn measure(contestants: &mut [Contestant], rounds: usize) -> Result<()> {
    for round in 0..=rounds {
        for contestant in &mut *contestants {
            let run = contestant.run()?;
            if round > 0 {
                contestant.runs.push(run);
            }
        }
    }
    Ok(())
}
