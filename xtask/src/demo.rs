// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`.

use std::ffi::OsString;

use anyhow::Result;

use crate::run::{command, repository, root_command, run};

/// Builds the demo and runs it as root.
pub(crate) fn run_demo() -> Result<()> {
    println!("\nBuilding sealroot; the first time takes a few minutes.");
    run(command("cargo").current_dir(repository()).args([
        "build",
        "--quiet",
        "--package",
        "sealroot-testkit",
        "--bin",
        "sealroot-demo",
    ]))?;
    // The demo builds static programs with the cargo that is running now.
    let mut path = OsString::from("PATH=");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    run(root_command("env")?
        .arg(path)
        .arg(repository().join("target/debug/sealroot-demo"))
        .current_dir(repository()))
}
