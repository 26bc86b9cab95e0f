// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask interrupt`: `pull` where it cannot go on, in the long form.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::run::{root_cargo, run};

/// How often `pull` is killed.
const KILLS: &str = "200";

/// Kills and fills disks as `seed` says, or by chance.
pub(crate) fn interrupt(seed: Option<&str>) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed = seed.map_or_else(|| now.to_string(), str::to_owned);
    run(root_cargo()?
        .args(["test", "--quiet", "--package", "sealroot-cli"])
        .args(["--test", "command", "--", "--nocapture", "pulling::"])
        .env("SEALROOT_KILLS", KILLS)
        .env("SEALROOT_SEED", seed)
        .env("SEALROOT_REQUIRE", "all"))
}
