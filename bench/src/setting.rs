// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured, with what, and where.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use sealroot_testkit::need;
use tempfile::TempDir;

/// Options of every bench.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The root of an OS, best of at least 200 MB [default: the Debian that setup makes]
    directory: Option<PathBuf>,
    /// How often what is timed is run; the tables have the medians [default: 11, or 5 of what writes]
    #[arg(long)]
    rounds: Option<usize>,
    /// Where runs write; a directory in it is made and removed [default: target]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// The sealroot program [default: the one built beside this one]
    #[arg(long, value_name = "PATH")]
    sealroot: Option<PathBuf>,
    /// mkcomposefs of composefs-rs [default: the one that setup builds]
    #[arg(long, value_name = "PATH")]
    mkcomposefs: Option<PathBuf>,
    /// mkcomposefs of composefs, in C [default: the one that setup fetches]
    #[arg(long, value_name = "PATH")]
    c_mkcomposefs: Option<PathBuf>,
}

/// The options, with all that they leave open found.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The root of an OS.
    pub(crate) directory: PathBuf,
    /// The root of an OS of about 1 GB, if nothing else was said.
    pub(crate) adopted: PathBuf,
    rounds: Option<usize>,
    sealroot: PathBuf,
    mkcomposefs: Option<PathBuf>,
    c_mkcomposefs: Option<PathBuf>,
    scratch: PathBuf,
}

impl Setting {
    pub(crate) fn find(options: &Options) -> Result<Self> {
        let directory = options.directory.clone();
        let adopted = directory.clone();
        let adopted = adopted.unwrap_or_else(|| need::cache().join("debian-large"));
        let directory = directory.unwrap_or_else(|| need::cache().join("debian-bench"));
        ensure!(
            directory.is_dir(),
            "there is no directory {}; `cargo xtask bench` makes it",
            directory.display()
        );
        let beside = env::current_exe()?.with_file_name("sealroot");
        let sealroot = options.sealroot.clone().unwrap_or(beside);
        ensure!(
            sealroot.is_file(),
            "{} is missing: cargo build --release -p sealroot-cli",
            sealroot.display()
        );
        let scratch = options.scratch.clone();
        let mkcomposefs = options.mkcomposefs.clone();
        Ok(Self {
            directory,
            adopted,
            rounds: options.rounds,
            sealroot,
            mkcomposefs: mkcomposefs.or_else(|| need::find_tool("mkcomposefs")),
            c_mkcomposefs: options.c_mkcomposefs.clone(),
            scratch: scratch.unwrap_or_else(|| need::repository().join("target")),
        })
    }

    /// How often to run what is timed, unless the user says otherwise.
    pub(crate) fn rounds(&self, default: usize) -> usize {
        self.rounds.unwrap_or(default)
    }

    /// A directory for what a bench writes, removed with the value.
    pub(crate) fn scratch(&self) -> Result<TempDir> {
        let what = || format!("cannot make a directory in {}", self.scratch.display());
        std::fs::create_dir_all(&self.scratch).with_context(what)?;
        tempfile::tempdir_in(&self.scratch).with_context(what)
    }

    /// Our command.
    pub(crate) fn sealroot(&self) -> Command {
        Command::new(&self.sealroot)
    }

    /// `sealroot build` of a directory into a store.
    pub(crate) fn build(&self, directory: &Path, store: &Path) -> Command {
        let mut command = self.sealroot();
        command.arg("--store").arg(store);
        command.args(["build", "--devices", "keep", "--os", "bench"]);
        command.args(["--stream", "bench", "--index", "1", "--created", "1"]);
        command.arg("--dir").arg(directory);
        command
    }

    /// mkcomposefs of composefs-rs, if it is there.
    pub(crate) fn rust_mkcomposefs(&self) -> Option<Command> {
        self.mkcomposefs.as_ref().map(Command::new)
    }

    /// cfsctl of composefs-rs, if it is there. It is mkcomposefs under another name.
    pub(crate) fn cfsctl(&self) -> Option<Command> {
        let program = self.mkcomposefs.as_ref()?.canonicalize().ok()?;
        (program.file_name()? == "cfsctl").then(|| Command::new(program))
    }

    /// mkcomposefs of composefs in C, if it is there.
    pub(crate) fn c_mkcomposefs(&self) -> Option<Command> {
        if let Some(program) = &self.c_mkcomposefs {
            return Some(Command::new(program));
        }
        // Of a later Debian, with its own libraries; started as its wrapper does, without a shell.
        let root = need::cache().join("composefs/usr");
        let libraries = root.join("lib/x86_64-linux-gnu");
        let program = root.join("bin/mkcomposefs");
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(libraries).arg(&program);
        program.is_file().then_some(command)
    }
}
