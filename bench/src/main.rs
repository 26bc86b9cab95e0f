// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks: whole processes, ours and others', run by turns and compared as ratios.
//!
//! `cargo xtask bench` sets up what they need and runs them; `docs/benchmarks.md` says more.

#![forbid(unsafe_code)]

mod again;
mod build;
mod digest;
mod floor;
mod machine;
mod measure;
mod memory;
mod report;
mod setting;
mod size;
mod trace;

use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::setting::{Options, Setting};

#[derive(Debug, Parser)]
#[command(about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// All of them
    All(Options),
    /// The digest of an image of a directory: ours, mkcomposefs', and the floor of walking,
    /// reading and hashing it
    Digest(Options),
    /// `build` into an empty store: ours, and what cfsctl, mkcomposefs and ostree do
    Build(Options),
    /// A second `build` and `deploy` of the same: what is read and written
    Again(Options),
    /// The most memory that `build` holds
    Memory(Options),
    /// How large packs are
    Size(Options),
    /// What measures the memory of one run
    #[command(hide = true)]
    Peak(memory::Peak),
    /// What `digest` measures as the floor
    #[command(hide = true)]
    Floor(floor::Options),
}

/// Measures, and adds what it found to the report.
type Measure = fn(&Setting, &mut Report) -> Result<()>;

const DIGEST: (&str, Measure) = ("digest", digest::run);
const BUILD: (&str, Measure) = ("build", build::run);
const AGAIN: (&str, Measure) = ("again", again::run);
const MEMORY: (&str, Measure) = ("memory", memory::run);
const SIZE: (&str, Measure) = ("size", size::run);

fn main() -> Result<()> {
    match Cli::parse().bench {
        Bench::All(options) => run(&options, &[DIGEST, BUILD, MEMORY, AGAIN, SIZE]),
        Bench::Digest(options) => run(&options, &[DIGEST]),
        Bench::Build(options) => run(&options, &[BUILD]),
        Bench::Again(options) => run(&options, &[AGAIN]),
        Bench::Memory(options) => run(&options, &[MEMORY]),
        Bench::Peak(options) => memory::peak(&options),
        Bench::Size(options) => run(&options, &[SIZE]),
        Bench::Floor(options) => floor::run(&options),
    }
}

/// Runs benches, and prints one report of all.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what was asked for"
)]
fn run(options: &Options, benches: &[(&str, Measure)]) -> Result<()> {
    let setting = Setting::find(options)?;
    let mut report = Report::new();
    for (name, measure) in benches {
        eprintln!("bench {name}");
        let start = Instant::now();
        measure(&setting, &mut report).with_context(|| format!("bench {name}"))?;
        eprintln!("bench {name}: {} s", start.elapsed().as_secs());
    }
    println!("{report}");
    Ok(())
}
