// SPDX-License-Identifier: MIT OR Apache-2.0
//! `status` and `prune` of a machine that has many deployments.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::measure::{Contestant, measure, output};
use crate::report::{Report, ms};
use crate::setting::Setting;

/// How many deployments, each of a release of its own.
const DEPLOYMENTS: u32 = 20;

const MOST_CPU_MS: f64 = 50.0;

const ROUNDS: usize = 11;

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let scratch = setting.scratch()?;
    let machine = scratch.path().join("machine");
    create(setting, scratch.path(), &machine)?;
    let rounds = setting.rounds(ROUNDS);
    let on_machine = |words: &[&str]| {
        let mut command = sealroot(setting, &machine);
        command.args(words).arg("--boot").arg(machine.join("boot"));
        command.args(["--boot-loader", "grub", "--run"]);
        command.arg(machine.join("run"));
        vec![command]
    };
    let mut contestants = [
        Contestant::new("status", |_| Ok(on_machine(&["status"]))),
        Contestant::new("prune, nothing to collect", |_| Ok(on_machine(&["prune"]))),
    ];
    let runs = scratch.path().join("runs");
    fs::create_dir(&runs)?;
    measure(&mut contestants, rounds, &runs)?;
    report.section("Status and prune");
    report.line(format_args!(
        "{DEPLOYMENTS} deployments, all pinned, each of a release of its own of the same OS. Warm; medians \
         of {rounds} rounds.\n"
    ));
    report.times("", &contestants, &[]);
    for contestant in &contestants {
        let cpu = contestant.figures().cpu;
        report.bar(
            format!("{} with {DEPLOYMENTS} deployments: CPU", contestant.name),
            format_args!("{} ms", ms(cpu)),
            format_args!("{MOST_CPU_MS} ms"),
            cpu.as_secs_f64() * 1000.0 <= MOST_CPU_MS,
        );
    }
    Ok(())
}

fn sealroot(setting: &Setting, machine: &Path) -> Command {
    let mut command = setting.sealroot();
    command.arg("--sysroot").arg(machine);
    command
}

fn create(setting: &Setting, scratch: &Path, machine: &Path) -> Result<()> {
    fs::create_dir_all(machine.join("boot/loader/entries"))?;
    fs::create_dir_all(machine.join("run"))?;
    let tree = scratch.join("tree");
    output(
        Command::new("cp")
            .arg("--archive")
            .arg(&setting.directory)
            .arg(&tree),
    )?;
    let key = scratch.join("bench");
    output(setting.sealroot().args(["keys", "new"]).arg(&key))?;
    let keyset = key.with_extension("keyset");
    for index in 1..=DEPLOYMENTS {
        let mut changed = OpenOptions::new()
            .create(true)
            .append(true)
            .open(tree.join("usr/release"))?;
        writeln!(changed, "{index}")?;
        let mut build = sealroot(setting, machine);
        build.args([
            "build",
            "--devices",
            "keep",
            "--os",
            "bench",
            "--stream",
            "bench",
        ]);
        build
            .args(["--index", &index.to_string(), "--dir"])
            .arg(&tree);
        let built = output(&mut build)?;
        let commit = built
            .strip_prefix("commit ")
            .and_then(|rest| rest.lines().next());
        let commit = commit.context("build named no commit")?;
        let mut sign = sealroot(setting, machine);
        sign.args(["sign", commit, "--key"]);
        output(sign.arg(key.with_extension("secret")))?;
        let mut deploy = sealroot(setting, machine);
        deploy.arg("--keyset").arg(&keyset);
        output(deploy.args(["deploy", commit, "--mode", "integrity", "--no-entry"]))?;
        output(sealroot(setting, machine).args(["pin", &format!("{commit}.0")]))?;
    }
    Ok(())
}
