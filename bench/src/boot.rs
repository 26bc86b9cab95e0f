// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot does in a small and in a large OS, counted in a virtual machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sealroot_format::policy::Mode;
use sealroot_testkit::binaries::Program;
use sealroot_testkit::cpio::Archive;
use sealroot_testkit::guest::{PROBE_MARKER, TRACED_BOOT_PATH, add_program};
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::release::{Layer, Release, TREE, usual_kernel};
use sealroot_testkit::{need, os_tree};

use crate::report::Report;
use crate::setting::Setting;

/// About how many entries the trees have, and how large a disk takes them, in MiB.
const TREES: [(u32, u64); 2] = [(5_000, 96), (200_000, 4096)];

const ENTRIES_PER_DIRECTORY: u32 = 100;

/// The disk that the OS is deployed on.
const DISK_MIB: u64 = 256;

const TIME_OUT: Duration = Duration::from_secs(300);

/// Where the boot program attaches the root, as strace shows it.
const VERIFIED_ROOT: &str = "</verified>";

const MAX_PROGRAM_BYTES: u64 = 1_500_000;

/// From the opening of the pack until the verified root is attached.
const MAX_CALLS: u64 = 80;

/// Counts and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let kernel = usual_kernel().context("there is no guest kernel")?;
    let program_bytes = fs::metadata(Program::Boot.build()?)?.len();
    let is_met = program_bytes <= MAX_PROGRAM_BYTES;
    report.bar(
        "bytes of the boot program",
        program_bytes,
        MAX_PROGRAM_BYTES,
        is_met,
    );
    report.section("Boot");
    report.line(format_args!(
        "Counted by strace in a virtual machine with Linux {}, in layer erofs: system calls and \
         bytes that they read, from the opening of the pack until the verified root is attached, \
         and of the whole boot until init starts.\n",
        kernel.release()
    ));
    let mut counts = Vec::new();
    for (entries, tree_mib) in TREES {
        let release = release_of(setting, &kernel, entries, tree_mib)?;
        counts.push((release.statement.entries, trace(&release, &kernel)?));
    }
    if let [(few, small), (many, large)] = &*counts {
        for (what, measured, limit) in [
            ("system calls", large.to_mount.calls, small.to_mount.calls),
            ("bytes read", large.to_mount.bytes, small.to_mount.bytes),
        ] {
            let what = format!("boot, {what} to verify and mount: {many} entries beside {few}");
            report.bar(what, measured, limit, measured <= limit);
        }
    }
    let rows = counts.iter().map(|(entries, Boot { to_mount, whole })| {
        let figures = [to_mount.calls, to_mount.bytes, whole.calls, whole.bytes];
        let [calls, bytes, all_calls, all_bytes] = figures.map(|figure| figure.to_string());
        [entries.to_string(), calls, bytes, all_calls, all_bytes]
    });
    let head = [
        "entries",
        "calls",
        "bytes read",
        "calls, whole boot",
        "bytes, whole boot",
    ];
    report.table(head, rows);
    if let Some((_, boot)) = counts.first() {
        let calls = boot.to_mount.calls;
        let what = "boot, system calls from the opening of the pack to the verified root";
        report.bar(what, calls, MAX_CALLS, calls <= MAX_CALLS);
    }
    Ok(())
}

/// A release of the test OS with many more names, deployed on a disk.
fn release_of(
    setting: &Setting,
    kernel: &GuestKernel,
    entries: u32,
    tree_mib: u64,
) -> Result<Release> {
    let directory = setting.scratch()?;
    let tree = directory.path().join(TREE);
    fs::create_dir_all(&tree)?;
    os_tree::create(&tree, &Program::Guest.build()?)?;
    for index in 0..entries {
        let parent = tree.join(format!("usr/share/many/{}", index / ENTRIES_PER_DIRECTORY));
        if index % ENTRIES_PER_DIRECTORY == 0 {
            fs::create_dir_all(&parent)?;
        }
        symlink(format!("target-{index}"), parent.join(index.to_string()))?;
    }
    Release::of_tree(kernel, directory, Mode::Sealed, tree_mib, DISK_MIB)
}

/// What was done in one part of a boot.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    calls: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Boot {
    to_mount: Part,
    whole: Part,
}

/// Boots a release with strace beside the boot program.
fn trace(release: &Release, kernel: &GuestKernel) -> Result<Boot> {
    let mut extra = Archive::new();
    // It replaces the boot program, which it starts.
    extra.file("init", 0o755, &fs::read(Program::Guest.build()?)?);
    let boot = fs::read(Program::Boot.build()?)?;
    extra.file(TRACED_BOOT_PATH.trim_start_matches('/'), 0o755, &boot);
    let strace = need::find_tool("strace").context("strace is missing")?;
    add_program(&mut extra, &strace)?;
    let mut archive = fs::read(release.initramfs(kernel, Layer::Erofs)?)?;
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.extend(extra.finish());
    let initramfs = tempfile::NamedTempFile::new()?;
    fs::write(initramfs.path(), archive)?;

    let vm = release.machine(kernel, Layer::Erofs, release.disk(), &release.deployment())?;
    let vm = vm.initramfs(initramfs.path()).stop_at(PROBE_MARKER);
    let outcome = vm.run(TIME_OUT)?;
    let boot = read_trace(&outcome.report);
    boot.with_context(|| format!("no whole boot was traced:\n{}", outcome.console_tail(30)))
}

/// Where in a boot a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Mounting,
    Mounted,
}

fn read_trace(text: &str) -> Result<Boot> {
    let (mut to_mount, mut whole) = (Part::default(), Part::default());
    let mut stage = Stage::Before;
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        match (name, stage) {
            ("openat2", Stage::Before) if rest.contains(".pack\"") => stage = Stage::Mounting,
            // The boot program becomes init.
            ("execve", Stage::Mounted) => return Ok(Boot { to_mount, whole }),
            _ => {}
        }
        let part = Part {
            calls: 1,
            bytes: bytes_read(name, rest),
        };
        whole.add(part);
        if stage == Stage::Mounting {
            to_mount.add(part);
            if name == "move_mount" && rest.contains(VERIFIED_ROOT) {
                stage = Stage::Mounted;
            }
        }
    }
    bail!("strace saw {whole:?}, and the boot came no further than {stage:?}")
}

fn bytes_read(name: &str, rest: &str) -> u64 {
    let result = rest.rsplit_once(" = ").map(|(_, result)| result);
    let result = result.and_then(|result| result.parse().ok());
    let is_read = matches!(name, "read" | "pread64" | "getdents64");
    result.filter(|_| is_read).unwrap_or(0)
}

impl Part {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.bytes += other.bytes;
    }
}
