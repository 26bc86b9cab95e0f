// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of one boot of a machine that runs OSTree.

use std::fs;

use anyhow::{Context, Result};
use sealroot_testkit::ostree_machine::{BootReport, Facts, STEPS_DISK, Steps, VERSION_PATH};

use crate::{machine, worker};

pub(crate) fn run() -> Result<()> {
    let disk = machine::wait_for(|| machine::find_disk(STEPS_DISK)).context("no disk of steps")?;
    let text = fs::read(disk).context("reading the steps")?;
    let steps: Steps = serde_json::from_slice(&text).context("parsing the steps")?;
    let facts = facts()?;
    let report = BootReport {
        facts,
        commands: worker::run_job(&steps.job),
    };
    machine::report(&serde_json::to_vec(&report)?)
}

fn facts() -> Result<Facts> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let failed = [
        "systemctl",
        "list-units",
        "--failed",
        "--no-legend",
        "--plain",
    ];
    let failed = machine::run(&failed.map(str::to_owned))?.stdout;
    let failed = String::from_utf8_lossy(&failed);
    let uptime = read("/proc/uptime")?;
    let uptime = uptime.split('.').next().unwrap_or_default();
    let unit = |line: &str| Some(line.split_whitespace().next()?.to_owned());
    Ok(Facts {
        cmdline: read("/proc/cmdline")?.trim_end().to_owned(),
        version: read(VERSION_PATH)?.trim_end().to_owned(),
        mountinfo: read("/proc/self/mountinfo")?,
        booted: fs::read_to_string("/run/sealroot/booted.json").ok(),
        uptime_seconds: uptime.parse().context("the uptime")?,
        failed_units: failed.lines().filter_map(unit).collect(),
    })
}
