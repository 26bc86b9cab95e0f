// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running other programs and saying so.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What all programs are built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository")
        .to_owned()
}

/// Where everything is kept that setup fetches: `SEALROOT_CACHE`, or `.cache` in the repository.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("SEALROOT_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// A command of the current user.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// A command with root's rights: as it is for root, through `sudo` for others.
pub(crate) fn root_command(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root()? {
        return Ok(command(program));
    }
    try_sudo()?;
    let mut sudo = command("sudo");
    sudo.arg("--").arg(program);
    Ok(sudo)
}

/// Finds out before it is needed whether there is a `sudo` that lets the user become root.
fn try_sudo() -> Result<()> {
    run(command("sudo").args(["--", "true"])).context(
        "some of this takes root's rights (packages, mounts, owners of files): \
         run it as root, or install sudo and let this user use it",
    )
}

fn is_root() -> Result<bool> {
    Ok(output(command("id").arg("-u"))?.trim() == "0")
}

/// Cargo on this workspace, as the current user.
pub(crate) fn cargo() -> Command {
    let mut cargo = command("cargo");
    cargo.current_dir(repository());
    cargo
}

/// Cargo on this workspace, as the current user; but what it runs has root's rights.
pub(crate) fn root_cargo() -> Result<Command> {
    let mut cargo = cargo();
    if !is_root()? {
        try_sudo()?;
        let path = std::env::var("PATH").unwrap_or_default();
        let runner = [
            "sudo",
            "--preserve-env",
            "--",
            "env",
            // Root's programs are not in a user's path.
            &format!("PATH={path}:/usr/sbin:/sbin"),
        ];
        cargo.arg(format!("--config=target.{TARGET}.runner={runner:?}"));
    }
    Ok(cargo)
}

/// Runs a command, its output shown; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command quietly; its output is shown only if it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// What a command writes to its standard output; an error unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of {}", shown(command)))
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$*;".contains(c))
            {
                format!("'{}'", word.replace('\'', r"'\''"))
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
