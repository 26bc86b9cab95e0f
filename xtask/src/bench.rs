// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what `docs/benchmarks.md` describes.

use std::ffi::OsString;

use anyhow::Result;

use crate::run::{command, repository, root_command, run};

/// Builds the benches and what they measure, as it is released, and runs them as root.
pub(crate) fn run_benches(arguments: &[&str]) -> Result<()> {
    eprintln!("Building sealroot; the first time takes several minutes.");
    run(command("cargo").current_dir(repository()).args([
        "build",
        "--quiet",
        "--release",
        "--package=sealroot-cli",
        "--package=sealroot-bench",
    ]))?;
    // Benches build static programs with the cargo that is running now.
    let mut path = OsString::from("PATH=");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let all = ["all"];
    let arguments = if arguments.is_empty() {
        &all
    } else {
        arguments
    };
    run(root_command("env")?
        .arg(path)
        .arg(repository().join("target/release/sealroot-bench"))
        .args(arguments)
        .current_dir(repository()))
}
