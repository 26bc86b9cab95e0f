// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes and deploys a release with the `sealroot` command.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::machine;

/// Builds `tree` into the store of `sysroot`, signs it with the key of the initramfs, deploys it
/// for a mode.
pub(crate) fn make(tree: &str, sysroot: &str, mode: &str) -> Result<()> {
    let built = sealroot(&[
        "--sysroot",
        sysroot,
        "build",
        "--dir",
        tree,
        "--os",
        "test",
        "--stream",
        "stable",
        "--arch",
        "x86_64",
        "--version",
        "1",
        "--index",
        "1",
    ])?;
    let commit = built["commit"]
        .as_str()
        .context("build prints its commit")?;
    sealroot(&[
        "--sysroot",
        sysroot,
        "sign",
        commit,
        "--key",
        "/test.secret",
    ])?;
    let keyset = ["--sysroot", sysroot, "--keyset", "/test.keyset"];
    sealroot(&[&keyset[..], &["verify", "--full", commit]].concat())?;
    sealroot(&[&keyset[..], &["deploy", "--mode", mode, commit]].concat())?;
    println!("{commit}");
    Ok(())
}

fn sealroot(arguments: &[&str]) -> Result<Value> {
    let command: Vec<String> = ["/sealroot", "--json"]
        .iter()
        .chain(arguments)
        .map(ToString::to_string)
        .collect();
    let output = machine::run(&command)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {errors}",
        output.status
    );
    if output.stdout.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("output of {command:?}"))
}
