// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machinery itself: a guest runs its job, keeps its disk, and reports a failure as one.

use std::time::Duration;

use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::Worker;
use sealroot_testkit::kernel::{GuestKernel, Series};
use sealroot_testkit::need;
use sealroot_testkit::vm::{Vm, VmEnd};

const TIME_OUT: Duration = Duration::from_secs(120);

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_worker_runs_its_job_on_every_kernel() {
    for series in [Series::V6_12, Series::V6_1] {
        let Some(kernel) = GuestKernel::find(series) else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk");
        let disk = Disk::create(&image, Filesystem::Ext4Verity, 32, None).unwrap();
        let mut worker = Worker::new(&kernel, &["erofs", "overlay"]).unwrap();
        worker.mount("data", disk.path(), "ext4");
        worker.command(["/init", "umount", "/mnt/data"]);
        let report = worker.run(TIME_OUT).unwrap();
        assert_eq!(report.commands.len(), 2);
    }
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_failing_command_is_an_error() {
    let Some(kernel) = GuestKernel::find(Series::V6_12) else {
        return;
    };
    let mut worker = Worker::new(&kernel, &[]).unwrap();
    worker.command(["/init", "umount", "/nowhere"]);
    worker.command(["/init", "umount", "/never-reached"]);
    let error = format!("{:#}", worker.run(TIME_OUT).unwrap_err());
    assert!(error.contains("unmounting /nowhere"), "{error}");
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_machine_ends_at_a_marker_and_when_its_time_is_up() {
    let Some(kernel) = GuestKernel::find(Series::V6_12) else {
        return;
    };
    if need::tool("qemu-system-x86_64").is_none() {
        return;
    }
    let vm = Vm::new(&kernel);
    let outcome = vm
        .clone()
        .stop_at("Unable to mount root")
        .run(TIME_OUT)
        .unwrap();
    assert!(
        matches!(outcome.end, VmEnd::Marker(_)),
        "{}",
        outcome.console_tail(20)
    );
    let outcome = vm.run(Duration::from_millis(300)).unwrap();
    assert_eq!(outcome.end, VmEnd::TimedOut);
}
