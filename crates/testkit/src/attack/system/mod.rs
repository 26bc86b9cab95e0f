// SPDX-License-Identifier: MIT OR Apache-2.0
//! Root on a running system, who wants to survive a reboot: A31 to A33, A36, A42 to A45.
//!
//! A Debian boots, does what root may do, and boots once more from the same disk; then it is looked
//! whether anything of it runs. Sealed, through firmware with Secure Boot, where `/etc` is gone with
//! the boot or has a list of kept files; and with an `/etc` that is kept and verified by nobody,
//! which no sealed boot has: there the tricks must work, or they would show nothing elsewhere.

mod state;
mod tricks;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sealroot_format::kept::KEPT_DIRECTORY;
use sealroot_format::policy::{EtcMode, Mode};

use super::chain::{Bench, NO_LAYER, Variant, write_hibernated};
use super::run::{Outcome, Report};
use super::tally::Counts;
use super::{Accept, Verdict};
use crate::debian;
use crate::disk::{Disk, Filesystem, succeed};
use crate::guest::{CommandReport, JOB_DISK, Job, JobReport, write_job_disk};
use crate::kernel::GuestKernel;
use crate::need;
use crate::release::{Release, TREE, usual_kernel};
use crate::vm::{Vm, VmEnd};

const TIME_OUT: Duration = Duration::from_secs(1500);

/// The module that is loaded with its signature, and without.
const MODULE: &str = "dummy";

/// What ends a signed module.
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// The least number of tricks that must have run where `/etc` is kept.
const LEAST_EFFECTIVE: usize = 20;

/// Something that root does, or that is looked at.
#[derive(Clone, Debug)]
struct Step {
    /// The id in the threat model; none of what only prepares.
    id: Option<&'static str>,
    name: String,
    /// For the shell.
    command: String,
    /// What it must say: words.
    expected: &'static str,
}

impl Step {
    fn prepare(name: String, command: String, expected: &'static str) -> Self {
        Self {
            id: None,
            name,
            command,
            expected,
        }
    }

    fn probe(id: &'static str, name: String, command: String, expected: &'static str) -> Self {
        Self {
            id: Some(id),
            ..Self::prepare(name, command, expected)
        }
    }
}

/// A release of a Debian with systemd; `None` where what it takes is missing, which has been said
/// then.
pub fn release() -> Result<Option<Release>> {
    let (Some(kernel), true) = (usual_kernel(), need::root()) else {
        return Ok(None);
    };
    let directory = tempfile::tempdir()?;
    let tree = directory.path().join(TREE);
    fs::create_dir_all(tree.parent().context("a parent")?)?;
    if !debian::create(&tree, "/usr/bin/sealroot-guest report")? {
        return Ok(None);
    }
    debian::add_guest(&tree)?;
    Release::of_tree(&kernel, directory, Mode::Sealed, 400, 600).map(Some)
}

const ETC_MODES: [EtcMode; 3] = [EtcMode::Transient, EtcMode::Allowlist, EtcMode::Merge];

/// Plays all of it in each mode of `/etc`.
pub fn run(bench: &Bench) -> Report {
    let started = Instant::now();
    let mut report = unplayed();
    for etc in ETC_MODES {
        let played = Scene::new(bench, etc).and_then(|scene| scene.play(&mut report));
        if let Err(error) = played {
            let name = format!("etc {etc}: both boots");
            add(&mut report, "A42", &name, 2, Err(error));
        }
    }
    report.end(started);
    report
}

/// Knows all of it, and plays nothing.
pub fn unplayed() -> Report {
    let mut report = Report::default();
    let probes = ETC_MODES.into_iter().flat_map(probes);
    for id in probes.filter_map(|step| step.id) {
        report.know(id, NO_LAYER, 1);
    }
    report
}

/// What is done before the reboot.
fn plants(etc: EtcMode) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut plant = |directory: &str, but: Option<&str>| {
        let tricks = tricks::TRICKS.iter().chain([&tricks::SELINUX]);
        for trick in tricks.filter(|trick| Some(trick.name) != but) {
            let name = format!("{} in {directory}", trick.name);
            let command = format!(
                "{{ {}\n}} > /run/out 2>&1; tail -n 1 /run/out | cut -d ' ' -f 1",
                trick.plant(directory)
            );
            steps.push(Step::prepare(name, command, "planted"));
        }
    };
    plant("/etc", None);
    if etc == EtcMode::Allowlist {
        // As if everything were kept; a good host name may be.
        plant(&format!("/var/{KEPT_DIRECTORY}"), Some("hostname"));
    }
    if etc != EtcMode::Merge {
        let state = state::canaries_in_var()
            .into_iter()
            .chain(state::physical_root());
        steps.extend(state.filter(|step| step.id.is_none()));
    }
    steps
}

/// What is looked at after it.
fn probes(etc: EtcMode) -> Vec<Step> {
    let mut steps = Vec::new();
    for trick in &tricks::TRICKS {
        let name = format!("{} (/etc/{})", trick.name, trick.path);
        steps.push(Step::probe("A42", name, trick.probe(), "- -"));
    }
    let name = "selinux (/etc/selinux/config)".to_owned();
    steps.push(Step::probe("A43", name, tricks::SELINUX.probe(), "- -"));
    if etc != EtcMode::Merge {
        let state = state::canaries_in_var()
            .into_iter()
            .chain(state::physical_root());
        steps.extend(state.filter(|step| step.id.is_some()));
        steps.extend(state::foreign_mounts());
        steps.extend(state::kernel());
    }
    steps
}

/// Writes the image of a disk.
type WriteDisk<'b> = fn(&Scene<'b>, &Path) -> Result<()>;

/// A machine with a Debian and a mode of `/etc`.
struct Scene<'b> {
    bench: &'b Bench,
    etc: EtcMode,
    directory: tempfile::TempDir,
    root: Disk,
}

impl<'b> Scene<'b> {
    fn new(bench: &'b Bench, etc: EtcMode) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = bench
            .release()
            .disk()
            .copy_to(&directory.path().join("root"))?;
        if etc == EtcMode::Merge {
            let release = bench.release();
            let (from, deployment) = (release.tree().join("etc"), release.deployment_path());
            root.mounted(|root| {
                let mut copy = Command::new("cp");
                copy.arg("--archive").arg(from);
                succeed(copy.arg(root.join(deployment).join("etc"))).map(drop)
            })?;
        }
        Ok(Self {
            bench,
            etc,
            directory,
            root,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn play(&self, report: &mut Report) -> Result<()> {
        let plants = plants(self.etc);
        let done = self.boot(&plants).context("before the reboot")?;
        let wrong = plants.iter().zip(&done);
        let wrong = wrong.filter(|(step, done)| words(&done.output) != step.expected);
        let wrong: Vec<String> = wrong
            .map(|(step, done)| format!("{}: {done:?}", step.name))
            .collect();
        ensure!(wrong.is_empty(), "could not plant {}", wrong.join("\n"));

        let probes = probes(self.etc);
        let found = self.boot(&probes).context("after the reboot")?;
        let mut boots = 2;
        let mut effective = 0;
        for (step, found) in probes.iter().zip(&found) {
            let said = words(&found.output);
            let mut shown = None;
            let is_right = if self.etc == EtcMode::Merge {
                effective += usize::from(said.starts_with("ran"));
                shown = Some(format!("{said}: nobody verifies this /etc"));
                said.ends_with("kept")
            } else {
                said == step.expected
            };
            let result = if is_right {
                Ok(shown)
            } else {
                Err(anyhow::anyhow!("{said:?}: {}", found.errors))
            };
            let name = format!("etc {}: {}", self.etc, step.name);
            add(report, step.id.unwrap_or_default(), &name, boots, result);
            boots = 0;
        }
        if self.etc == EtcMode::Merge {
            println!(
                "etc merge: {effective} of {} tricks ran",
                tricks::TRICKS.len()
            );
            ensure!(effective >= LEAST_EFFECTIVE, "only {effective} tricks ran");
        }
        Ok(())
    }

    /// Boots, does the steps, and gives what each of them said.
    fn boot(&self, steps: &[Step]) -> Result<Vec<CommandReport>> {
        let fixed = [
            "cat /run/sealroot/booted.json",
            "/usr/bin/sealroot-guest tree-digest /",
        ];
        let lines = fixed
            .into_iter()
            .chain(steps.iter().map(|step| &*step.command));
        let command = |line: &str| ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
        let job = Job {
            commands: lines.chain(["sync"]).map(command).collect(),
        };
        let count = job.commands.len();
        write_job_disk(&self.path("job"), &job)?;
        let vm = match self.etc {
            EtcMode::Merge => self.open_machine()?,
            EtcMode::Transient | EtcMode::Allowlist => self.sealed_machine()?,
        };
        let outcome = vm
            .memory_mib(1024)
            .disk(Release::DISK_SERIAL, self.root.path())
            .scratch_disk(JOB_DISK, &self.path("job"))
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .run(TIME_OUT)?;
        ensure!(
            outcome.end == VmEnd::Ended,
            "{:?}\n{}",
            outcome.end,
            outcome.console_tail(40)
        );
        let mut done = outcome.json::<JobReport>()?.commands;
        ensure!(done.len() == count, "{} of {count} steps", done.len());
        let [booted, digest] = [&done[0].output, &done[1].output];
        let booted: serde_json::Value = serde_json::from_str(booted)?;
        let is_sealed = booted["sealed"] == true;
        ensure!(is_sealed == (self.etc != EtcMode::Merge), "{booted}");
        ensure!(booted["etc"] == self.etc.to_string(), "{booted}");
        let release = self.bench.release();
        ensure!(words(digest) == release.tree_digest, "the tree is {digest}");
        println!(
            "etc {}: booted and {count} steps in {:?}",
            self.etc, outcome.wall
        );
        done.drain(..2);
        Ok(done)
    }

    /// Firmware and a signed image, and disks that others would make something of.
    fn sealed_machine(&self) -> Result<Vm> {
        let variant = match self.etc {
            EtcMode::Allowlist => Variant::Allowlist,
            EtcMode::Transient | EtcMode::Merge => Variant::AsSigned,
        };
        let mut vm = self.bench.machine(variant, self.directory.path())?;
        let disks: [(&str, WriteDisk<'b>); 4] = [
            ("kernel", |scene, path| {
                fs::copy(scene.bench.kernel().packed(), path)?;
                Ok(())
            }),
            ("modules", |scene, path| {
                write_modules(scene.bench.kernel(), path)
            }),
            ("swap", |_, path| write_hibernated(path)),
            ("foreign", |_, path| write_partitions(path)),
        ];
        for (serial, write) in disks {
            let path = self.path(serial);
            write(self, &path).with_context(|| format!("making the disk {serial}"))?;
            vm = vm.scratch_disk(serial, &path);
        }
        Ok(vm)
    }

    /// A machine with an `/etc` that is kept, which no sealed image may have.
    fn open_machine(&self) -> Result<Vm> {
        let (release, kernel) = (self.bench.release(), self.bench.kernel());
        let initramfs = release.initramfs_with_policy(kernel, "merge", |policy| {
            let policy = policy.replace("mode sealed", "mode verity");
            policy.replace("etc transient", "etc merge")
        })?;
        Ok(Vm::new(kernel)
            .initramfs(&initramfs)
            .arguments(&format!("sealroot={}", release.deployment())))
    }
}

/// Counts what was played in so many boots, and shows it.
fn add(report: &mut Report, id: &str, name: &str, boots: usize, result: Result<Option<String>>) {
    let mut shown = None;
    let verdict = result.map(|what| {
        shown = what;
        Verdict::SameTree
    });
    let mut outcome = Outcome::of(id, NO_LAYER, name, &Accept::same_tree(), verdict);
    if let Some(shown) = shown {
        outcome = outcome.saying(&shown);
    }
    let counts = Counts {
        played: 1,
        boots,
        machines: boots,
        ..Counts::default()
    };
    report.add(id, NO_LAYER, counts, outcome);
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A tar with a module, signed as the kernel's package has it, and without its signature.
fn write_modules(kernel: &GuestKernel, path: &Path) -> Result<()> {
    let modules = kernel.modules(&[MODULE])?;
    let [module] = modules.as_slice() else {
        anyhow::bail!("{MODULE} needs other modules");
    };
    let unsigned = module
        .bytes
        .strip_suffix(SIGNED)
        .context("a signed module")?;
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("signed.ko"), &module.bytes)?;
    fs::write(directory.path().join("unsigned.ko"), unsigned)?;
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(path);
    tar.arg("--directory").arg(directory.path());
    succeed(tar.args(["signed.ko", "unsigned.ko"])).map(drop)
}

/// Partitions of the types that systemd's generator mounts by itself, each with a filesystem.
fn write_partitions(path: &Path) -> Result<()> {
    const TYPES: [&str; 4] = [
        "933AC7E1-2EB4-4F13-B844-0E14E2AEF915",
        "3B8F8425-20E0-4F3B-907F-1A25A76F98E8",
        "4D21B016-B534-45C2-A9FB-5C16E091FD2D",
        "8484680C-9521-48C6-9C11-B0720656F69E",
    ];
    const SIZE_MIB: u64 = 8;
    let mut table = "label: gpt\n".to_owned();
    for kind in TYPES {
        writeln!(table, "size={SIZE_MIB}MiB, type={kind}")?;
    }
    fs::File::create(path)?.set_len(80 << 20)?;
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("table");
    fs::write(&script, table)?;
    let sfdisk = need::find_tool("sfdisk").context("sfdisk is missing")?;
    let mut partition = Command::new("sh");
    partition.args(["-c", "\"$1\" --quiet \"$2\" < \"$3\"", "sh"]);
    succeed(partition.arg(sfdisk).arg(path).arg(&script))?;
    let content = directory.path().join("content");
    fs::create_dir(&content)?;
    fs::write(content.join("canary"), "")?;
    let part = directory.path().join("part");
    let disk = Disk::create(&part, Filesystem::Ext4, SIZE_MIB, Some(&content))?;
    for number in 0..TYPES.len() as u64 {
        let mut copy = Command::new("dd");
        copy.arg(format!("if={}", disk.path().display()));
        copy.arg(format!("of={}", path.display()));
        // The first partition begins after a MiB.
        copy.arg(format!("seek={}", 1 + number * SIZE_MIB));
        succeed(copy.args(["bs=1M", "conv=notrunc", "status=none"]))?;
    }
    Ok(())
}
