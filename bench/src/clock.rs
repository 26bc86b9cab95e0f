// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a verified boot takes beside the same boot of the same tree from plain ext4, by the clock of
//! a machine that counts instructions.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sealroot_format::policy::Mode;
use sealroot_testkit::binaries::Program;
use sealroot_testkit::cpio::Archive;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::{PLAIN_BOOT_PATH, PROBE_CLOCK, PROBE_MARKER};
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::release::{Layer, Release, usual_kernel};
use sealroot_testkit::vm::Vm;

use crate::report::Report;
use crate::setting::Setting;

/// How often each is booted, by turns.
const ROUNDS: usize = 5;

/// What a verified boot may take, as a multiple of the plain one.
const AT_MOST: f64 = 1.05;

const TREE_MIB: u64 = 96;

const TIME_OUT: Duration = Duration::from_secs(600);

/// Counts and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let kernel = &usual_kernel().context("there is no guest kernel")?;
    report.section("Clock of a boot");
    let release = Release::create(kernel, Mode::Sealed)?;
    let directory = setting.scratch()?;
    let plain = directory.path().join("plain.ext4");
    let plain = Disk::create(&plain, Filesystem::Ext4, TREE_MIB, Some(&release.tree()))?;
    let archive = plain_archive(&release, kernel)?;
    let initramfs = directory.path().join("initramfs");
    fs::write(&initramfs, archive)?;

    let mut times: [Vec<u64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let plain = Vm::new(kernel)
            .initramfs(&initramfs)
            .scratch_disk(Release::DISK_SERIAL, plain.path());
        times[0].push(nanoseconds(plain)?);
        for (times, layer) in times[1..].iter_mut().zip(Layer::ALL) {
            let sealed = release.machine(kernel, layer, release.disk(), &release.deployment())?;
            times.push(nanoseconds(sealed)?);
        }
    }
    let [plain, erofs, tmpfs] = times.map(median);
    report.line(format_args!(
        "From the start of the kernel to that of init, by the clock of a machine on which each instruction takes a \
         nanosecond (QEMU's `-icount shift=0,sleep=off`), the same kernel and modules, medians of {ROUNDS} boots: from \
         plain ext4 without any verification, and sealed.\n"
    ));
    let rows = [("ext4", plain), ("erofs", erofs), ("tmpfs", tmpfs)];
    report.table(
        ["root", "ms", "of ext4"],
        rows.map(|(name, time)| {
            let ratio = ratio(time, plain);
            [name.to_owned(), milliseconds(time), format!("{ratio:.3}")]
        }),
    );
    report.ratio_bar(
        "boot, sealed in layer erofs, beside plain ext4",
        ratio(erofs, plain),
        AT_MOST,
    );
    Ok(())
}

/// The initramfs of a release with another program in the place of the boot program.
fn plain_archive(release: &Release, kernel: &GuestKernel) -> Result<Vec<u8>> {
    let mut extra = Archive::new();
    extra.file("init", 0o755, &fs::read(Program::Guest.build()?)?);
    let path = Path::new(PLAIN_BOOT_PATH).strip_prefix("/")?;
    let path = path.to_str().context("a path")?;
    extra.file(path, 0o644, Release::DISK_SERIAL.as_bytes());
    let mut archive = fs::read(release.initramfs(kernel, Layer::Erofs)?)?;
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.extend(extra.finish());
    Ok(archive)
}

/// When init starts.
fn nanoseconds(machine: Vm) -> Result<u64> {
    let machine = machine.count_instructions().stop_at(PROBE_MARKER);
    let outcome = machine.run(TIME_OUT)?;
    let line = outcome.console.lines().find_map(|line| {
        let (_, number) = line.split_once(PROBE_CLOCK)?;
        number.trim().parse().ok()
    });
    line.with_context(|| format!("no time:\n{}", outcome.console_tail(30)))
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(nanoseconds: u64) -> String {
    format!(
        "{}.{:03}",
        nanoseconds / 1_000_000,
        nanoseconds / 1000 % 1000
    )
}

#[expect(clippy::cast_precision_loss, reason = "times of some seconds")]
fn ratio(time: u64, of: u64) -> f64 {
    time as f64 / of as f64
}
