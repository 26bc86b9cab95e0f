// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine is told to do at one boot, and what it reports.

use serde::{Deserialize, Serialize};

use crate::guest::{CommandReport, Job};

/// The serial number of the disk that the steps are on, as JSON padded with spaces.
pub const STEPS_DISK: &str = "steps";

/// Where the OS says which release it is.
pub const VERSION_PATH: &str = "/usr/lib/ostree-os/version";

/// The steps of one boot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Steps {
    /// What to run. The first that fails is the last.
    pub job: Job,
}

impl Steps {
    /// Lines for the shell.
    pub(super) fn of(lines: &[&str]) -> Self {
        let command = |line: &&str| ["/bin/sh", "-ec", line].map(str::to_owned).to_vec();
        let commands = lines.iter().map(command).collect();
        Self {
            job: Job { commands },
        }
    }
}

/// What became of one boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootReport {
    /// What had been booted, before the first step.
    pub facts: Facts,
    /// The steps that were run, in order.
    pub commands: Vec<CommandReport>,
}

impl BootReport {
    /// What a step wrote to standard output.
    pub fn output(&self, step: usize) -> &str {
        self.commands.get(step).map_or("", |done| &done.output)
    }
}

/// What a booted machine says about itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// The kernel command line.
    pub cmdline: String,
    /// Which release of the OS runs.
    pub version: String,
    /// The mounts, as in `/proc/self/mountinfo`.
    pub mountinfo: String,
    /// What the boot program left in `/run/sealroot/booted.json`; nothing under plain OSTree.
    pub booted: Option<String>,
    /// How long the kernel had been running, in seconds.
    pub uptime_seconds: u64,
    /// Units that failed.
    pub failed_units: Vec<String>,
}
