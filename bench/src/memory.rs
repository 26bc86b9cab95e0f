// SPDX-License-Identifier: MIT OR Apache-2.0
//! The most memory that `build` holds, for trees that are large in different ways.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};

use crate::measure::output;
use crate::report::Report;
use crate::setting::Setting;

const MIB: u64 = 1024 * 1024;

/// What `build` may hold beside the metadata.
const MAX_BYTES: u64 = 64 * MIB;

/// The length of the large file, which is a hole: it is read like any other.
const LARGE_BYTES: u64 = 3 * 1024 * MIB;

/// Where many files are made and removed fast.
const MEMORY: &str = "/dev/shm";

const SMALL_FILES: u32 = 200_000;
const SMALL_BYTES: usize = 1024;
const SMALL_PER_DIRECTORY: u32 = 1000;

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    report.section("Peak memory of build");
    report.line(
        "The most that was resident, as the kernel counts it, with the program itself and all \
         its threads. The metadata is the pack.\n",
    );
    let mut rows = Vec::new();
    let scratch = setting.scratch()?;
    let large = scratch.path().join("large");
    fs::create_dir(&large)?;
    File::create(large.join("file"))?.set_len(LARGE_BYTES)?;
    let memory = tempfile::tempdir_in(MEMORY)?;
    let small = memory.path().join("small");
    make_files(&small, SMALL_FILES, SMALL_BYTES)?;
    let trees = [
        ("the OS".to_owned(), setting.directory.as_path()),
        (format!("one file of {} MiB", LARGE_BYTES / MIB), &large),
        (
            format!("{SMALL_FILES} files of {SMALL_BYTES} bytes"),
            &small,
        ),
    ];
    for (index, (name, tree)) in trees.into_iter().enumerate() {
        let store = scratch.path().join(format!("store-{index}"));
        let peak_bytes = peak_bytes(&setting.build(tree, &store))?;
        let pack_bytes = pack_bytes(&store)?;
        let limit_bytes = MAX_BYTES + pack_bytes;
        report.bar(
            format!("peak memory of build: {name}"),
            mib(peak_bytes),
            mib(limit_bytes),
            peak_bytes <= limit_bytes,
        );
        rows.push([name, mib(peak_bytes), mib(pack_bytes), mib(limit_bytes)]);
        fs::remove_dir_all(&store)?;
    }
    report.table(["tree", "peak", "metadata", "at most"], rows);
    Ok(())
}

/// Files that all differ, in directories.
fn make_files(directory: &Path, count: u32, len_bytes: usize) -> Result<()> {
    for index in 0..count {
        let parent = directory.join(format!("{}", index / SMALL_PER_DIRECTORY));
        if index % SMALL_PER_DIRECTORY == 0 {
            fs::create_dir_all(&parent)?;
        }
        let mut content = vec![b'.'; len_bytes];
        content[..4].copy_from_slice(&index.to_be_bytes());
        fs::write(parent.join(index.to_string()), content)?;
    }
    Ok(())
}

fn pack_bytes(store: &Path) -> Result<u64> {
    for entry in fs::read_dir(store.join("pack"))? {
        let entry = entry?;
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "pack")
        {
            return Ok(entry.metadata()?.len());
        }
    }
    anyhow::bail!("there is no pack in {}", store.display())
}

/// The most memory that a run of a command held.
fn peak_bytes(command: &Command) -> Result<u64> {
    Ok(peak_in(&output(&mut watched(command)?)?)?.0)
}

/// The command that runs this one, and then says how much memory it held: a process that has no other child.
pub(crate) fn watched(command: &Command) -> Result<Command> {
    let mut watching = Command::new(std::env::current_exe()?);
    watching.arg("peak").arg(command.get_program());
    watching.args(command.get_args());
    Ok(watching)
}

/// The most memory that a [watched] command held, bytes, and what it wrote itself.
pub(crate) fn peak_in(found: &str) -> Result<(u64, &str)> {
    let (written, last) = found.trim_end().rsplit_once('\n').unwrap_or(("", found));
    let kib: u64 = last.trim_end().parse().context("no figure")?;
    Ok((kib * 1024, written))
}

/// Bytes in MiB, with one decimal.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB)
}

#[derive(Debug, Args)]
pub(crate) struct Peak {
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs a command; behind what it writes comes a line with the most memory it held, in KiB.
#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub(crate) fn peak(options: &Peak) -> Result<()> {
    let (program, arguments) = options.command.split_first().context("no command")?;
    let written = output(Command::new(program).args(arguments))?;
    println!(
        "{written}\n{}",
        getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss()
    );
    Ok(())
}
