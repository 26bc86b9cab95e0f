// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks: whole processes, ours and others', run by turns and compared as ratios.
//!
//! `cargo run --release -p sealroot-bench -- digest DIR`

#![forbid(unsafe_code)]

mod digest;
mod floor;
mod machine;
mod measure;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The digest of an image of a directory: ours, mkcomposefs', and the floor of walking,
    /// reading and hashing it
    Digest(digest::Options),
    /// What `digest` measures of ours where there is no sealroot program
    #[command(hide = true)]
    OurDigest {
        /// The directory
        directory: PathBuf,
    },
    /// What `digest` measures as the floor
    #[command(hide = true)]
    Floor(floor::Options),
}

fn main() -> Result<()> {
    match Cli::parse().bench {
        Bench::Digest(options) => digest::run(&options),
        Bench::OurDigest { directory } => digest::ours(&directory),
        Bench::Floor(options) => floor::run(&options),
    }
}
