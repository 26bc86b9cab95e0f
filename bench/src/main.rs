// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks: whole processes, ours and others', run by turns and compared as ratios.
//!
//! `cargo xtask bench` sets up what they need and runs them; `docs/benchmarks.md` says more.

#![forbid(unsafe_code)]

mod adopt;
mod again;
mod boot;
mod build;
mod clock;
mod deploy;
mod digest;
mod floor;
mod listing;
mod machine;
mod many;
mod measure;
mod memory;
mod pull;
mod releases;
mod report;
mod setting;
mod size;
mod trace;
mod update;
mod vendor;
mod verity;

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
    /// The most memory that `build` holds
    Memory(Options),
    /// The most memory that `pull` holds
    Pull(Options),
    /// A second `build` and `deploy` of the same: what is read and written
    Again(Options),
    /// How large packs are
    Size(Options),
    /// What the boot program does for a small and for a large tree, in a virtual machine
    Boot(Options),
    /// How long a verified boot takes, and one of the same tree from plain ext4, in a virtual machine
    Clock(Options),
    /// What enabling fs-verity costs, in a virtual machine
    Verity(Options),
    /// `deploy` of an update in which few files changed: ours, and what ostree does
    Deploy(Options),
    /// Taking over a commit of OSTree: its time, and what it takes on the disk
    Adopt(Options),
    /// `status` and `prune` of a machine with many deployments
    Listing(Options),
    /// What updates cost whoever makes and fetches them: ours, and what ostree and casync do
    Update(Options),
    /// What deltas of ten releases take on the server, and save devices that are behind
    Releases(Options),
    /// What `digest` measures as the floor
    #[command(hide = true)]
    Floor(floor::Options),
    /// What measures the memory of one run
    #[command(hide = true)]
    Peak(memory::Peak),
}

/// Measures, and adds what it found to the report.
type Measure = fn(&Setting, &mut Report) -> Result<()>;

const ALL: [(&str, Measure); 14] = [
    ("digest", digest::run),
    ("build", build::run),
    ("memory", memory::run),
    ("pull", pull::run),
    ("again", again::run),
    ("size", size::run),
    ("boot", boot::run),
    ("clock", clock::run),
    ("verity", verity::run),
    ("deploy", deploy::run),
    ("adopt", adopt::run),
    ("listing", listing::run),
    ("update", update::run),
    ("releases", releases::run),
];

fn main() -> Result<()> {
    let (options, name) = match Cli::parse().bench {
        Bench::All(options) => return run(&options, &ALL),
        Bench::Digest(options) => (options, "digest"),
        Bench::Build(options) => (options, "build"),
        Bench::Memory(options) => (options, "memory"),
        Bench::Pull(options) => (options, "pull"),
        Bench::Again(options) => (options, "again"),
        Bench::Size(options) => (options, "size"),
        Bench::Boot(options) => (options, "boot"),
        Bench::Clock(options) => (options, "clock"),
        Bench::Verity(options) => (options, "verity"),
        Bench::Deploy(options) => (options, "deploy"),
        Bench::Adopt(options) => (options, "adopt"),
        Bench::Listing(options) => (options, "listing"),
        Bench::Update(options) => (options, "update"),
        Bench::Releases(options) => (options, "releases"),
        Bench::Floor(options) => return floor::run(&options),
        Bench::Peak(options) => return memory::peak(&options),
    };
    let mut benches = ALL.to_vec();
    benches.retain(|(found, _)| *found == name);
    run(&options, &benches)
}

/// Runs benches, and prints one report of all; after an error, of those that ran to their end.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what was asked for"
)]
fn run(options: &Options, benches: &[(&str, Measure)]) -> Result<()> {
    let setting = Setting::find(options)?;
    let mut report = Report::new();
    let done = benches.iter().try_for_each(|(name, measure)| {
        eprintln!("bench {name}");
        let start = Instant::now();
        measure(&setting, &mut report).with_context(|| format!("bench {name}"))?;
        eprintln!("bench {name}: {} s", start.elapsed().as_secs());
        Ok(())
    });
    println!("{report}");
    done
}
