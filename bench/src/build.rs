// SPDX-License-Identifier: MIT OR Apache-2.0
//! `build` of a directory into an empty store, beside what others do to keep such a tree.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use sealroot_testkit::need;

use crate::measure::{Contestant, measure, output};
use crate::report::{Limit, Report};
use crate::setting::Setting;

const CFSCTL: &str = "cfsctl create-image";
const MKCOMPOSEFS: &str = "mkcomposefs --digest-store (Rust)";
const OSTREE: &str = "ostree commit + checkout -H";
const FLOOR: &str = "floor: keep";

const LIMITS: [Limit<'_>; 4] = [
    Limit {
        other: CFSCTL,
        cpu: Some(0.25),
        wall: Some(0.4),
    },
    Limit {
        other: MKCOMPOSEFS,
        cpu: Some(0.75),
        wall: None,
    },
    Limit {
        other: OSTREE,
        cpu: Some(0.35),
        wall: None,
    },
    Limit {
        other: FLOOR,
        cpu: Some(1.3),
        wall: None,
    },
];

/// The calls by which a program waits for the disk.
const SYNCS: &str = "fsync,fdatasync,syncfs,sync,sync_file_range,msync";

/// How often all are run.
const ROUNDS: usize = 5;

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let mut contestants = vec![Contestant::new("sealroot build", |place| {
        Ok(vec![
            setting.build(&setting.directory, &place.join("store")),
        ])
    })];
    if setting.cfsctl().is_some() {
        contestants.push(Contestant::new(CFSCTL, |place| cfsctl(setting, place)));
    }
    if setting.rust_mkcomposefs().is_some() {
        contestants.push(Contestant::new(MKCOMPOSEFS, |place| {
            mkcomposefs(setting, place)
        }));
    }
    if need::find_tool("ostree").is_some() {
        contestants.push(Contestant::new(OSTREE, |place| ostree(setting, place)));
    }
    contestants.push(Contestant::new(FLOOR, |place| {
        let mut command = Command::new(env::current_exe()?);
        command.arg("floor").arg(&setting.directory).arg("keep");
        command.arg("--into").arg(place.join("objects"));
        Ok(vec![command])
    }));
    let rounds = setting.rounds(ROUNDS);
    let scratch = setting.scratch()?;
    measure(&mut contestants, rounds, scratch.path())?;

    report.section("Build into an empty store");
    report.line(format_args!(
        "Warm; medians of {rounds} rounds. On a filesystem without fs-verity. The floor reads, hashes, \
         writes, syncs and names on one thread, and builds nothing.\n"
    ));
    report.times("build", &contestants, &LIMITS);
    report.line("How often each waits for the disk (`strace`, one more run):\n");
    let mut rows = Vec::new();
    for (index, contestant) in contestants.iter().enumerate() {
        let place = scratch.path().join(format!("syncs-{index}"));
        std::fs::create_dir(&place)?;
        rows.push([contestant.name.clone(), syncs(contestant, &place)?]);
    }
    report.table(["what", "calls"], rows);
    Ok(())
}

/// An image in a new repository of composefs-rs.
fn cfsctl(setting: &Setting, place: &Path) -> Result<Vec<Command>> {
    let cfsctl = || -> Result<Command> {
        let mut command = setting.cfsctl().context("no cfsctl")?;
        command.arg("--repo").arg(place.join("repository"));
        command.args(["--hash", "sha256"]);
        Ok(command)
    };
    output(cfsctl()?.args(["init", "--insecure", "--algorithm", "fsverity-sha256-12"]))?;
    let mut create = cfsctl()?;
    create.arg("create-image").arg(&setting.directory);
    Ok(vec![create])
}

/// An image and its objects, by the other command of composefs-rs.
fn mkcomposefs(setting: &Setting, place: &Path) -> Result<Vec<Command>> {
    let mut command = setting.rust_mkcomposefs().context("no mkcomposefs")?;
    command.arg("--digest-store").arg(place.join("objects"));
    command.arg(&setting.directory).arg(place.join("image"));
    Ok(vec![command])
}

/// A commit in a new bare repository, and the directory of hardlinks that is booted from.
fn ostree(setting: &Setting, place: &Path) -> Result<Vec<Command>> {
    let repository = format!("--repo={}", place.join("repository").display());
    let ostree = |arguments: &[&str]| {
        let mut command = Command::new("ostree");
        command.arg(&repository).args(arguments);
        command
    };
    output(&mut ostree(&["init", "--mode=bare"]))?;
    let tree = format!("--tree=dir={}", setting.directory.display());
    let commit = ostree(&["commit", "--branch=bench", &tree]);
    let mut checkout = ostree(&["checkout", "-H", "bench"]);
    checkout.arg(place.join("checkout"));
    Ok(vec![commit, checkout])
}

/// The calls of [`SYNCS`] that a run makes, each with its number.
fn syncs(contestant: &Contestant<'_>, place: &Path) -> Result<String> {
    let mut found = Vec::new();
    for (index, command) in contestant.commands(place)?.iter().enumerate() {
        let summary = place.join(format!("strace-{index}"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "--quiet=all", "-c", "-U", "calls,name"]);
        strace.args(["-e", &format!("trace={SYNCS}"), "-o"]);
        strace.arg(&summary).arg(command.get_program());
        output(strace.args(command.get_args()))?;
        let text = std::fs::read_to_string(&summary)?;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(Ok(calls)), Some(name)) =
                (words.next().map(str::parse::<u64>), words.next())
                && name != "total"
            {
                found.push(format!("{calls} {name}"));
            }
        }
    }
    if found.is_empty() {
        found.push("none".into());
    }
    Ok(found.join(", "))
}
