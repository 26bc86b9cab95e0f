// SPDX-License-Identifier: MIT OR Apache-2.0
//! The digest of an image of a directory, with nothing written.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use sealroot::monitor::Silent;
use sealroot::object::Discard;
use sealroot::source::{Devices, DirectoryOptions, read_directory};
use sealroot_format::limits::DEFAULT_THRESHOLD_BYTES;
use sealroot_format::pack::write_pack;
use sealroot_sha::Engine;

use crate::machine;
use crate::measure::{Contestant, measure};
use crate::table::{self, Limit};

const RUST_MKCOMPOSEFS: &str = "mkcomposefs (Rust)";
const C_MKCOMPOSEFS: &str = "mkcomposefs (C)";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory, best the root of an OS of at least 200 MB
    directory: PathBuf,
    /// How often everything is run; the table has the medians
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// The sealroot program [default: the one built beside this one, or the library alone]
    #[arg(long, value_name = "PATH")]
    sealroot: Option<PathBuf>,
    /// mkcomposefs of composefs-rs (cfsctl under that name)
    #[arg(long, value_name = "PATH")]
    mkcomposefs: Option<PathBuf>,
    /// mkcomposefs of composefs, in C
    #[arg(long, value_name = "PATH")]
    c_mkcomposefs: Option<PathBuf>,
}

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = &options.directory;
    let mut contestants = vec![our_contestant(options)?];
    for (name, path) in [
        (RUST_MKCOMPOSEFS, &options.mkcomposefs),
        (C_MKCOMPOSEFS, &options.c_mkcomposefs),
    ] {
        let Some(path) = path else {
            println!("SKIP: {name} was not given");
            continue;
        };
        let mut command = Command::new(path);
        command.arg("--print-digest-only").arg(directory);
        contestants.push(Contestant::new(name, command));
    }
    let best = Engine::best().to_string();
    let engines = Engine::available().map(|engine| format!("hash {engine}"));
    for work in ["walk", "read"]
        .map(String::from)
        .into_iter()
        .chain(engines)
    {
        let mut command = Command::new(env::current_exe()?);
        command.arg("floor").arg(directory);
        command.args(work.split(' '));
        contestants.push(Contestant::new(format!("floor: {work}"), command));
    }
    println!("{}", machine::describe());
    println!("- directory: {}", directory.display());
    measure(&mut contestants, options.rounds)?;
    let has_avx512 = Engine::available().any(|engine| engine.to_string() == "avx512");
    let floor = format!("floor: hash {best}");
    let mut limits = vec![Limit {
        other: &floor,
        at_most: 1.3,
    }];
    if has_avx512 {
        limits.extend([
            Limit {
                other: RUST_MKCOMPOSEFS,
                at_most: 0.35,
            },
            Limit {
                other: C_MKCOMPOSEFS,
                at_most: 0.45,
            },
        ]);
    }
    println!("- medians of {} rounds\n", options.rounds);
    table::print(&contestants, &limits);
    Ok(())
}

fn our_contestant(options: &Options) -> Result<Contestant> {
    let this = env::current_exe()?;
    let beside = this.with_file_name("sealroot");
    let sealroot = options.sealroot.clone();
    let sealroot = sealroot.or_else(|| beside.is_file().then_some(beside));
    let (name, program, arguments) = if let Some(sealroot) = sealroot {
        let arguments: &[_] = &["image", "--digest-only", "--devices", "keep"];
        ("sealroot image --digest-only", sealroot, arguments)
    } else {
        let arguments: &[_] = &["our-digest"];
        ("sealroot's library", this, arguments)
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(&options.directory);
    Ok(Contestant::new(name, command))
}

/// Prints the digest of the pack of a directory, as `sealroot image --digest-only` does.
#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub(crate) fn ours(directory: &Path) -> Result<()> {
    let options = DirectoryOptions {
        threshold_bytes: DEFAULT_THRESHOLD_BYTES,
        devices: Devices::Keep,
    };
    let tree = read_directory(directory, &options, &Discard, &Silent)?;
    let pack = write_pack(&tree, DEFAULT_THRESHOLD_BYTES, &mut io::sink())
        .context("cannot write the pack")?;
    println!("{}", pack.digest);
    Ok(())
}
