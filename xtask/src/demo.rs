// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`.

use anyhow::Result;

use crate::run::{root_cargo, run};

/// Builds the demo and runs it as root.
pub(crate) fn run_demo() -> Result<()> {
    println!("\nBuilding sealroot; the first time takes a few minutes.");
    run(root_cargo()?
        .args(["run", "--quiet", "--package", "sealroot-testkit"])
        .args(["--bin", "sealroot-demo"]))
}
