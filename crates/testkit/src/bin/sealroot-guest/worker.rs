// SPDX-License-Identifier: MIT OR Apache-2.0
//! Process 1 of a worker guest: loads its modules, runs its job, reports.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use sealroot_testkit::debian::QUESTIONS;
use sealroot_testkit::guest::{CommandReport, JOB_DISK, JOB_PATH, Job, JobReport, MODULES_PATH};

use crate::machine;

pub(crate) fn run() -> Result<()> {
    machine::mount_basics()?;
    machine::load_modules(MODULES_PATH)?;
    let job = fs::read(JOB_PATH).with_context(|| format!("reading {JOB_PATH}"))?;
    let job: Job = serde_json::from_slice(&job).context("parsing the job")?;
    let commands = run_job(&job);
    machine::report(&serde_json::to_vec(&JobReport { commands })?)
}

/// On a booted Debian: runs all commands of the job on the disk for it, whatever becomes of each;
/// without such a disk, answers [`QUESTIONS`].
pub(crate) fn report() -> Result<()> {
    let Some(disk) = machine::find_disk(JOB_DISK) else {
        return answer(&QUESTIONS);
    };
    let job = fs::read(disk).context("reading the job")?;
    let job: Job = serde_json::from_slice(&job).context("parsing the job")?;
    let commands = job
        .commands
        .iter()
        .map(|words| {
            println!("$ {}", words.join(" "));
            run_command(words)
        })
        .collect();
    machine::report(&serde_json::to_vec(&JobReport { commands })?)
}

/// Runs the commands of a job, up to the first that fails.
pub(crate) fn run_job(job: &Job) -> Vec<CommandReport> {
    let mut reports = Vec::new();
    for command in &job.commands {
        println!("$ {}", command.join(" "));
        let done = run_command(command);
        print!("{}{}", done.output, done.errors);
        let failed = done.exit_code != Some(0);
        reports.push(done);
        if failed {
            break;
        }
    }
    reports
}

fn run_command(command: &[String]) -> CommandReport {
    let (started, cpu_before) = (Instant::now(), children_cpu_milliseconds());
    let outcome = machine::run(command);
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (exit_code, output, errors) = match outcome {
        Ok(done) => (done.status.code(), text(&done.stdout), text(&done.stderr)),
        Err(error) => (None, String::new(), format!("{error:#}\n")),
    };
    CommandReport {
        command: command.to_vec(),
        exit_code,
        output,
        errors,
        milliseconds,
        cpu_milliseconds: children_cpu_milliseconds() - cpu_before,
    }
}

/// The processor time of all children so far: the kernel counts it in hundredths of a second.
fn children_cpu_milliseconds() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, in brackets, which may have spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = fields.split(' ').skip(13).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum::<u64>()
        * 10
}

/// Runs shell commands on a booted system and reports what they say, by name.
fn answer(questions: &[(&str, &str)]) -> Result<()> {
    let mut answers = BTreeMap::new();
    for (name, question) in questions {
        println!("# {question}");
        let command = ["/bin/sh", "-c", question].map(str::to_owned);
        let done = run_command(&command);
        let text = format!("{}{}", done.output, done.errors);
        print!("{text}");
        answers.insert(*name, text);
    }
    machine::report(&serde_json::to_vec(&answers)?)
}
