// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking over a commit of OSTree: how long it takes beside reading and hashing its files once, and
//! what it takes on the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sealroot_format::limits::DEFAULT_THRESHOLD_BYTES;
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::{CommandReport, JobReport, Worker};
use sealroot_testkit::need;
use sealroot_testkit::release::usual_kernel;
use serde_json::Value;

use crate::measure::{Contestant, hardlinked, measure, output};
use crate::report::{Limit, Report};
use crate::setting::Setting;

const FLOOR: &str = "floor: checksum";

/// How long an adoption takes beside reading and hashing once.
const AT_MOST: f64 = 1.5;

const LIMITS: [Limit<'_>; 1] = [Limit {
    other: FLOOR,
    cpu: None,
    wall: Some(AT_MOST),
}];

/// What an adoption takes on the disk, in hundredths of a percent of the content: all of it, and what
/// is neither pack nor fs-verity.
const MOST_HUNDREDTHS: u64 = 12_00;
const MOST_OWN_HUNDREDTHS: u64 = 1_00;

/// Thresholds that are compared, bytes.
const THRESHOLDS: [u32; 6] = [64, 1024, DEFAULT_THRESHOLD_BYTES, 8192, 16384, 65536];

const BRANCH: &str = "bench";

/// What is signed is deployed, but nothing of it is to boot.
const SIGNED: [&str; 1] = ["--no-entry"];

const ROUNDS: usize = 5;

const MEMORY_MIB: u32 = 4096;
const MIB: u64 = 1024 * 1024;
const TIME_OUT: Duration = Duration::from_secs(3600);

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let scratch = setting.scratch()?;
    let machine = scratch.path().join("machine");
    let repository = machine.join("ostree/repo");
    fs::create_dir_all(&repository)?;
    let tree = &setting.adopted;
    let ostree = |arguments: &[&str]| {
        let mut command = Command::new("ostree");
        command.arg(format!("--repo={}", repository.display()));
        output(command.args(arguments))
    };
    ostree(&["init", "--mode=bare"])?;
    let from = format!("--tree=dir={}", tree.display());
    ostree(&["commit", "--fsync=false", "--branch", BRANCH, &from])?;

    let keyset = sign(setting, &repository, scratch.path())?;

    let rounds = setting.rounds(ROUNDS);
    let runs = scratch.path().join("runs");
    fs::create_dir(&runs)?;
    let mut contestants = [
        Contestant::new("sealroot adopt", |place| {
            let mut command = adopt(setting, &hardlinked(&machine, place)?);
            command.arg("--keyset").arg(&keyset).args(SIGNED);
            command.args(["--mode", "integrity"]);
            Ok(vec![command])
        }),
        Contestant::new("sealroot adopt --unsigned", |place| {
            let mut command = adopt(setting, &hardlinked(&machine, place)?);
            command.arg("--unsigned");
            Ok(vec![command])
        }),
        Contestant::new(FLOOR, |_| {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("floor").arg(repository.join("objects"));
            command.arg("checksum");
            Ok(vec![command])
        }),
    ];
    measure(&mut contestants, rounds, &runs)?;
    report.section("Adopt");
    report.line(
        "Warm, on a filesystem without fs-verity. The floor reads each file of the repository once and \
         makes its SHA-256, on one thread. `adopt` makes the fs-verity digest of each, links the files, makes \
         the pack, compares it with the vendor's statement, and deploys. Without a statement it also makes \
         the checksum of OSTree, and deploys nothing.\n",
    );
    report.times("adopt", &contestants, &LIMITS);
    in_guest(&machine, &keyset, scratch.path(), report)
}

/// Puts a statement beside the commit; the keyset that it is to be verified with.
fn sign(setting: &Setting, repository: &Path, scratch: &Path) -> Result<PathBuf> {
    let key = scratch.join("vendor");
    output(setting.sealroot().args(["keys", "new"]).arg(&key))?;
    let store = scratch.join("store");
    let commit = |command: &mut Command| {
        command.arg("--store").arg(&store);
        output(command.arg("--ostree").arg(repository).arg(BRANCH))
    };
    let mut build = setting.sealroot();
    commit(build.args([
        "build", "--os", "bench", "--stream", "bench", "--index", "1",
    ]))?;
    let mut sign = setting.sealroot();
    commit(
        sign.arg("sign")
            .arg("--key")
            .arg(key.with_extension("secret")),
    )?;
    fs::remove_dir_all(&store)?;
    Ok(key.with_extension("keyset"))
}

fn adopt(setting: &Setting, sysroot: &Path) -> Command {
    let mut command = setting.sealroot();
    command.arg("--sysroot").arg(sysroot);
    command.args(["adopt", BRANCH, "--stateroot", "bench"]);
    command
}

/// Adopts what is signed, and with each threshold what is not, each on a disk of its own, where there
/// is fs-verity.
fn in_guest(machine: &Path, keyset: &Path, scratch: &Path, report: &mut Report) -> Result<()> {
    let kernel = usual_kernel().context("there is no guest kernel")?;
    let content_bytes = content_bytes(&machine.join("ostree/repo/objects"))?;
    let size_mib = content_bytes / MIB * 3 / 2 + 512;
    let path = scratch.join("disk");
    let disk = Disk::create(&path, Filesystem::Ext4Verity, size_mib, Some(machine))?;
    let adopt = |name: &str, words: &[&str]| {
        let disk = disk.copy_to(&scratch.join(name))?;
        let free_before = free_bytes(&disk)?;
        let done = adopt_in_guest(&kernel, &disk, keyset, words)?;
        let taken_bytes = free_before.saturating_sub(free_bytes(&disk)?);
        disk.remove()?;
        anyhow::Ok((done, taken_bytes))
    };
    let of_floor = |done: &JobReport| -> Result<f64> {
        let (ours, floor) = (find(done, "adopt")?, find(done, "checksum")?);
        Ok(wall(ours).div_duration_f64(wall(floor)))
    };
    let (signed, _) = adopt("signed", &SIGNED)?;
    report.ratio_bar(
        "adopt, with fs-verity, in a guest: wall of checksum",
        of_floor(&signed)?,
        AT_MOST,
    );
    report.line(format_args!(
        "What it takes on an ext4 with fs-verity, in a virtual machine: MB, and in percent of the \
         {content_bytes} bytes of the commit's files. The free blocks of the filesystem, before and after, \
         are in the last column.\n"
    ));
    let mut rows = Vec::new();
    let mut unsigned_of_floor = f64::NAN;
    for threshold in THRESHOLDS {
        let threshold_word = threshold.to_string();
        let words = ["--unsigned", "--threshold", &threshold_word];
        let (done, taken_bytes) = adopt(&threshold_word, &words)?;
        let found = find(&done, "adopt")?;
        let done_bytes: Value = serde_json::from_str(&found.output)?;
        let bytes = |name: &str| {
            let value = done_bytes["done"][name].as_u64();
            value.with_context(|| format!("no {name} in {done_bytes}"))
        };
        let parts = [
            bytes("extra_pack_bytes")?,
            bytes("extra_verity_bytes")?,
            bytes("extra_own_bytes")?,
        ];
        let all: u64 = parts.iter().sum();
        let share = |bytes: u64| bytes * 10_000 / content_bytes;
        if threshold == DEFAULT_THRESHOLD_BYTES {
            for (what, bytes, most) in [
                ("in all", all, MOST_HUNDREDTHS),
                ("of our own", parts[2], MOST_OWN_HUNDREDTHS),
            ] {
                let found = share(bytes);
                let what = format!("adopt, on the disk, {what}");
                report.bar(what, percent(found), percent(most), found <= most);
            }
            unsigned_of_floor = of_floor(&done)?;
        }
        let [pack, verity, own] = parts.map(megabytes);
        rows.push([
            threshold.to_string(),
            pack,
            verity,
            own,
            megabytes(all),
            percent(share(all)),
            megabytes(taken_bytes),
        ]);
    }
    report.table(
        [
            "threshold",
            "pack",
            "fs-verity",
            "own",
            "all",
            "of the content",
            "blocks taken",
        ],
        rows,
    );
    report.line(format_args!(
        "Without a statement, `adopt` took {unsigned_of_floor:.2}x of the wall time of the checksums there.\n"
    ));
    Ok(())
}

fn adopt_in_guest(
    kernel: &sealroot_testkit::kernel::GuestKernel,
    disk: &Disk,
    keyset: &Path,
    words: &[&str],
) -> Result<JobReport> {
    let mut worker = Worker::new(kernel, &[])?;
    worker.memory_mib(MEMORY_MIB);
    worker.processors(2);
    worker.add_file("sealroot", &Program::SealrootReleased.build()?)?;
    worker.mount("machine", disk.path(), "ext4");
    // Also brings it into memory, for both.
    for _ in 0..2 {
        worker.command(["/init", "checksum", "/mnt/machine/ostree/repo/objects"]);
    }
    worker.add_file("keyset", keyset)?;
    let adopt = [
        "/sealroot",
        "--json",
        "--sysroot",
        "/mnt/machine",
        "--keyset",
        "/keyset",
        "adopt",
        BRANCH,
        "--stateroot",
        "bench",
    ];
    worker.command(adopt.iter().chain(words).copied());
    worker.command(["/init", "sync"]);
    worker.command(["/init", "umount", "/mnt/machine"]);
    worker.run(TIME_OUT)
}

/// The last command with that word.
fn find<'r>(done: &'r JobReport, word: &str) -> Result<&'r CommandReport> {
    let mut commands = done.commands.iter().rev();
    let found = commands.find(|done| done.command.iter().any(|found| found == word));
    found.with_context(|| format!("no command {word} in the guest"))
}

/// The sizes of all files below a directory.
fn content_bytes(directory: &Path) -> Result<u64> {
    let mut find = Command::new("find");
    let sizes = output(
        find.arg(directory)
            .args(["-name", "*.file", "-type", "f", "-printf", "%s\\n"]),
    )?;
    Ok(sizes
        .lines()
        .filter_map(|line| line.parse::<u64>().ok())
        .sum())
}

/// What is free on an ext4, by its own count.
fn free_bytes(disk: &Disk) -> Result<u64> {
    let program = need::find_tool("dumpe2fs").context("dumpe2fs is missing")?;
    let text = output(Command::new(program).arg("-h").arg(disk.path()))?;
    let field = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no {name}"))?.trim().parse()?)
    };
    Ok(field("Free blocks:")? * field("Block size:")?)
}

fn wall(done: &CommandReport) -> Duration {
    Duration::from_millis(done.milliseconds)
}

/// Of hundredths.
fn percent(hundredths: u64) -> String {
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}
