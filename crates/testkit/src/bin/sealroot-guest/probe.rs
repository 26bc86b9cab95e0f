// SPDX-License-Identifier: MIT OR Apache-2.0
//! The init of the test OS: looks at the root it was booted on, and reports.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use sealroot_testkit::guest::{PROBE_JOB_DISK, PROBE_MARKER, ProbeJob, ProbeReport};
use sealroot_testkit::manifest;

use crate::machine;

pub(crate) fn run() -> Result<()> {
    println!("{PROBE_MARKER}");
    machine::mount_basics()?;
    let mut report = ProbeReport {
        manifest: manifest::without_submounts(Path::new("/"))?,
        tree_digest: Err("not computed".into()),
        mountinfo: fs::read_to_string("/proc/self/mountinfo")?,
        booted: fs::read_to_string("/run/sealroot/booted.json").ok(),
        manifest_after_job: None,
    };
    if let Some(disk) = machine::find_disk(PROBE_JOB_DISK) {
        let job = fs::read(&disk).with_context(|| format!("reading {}", disk.display()))?;
        do_job(&serde_json::from_slice(&job).context("parsing the job")?)?;
        report.manifest_after_job = Some(manifest::without_submounts(Path::new("/"))?);
    }
    machine::report(&serde_json::to_vec(&report)?)
}

fn do_job(job: &ProbeJob) -> Result<()> {
    let path = machine::find_disk(&job.disk).with_context(|| format!("no disk {}", job.disk))?;
    let disk = File::options().read(true).write(true).open(&path)?;
    for position in &job.invert_bytes_at {
        let mut byte = [0];
        disk.read_exact_at(&mut byte, *position)?;
        disk.write_all_at(&[!byte[0]], *position)?;
    }
    disk.sync_all()?;
    machine::drop_caches()
}
