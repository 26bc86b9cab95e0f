// SPDX-License-Identifier: MIT OR Apache-2.0
//! What enabling fs-verity costs, in a virtual machine whose kernel has it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::{CommandReport, JobReport, Worker};
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::need;
use sealroot_testkit::release::usual_kernel;

use crate::report::Report;
use crate::setting::Setting;

/// Room for the tree, and for each store of it.
const DISK_MIB: u64 = 1024;

/// So much that all the guest reads and writes stays in its memory.
const MEMORY_MIB: u32 = 3072;

const TIME_OUT: Duration = Duration::from_secs(1800);

/// The stores: one on a filesystem without fs-verity, one on a filesystem with it.
const STORES: [(&str, Filesystem); 2] = [
    ("plain", Filesystem::Ext4),
    ("verity", Filesystem::Ext4Verity),
];

/// Disks with the same objects, on which nothing but enabling is timed.
const COPIES: [&str; 2] = ["ioctl", "tool"];

/// Times and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let kernel = usual_kernel().context("there is no guest kernel")?;
    let fsverity = need::find_tool("fsverity").context("fsverity is missing")?;
    let release = kernel.release().to_owned();
    let done = run_guest(setting, &kernel, &fsverity)?;
    let time = |words: &[&str]| {
        let found = done.commands.iter().find(|done| {
            words
                .iter()
                .all(|word| done.command.iter().any(|found| found.contains(word)))
        });
        found.with_context(|| format!("no command {words:?} in the guest"))
    };
    let plain = time(&["build", "/mnt/plain"])?;
    let verity = time(&["build", "/mnt/verity"])?;
    let ioctl = time(&["enable-verity", "/mnt/ioctl"])?;
    let tool = time(&["enable-verity", "/mnt/tool"])?;

    report.section("Enabling fs-verity");
    report.line(format_args!(
        "In a virtual machine with Linux {release}, one processor, emulated: only the ratios say \
         something. The tree is in the guest's memory before; {} objects.\n",
        ioctl.output.trim()
    ));
    let share = |of: fn(&CommandReport) -> u64| {
        let (with, without) = (of(verity), of(plain));
        let percent = with.saturating_sub(without) * 100 / with.max(1);
        format!("{percent} %")
    };
    let times = |name: &str, done: &CommandReport| {
        let figures = [done.cpu_milliseconds, done.milliseconds];
        let [cpu, wall] = figures.map(|figure| figure.to_string());
        [name.to_owned(), cpu, wall]
    };
    report.table(
        ["what", "CPU ms", "wall ms"],
        [
            times("build, store without fs-verity", plain),
            times("build, store with fs-verity", verity),
            [
                "share of enabling in it, by the difference".to_owned(),
                share(|done| done.cpu_milliseconds),
                share(|done| done.milliseconds),
            ],
            times(
                "only the kernel's enabling, of copies of the objects",
                ioctl,
            ),
            times("fsverity enable, of copies of the objects", tool),
        ],
    );
    Ok(())
}

fn run_guest(
    setting: &Setting,
    kernel: &GuestKernel,
    fsverity: &std::path::Path,
) -> Result<JobReport> {
    let scratch = setting.scratch()?;
    let disk = |name: &str, filesystem, source| {
        let path = scratch.path().join(name);
        Disk::create(&path, filesystem, DISK_MIB, source)
    };
    let mut worker = Worker::new(kernel, &[])?;
    worker.memory_mib(MEMORY_MIB);
    worker.add_file("sealroot", &Program::SealrootReleased.build()?)?;
    worker.add_program(fsverity)?;
    let source = disk("source", Filesystem::Ext4, Some(&*setting.directory))?;
    worker.mount("source", source.path(), "ext4");
    let image = ["image", "--digest-only", "--devices", "keep", "/mnt/source"];
    worker.command(["/sealroot"].into_iter().chain(image));
    for (name, filesystem) in STORES {
        let disk = disk(name, filesystem, None)?;
        worker.mount(name, disk.path(), "ext4");
        let store = format!("/mnt/{name}/store");
        let mut build = vec!["/sealroot", "--store", &store, "build"];
        build.extend(["--devices", "keep", "--os", "bench", "--stream", "bench"]);
        build.extend(["--index", "1", "--dir", "/mnt/source"]);
        worker.command(build);
        worker.command(["/init", "sync"]);
    }
    for name in COPIES {
        let disk = disk(name, Filesystem::Ext4Verity, None)?;
        worker.mount(name, disk.path(), "ext4");
        let point = format!("/mnt/{name}");
        worker.command([
            "/init",
            "install",
            "/mnt/plain/store/objects",
            &point,
            "none",
        ]);
        worker.command(["/init", "sync"]);
    }
    worker.command(["/init", "enable-verity", "/mnt/ioctl"]);
    worker.command(["/init", "sync"]);
    let tool = fsverity.to_str().context("a path that is no UTF-8")?;
    worker.command(["/init", "enable-verity", "/mnt/tool", tool]);
    worker.run(TIME_OUT)
}
