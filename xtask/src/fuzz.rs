// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask fuzz`: what `docs/design/fuzzing.md` describes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::{TARGET, cargo, command, repository, run};

/// What makes libFuzzer see which code an input reaches. These are options of the stable compiler.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Nothing that is parsed takes more memory, and nothing longer.
const RSS_LIMIT_MB: u32 = 1024;
const TIMEOUT_SECONDS: u32 = 20;

/// What is to be done.
struct Job<'a> {
    names: Vec<&'a str>,
    runs: u64,
    seconds: Option<u64>,
    /// Whether new inputs that reach something are kept in the repository.
    keeps: bool,
}

impl<'a> Job<'a> {
    fn parse(arguments: &[&'a str]) -> Result<Self> {
        let mut job = Self {
            names: Vec::new(),
            runs: 10_000_000,
            seconds: None,
            keeps: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64> {
                let number = arguments.next().context("expected a number")?;
                number.parse().with_context(|| format!("after {argument}"))
            };
            match *argument {
                "--runs" => job.runs = number()?,
                "--seconds" => job.seconds = Some(number()?),
                "--keep" => job.keeps = true,
                option if option.starts_with('-') => bail!("unknown option {option}"),
                name => job.names.push(name),
            }
        }
        Ok(job)
    }
}

/// A target and the length of its longest input, as `fuzz/targets` has them.
struct Target {
    name: String,
    max_bytes: usize,
}

impl Target {
    fn all() -> Result<Vec<Self>> {
        let list = fs::read_to_string(directory().join("targets"))?;
        let target = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let name = words.next().context("a name")?.to_owned();
            let max_bytes = words.next().context("a length")?.parse()?;
            Ok(Self { name, max_bytes })
        };
        list.lines().map(target).collect()
    }

    /// The inputs that are in the repository.
    fn corpus(&self) -> PathBuf {
        directory().join("corpus").join(&self.name)
    }

    /// All that were found here.
    fn found(&self) -> PathBuf {
        work().join("corpus").join(&self.name)
    }

    fn artifacts(&self) -> PathBuf {
        work().join("artifacts").join(&self.name)
    }

    fn program(&self) -> Command {
        let mut program = command(work().join(TARGET).join("release").join(&self.name));
        program
            .arg(format!("-max_len={}", self.max_bytes))
            .arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"))
            .arg(format!("-timeout={TIMEOUT_SECONDS}"));
        program
    }

    fn fuzz(&self, job: &Job) -> Result<Outcome> {
        for directory in [self.found(), self.artifacts()] {
            fs::create_dir_all(directory)?;
        }
        let before = count(&self.artifacts())?;
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(self.artifacts().join(""));
        let mut program = self.program();
        program
            .arg(format!("-runs={}", job.runs))
            .args(["-print_final_stats=1", "-verbosity=1"])
            .arg(prefix);
        if let Some(seconds) = job.seconds {
            program.arg(format!("-max_total_time={seconds}"));
        }
        program.arg(self.found()).arg(self.corpus());
        let started = std::time::Instant::now();
        let output = program.stdin(Stdio::null()).output()?;
        let seconds = started.elapsed().as_secs_f64();
        let log = String::from_utf8_lossy(&output.stderr);
        let executed = log.lines().find_map(|line| {
            let count = line.strip_prefix("stat::number_of_executed_units:")?;
            count.trim().parse().ok()
        });
        let findings = count(&self.artifacts())? - before;
        if findings > 0 || !output.status.success() {
            eprintln!("{log}");
        }
        if job.keeps {
            run(self
                .program()
                .args(["-set_cover_merge=1", "-use_counters=0"])
                .arg(self.corpus())
                .arg(self.found()))?;
        }
        Ok(Outcome {
            executed: executed.unwrap_or(0),
            seconds,
            corpus: count(&self.corpus())?,
            findings: findings.max(usize::from(!output.status.success())),
        })
    }
}

struct Outcome {
    executed: u64,
    seconds: f64,
    corpus: usize,
    findings: usize,
}

fn directory() -> PathBuf {
    repository().join("fuzz")
}

fn work() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target
        .unwrap_or_else(|| repository().join("target"))
        .join("fuzz")
}

fn count(directory: &Path) -> Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

/// Builds the programs of all targets that are named, or of all, and runs one after another.
pub(crate) fn fuzz(arguments: &[&str]) -> Result<()> {
    let job = Job::parse(arguments)?;
    let mut targets = Target::all()?;
    for name in &job.names {
        if !targets.iter().any(|target| target.name == *name) {
            bail!("there is no target {name}: fuzz/targets lists them");
        }
    }
    targets.retain(|target| job.names.is_empty() || job.names.contains(&target.name.as_str()));
    eprintln!("Building the fuzzer; the first time takes several minutes.");
    let mut build = cargo();
    build
        .current_dir(directory())
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .env("CARGO_TARGET_DIR", work())
        .env("RUSTFLAGS", RUSTFLAGS);
    for target in &targets {
        build.args(["--bin", &target.name]);
    }
    run(&mut build)?;
    println!("| target | executions | seconds | executions/s | corpus | findings |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut findings = 0;
    for target in &targets {
        let outcome = target.fuzz(&job)?;
        let Outcome {
            executed,
            seconds,
            corpus,
            ..
        } = outcome;
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rate = executed as f64 / seconds;
        println!(
            "| {} | {executed} | {seconds:.0} | {rate:.0} | {corpus} | {} |",
            target.name, outcome.findings
        );
        findings += outcome.findings;
    }
    if findings > 0 {
        bail!(
            "{findings} findings, in {}",
            work().join("artifacts").display()
        );
    }
    Ok(())
}
