// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what `docs/benchmarks.md` describes.

use anyhow::Result;

use crate::run::{cargo, root_cargo, run};

/// Builds the benches and what they measure, as it is released, and runs them as root.
pub(crate) fn run_benches(arguments: &[&str]) -> Result<()> {
    eprintln!("Building sealroot; the first time takes several minutes.");
    run(cargo().args(["build", "--quiet", "--release", "--package", "sealroot-cli"]))?;
    let all = ["all"];
    let arguments = if arguments.is_empty() {
        &all
    } else {
        arguments
    };
    run(root_cargo()?
        .args(["run", "--quiet", "--release", "--package"])
        .args(["sealroot-bench", "--"])
        .args(arguments))
}
