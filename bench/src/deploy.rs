// SPDX-License-Identifier: MIT OR Apache-2.0
//! `deploy` of an update in which few files changed, beside what OSTree does with the same commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::{CommandReport, Worker};
use sealroot_testkit::need;
use sealroot_testkit::release::usual_kernel;
use serde_json::Value;

use crate::many;
use crate::measure::{Contestant, hardlinked, measure, output};
use crate::report::{Limit, Report};
use crate::setting::Setting;

const DEPLOY: &str = "ostree admin deploy";
const DEPLOY_ONLY: &str = "ostree admin deploy --no-prune --retain";
const CHECKOUT: &str = "ostree checkout -H";

/// Our CPU time beside OSTree's.
const AT_MOST: f64 = 0.2;

const LIMITS: [Limit<'_>; 1] = [Limit {
    other: DEPLOY,
    cpu: Some(AT_MOST),
    wall: None,
}];

/// Calls beyond linking and measuring for each file that changed.
const MAX_REST_PER_CHANGED: u64 = 20;

/// Opening, measuring, closing.
const MEASURE_CALLS: u64 = 3;

const ROUNDS: usize = 5;

const DISK_MIB: u64 = 6144;
const MEMORY_MIB: u32 = 4096;
const TIME_OUT: Duration = Duration::from_secs(3600);

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let scratch = setting.scratch()?;
    let machine = Sysroots::create(setting, scratch.path())?;
    let rounds = setting.rounds(ROUNDS);
    let mut contestants = [
        Contestant::new("sealroot deploy", |place| machine.ours(setting, place)),
        Contestant::new(DEPLOY, |place| machine.theirs(place, &[])),
        Contestant::new(DEPLOY_ONLY, |place| {
            machine.theirs(place, &["--no-prune", "--retain"])
        }),
        Contestant::new(CHECKOUT, |place| Ok(vec![machine.checkout(place)])),
    ];
    let runs = scratch.path().join("runs");
    fs::create_dir(&runs)?;
    measure(&mut contestants, rounds, &runs)?;
    report.section("Deploy an update");
    report.line(format_args!(
        "{} files, {} of them changed. Warm; medians of {rounds} rounds, on a filesystem without fs-verity: \
         ours hashes the pack and measures nothing. Content and pack are there before; all but the \
         checkout also merge /etc and write a boot entry.\n",
        many::FILES,
        many::CHANGED
    ));
    report.times("deploy", &contestants, &LIMITS);
    in_guest(&machine, report)
}

/// A machine of OSTree and one of ours, each with the old release deployed and the new one there.
struct Sysroots {
    theirs: PathBuf,
    ours: PathBuf,
    keyset: PathBuf,
    secret: PathBuf,
    /// The commit of the update.
    commit: String,
}

impl Sysroots {
    fn create(setting: &Setting, scratch: &Path) -> Result<Self> {
        let (theirs, ours) = (scratch.join("theirs"), scratch.join("ours"));
        let repository = theirs.join("ostree/repo");
        let repo = format!("--repo={}", repository.display());
        let admin = |arguments: &[&str]| {
            let mut command = ostree();
            command.arg("admin").args(arguments);
            command.arg(format!("--sysroot={}", theirs.display()));
            output(&mut command)
        };
        fs::create_dir(&theirs)?;
        output(ostree().args(["admin", "init-fs"]).arg(&theirs))?;
        output(ostree().args([&repo, "config", "set", "sysroot.bootloader", "none"]))?;
        admin(&["os-init", "bench"])?;
        let tree = scratch.join("tree");
        many::create(&tree)?;
        let commit = |branch: &str| {
            let mut command = ostree();
            command.args([&repo, "commit", "--fsync=false", "--branch", branch]);
            output(command.arg(format!("--tree=dir={}", tree.display())))
        };
        let old = commit("v1")?;
        admin(&["deploy", "--os=bench", "v1"])?;
        many::update(&tree)?;
        let new = commit("v2")?;

        fs::create_dir_all(ours.join("boot/loader/entries"))?;
        fs::create_dir_all(ours.join("run"))?;
        let key = scratch.join("bench");
        output(setting.sealroot().args(["keys", "new"]).arg(&key))?;
        let made = Self {
            theirs,
            keyset: key.with_extension("keyset"),
            secret: key.with_extension("secret"),
            commit: new.trim().to_owned(),
            ours,
        };
        for (index, commit) in [(1, old.trim()), (2, new.trim())] {
            made.release(setting, &repository, commit, index)?;
        }
        output(&mut made.deploy(setting, &made.ours, old.trim()))?;
        Ok(made)
    }

    /// Makes a release of a commit, and signs it.
    fn release(
        &self,
        setting: &Setting,
        repository: &Path,
        commit: &str,
        index: u32,
    ) -> Result<()> {
        let sealroot = || {
            let mut command = setting.sealroot();
            command.arg("--sysroot").arg(&self.ours);
            command
        };
        let mut build = sealroot();
        build.args(["build", "--os", "bench", "--stream", "bench", "--ostree"]);
        build.arg(repository).arg(commit);
        output(build.args(["--index", &index.to_string()]))?;
        output(sealroot().args(["sign", commit, "--key"]).arg(&self.secret))?;
        Ok(())
    }

    fn deploy(&self, setting: &Setting, sysroot: &Path, commit: &str) -> Command {
        let mut command = setting.sealroot();
        command.arg("--sysroot").arg(sysroot);
        command.arg("--keyset").arg(&self.keyset);
        command.args(["deploy", commit, "--mode", "integrity"]);
        command.args(["--etc", "merge", "--stateroot", "bench"]);
        command.arg("--boot").arg(sysroot.join("boot"));
        command.args(["--boot-loader", "grub", "--initramfs"]);
        // What it boots with does not matter here.
        command.arg(&self.keyset);
        command.arg("--run").arg(sysroot.join("run"));
        command
    }

    fn ours(&self, setting: &Setting, place: &Path) -> Result<Vec<Command>> {
        let sysroot = hardlinked(&self.ours, place)?;
        Ok(vec![self.deploy(setting, &sysroot, &self.commit)])
    }

    fn theirs(&self, place: &Path, options: &[&str]) -> Result<Vec<Command>> {
        let sysroot = hardlinked(&self.theirs, place)?;
        let mut command = ostree();
        command
            .args(["admin", "deploy", "--os=bench"])
            .args(options);
        command.arg(format!("--sysroot={}", sysroot.display()));
        command.arg(&self.commit);
        Ok(vec![command])
    }

    fn checkout(&self, place: &Path) -> Command {
        let mut command = ostree();
        command.arg(format!("--repo={}/ostree/repo", self.theirs.display()));
        command.args(["checkout", "-H", &self.commit]);
        command.arg(place.join("checkout"));
        command
    }
}

fn ostree() -> Command {
    let mut command = Command::new("ostree");
    // What is immutable cannot be removed afterwards.
    command.env("OSTREE_SYSROOT_DEBUG", "mutable-deployments");
    command
}

/// The calls by which a deployment is made where there is fs-verity, and the time that it takes
/// there.
fn in_guest(machine: &Sysroots, report: &mut Report) -> Result<()> {
    let kernel = usual_kernel().context("there is no guest kernel")?;
    let scratch = tempfile::tempdir_in(machine.theirs.parent().unwrap_or(&machine.theirs))?;
    let disk = Disk::create(
        &scratch.path().join("machine"),
        Filesystem::Ext4Verity,
        DISK_MIB,
        Some(&machine.theirs),
    )?;
    let mut worker = Worker::new(&kernel, &[])?;
    worker.memory_mib(MEMORY_MIB);
    worker.add_file("sealroot", &Program::SealrootReleased.build()?)?;
    worker.add_file("keyset", &machine.keyset)?;
    worker.add_file("secret", &machine.secret)?;
    let tool = |name: &str| need::find_tool(name).with_context(|| format!("{name} is missing"));
    let (strace, ostree) = (tool("strace")?, tool("ostree")?);
    worker.add_program(&strace)?;
    worker.add_program(&ostree)?;
    worker.mount("machine", disk.path(), "ext4");
    let sealroot = [
        "/sealroot",
        "--sysroot",
        "/mnt/machine",
        "--keyset",
        "/keyset",
    ];
    let mut ours = |words: &[&str]| worker.command(sealroot.iter().chain(words).copied());
    let commit = &*machine.commit;
    ours(&[
        "--json",
        "build",
        "--ostree",
        "/mnt/machine/ostree/repo",
        commit,
        "--os",
        "bench",
        "--stream",
        "bench",
        "--index",
        "1",
    ]);
    ours(&["sign", commit, "--key", "/secret"]);
    let deploy = ["deploy", commit, "--mode", "verity", "--no-entry"];
    ours(&deploy);
    ours(&["undeploy", &format!("{commit}.0")]);
    let strace = strace.to_str().context("a path that is no UTF-8")?;
    let traced = [
        strace,
        "-f",
        "-c",
        "-U",
        "calls,name",
        "-o",
        "/proc/self/fd/1",
    ];
    worker.command(traced.into_iter().chain(sealroot).chain(deploy));
    worker.command(["/init", "sync"]);
    let ostree = ostree.to_str().context("a path that is no UTF-8")?;
    worker.command([
        ostree,
        "admin",
        "deploy",
        "--sysroot=/mnt/machine",
        "--os=bench",
        commit,
    ]);
    let done = worker.run(TIME_OUT)?;
    let find = |words: &[&str]| -> Result<&CommandReport> {
        let has = |done: &&CommandReport| {
            let has = |word: &&str| done.command.iter().any(|found| found == word);
            words.iter().all(has)
        };
        done.commands
            .iter()
            .find(has)
            .with_context(|| format!("no command {words:?}"))
    };
    let cpu = |done: &CommandReport| Duration::from_millis(done.cpu_milliseconds);
    let (ours, theirs) = (find(&["/sealroot", "deploy"])?, find(&["admin", "deploy"])?);
    let built: Value = serde_json::from_str(&find(&["build"])?.output)?;
    let objects = built["objects"].as_u64().context("how many objects")?;
    Calls::read(&find(&["deploy", "-c"])?.output).report(objects, report);
    report.line(format_args!(
        "In that guest, emulated, `sealroot deploy` took {} ms of CPU and `{DEPLOY}` {} ms.\n",
        ours.cpu_milliseconds, theirs.cpu_milliseconds
    ));
    report.ratio_bar(
        "deploy, with fs-verity, in a guest: CPU of ostree",
        cpu(ours).div_duration_f64(cpu(theirs)),
        AT_MOST,
    );
    Ok(())
}

/// How often each system call was made, as strace sums it up.
struct Calls(BTreeMap<String, u64>);

impl Calls {
    fn read(text: &str) -> Self {
        let calls = text.lines().filter_map(|line| {
            let (count, name) = line.trim().split_once(char::is_whitespace)?;
            Some((name.trim().to_owned(), count.parse().ok()?))
        });
        Self(calls.filter(|(name, _)| name != "total").collect())
    }

    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn report(&self, objects: u64, report: &mut Report) {
        let all: u64 = self.0.values().sum();
        let (links, measures) = (self.of("linkat"), self.of("ioctl"));
        let rest = all.saturating_sub((1 + MEASURE_CALLS) * objects);
        report.line(format_args!(
            "With fs-verity, in a virtual machine: {all} system calls for {objects} distinct objects, {links} \
             of them link and {measures} measure; opening, measuring and closing each object apart, \
             {rest} are left. Most frequent:\n"
        ));
        let mut calls: Vec<_> = self.0.iter().collect();
        calls.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rows = calls.iter().take(8);
        report.table(
            ["call", "times"],
            rows.map(|(name, count)| [(*name).clone(), count.to_string()]),
        );
        let most_rest = MAX_REST_PER_CHANGED * u64::from(many::CHANGED);
        for (what, found, at_most) in [
            ("link, for each object", links / objects, 1),
            ("measure, for each object", measures / objects, 1),
            ("the rest", rest, most_rest),
        ] {
            let what = format!("deploy, system calls: {what}");
            report.bar(what, found, at_most, found <= at_most);
        }
    }
}
