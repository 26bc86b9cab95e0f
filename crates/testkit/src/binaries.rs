// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workspace's programs as static binaries, which run in a guest that has nothing else.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::need::repository;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A program of the workspace that guests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The test program inside guests, of this package.
    Guest,
    /// The `sealroot` command.
    Sealroot,
    /// The `sealroot` command as it is released, slow to build.
    SealrootReleased,
    /// The boot program.
    Boot,
    /// The tests of the store, of the package `sealroot`.
    StoreTests,
}

/// The profile of what runs in guests.
const GUEST: &str = "guest";

impl Program {
    /// The packages that are built together, so that what they share is built once; the profile.
    const fn packages(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Guest | Self::Sealroot => (&["sealroot-testkit", "sealroot-cli"], GUEST),
            Self::SealrootReleased => (&["sealroot-cli"], "release"),
            Self::Boot => (&["sealroot-boot"], "boot"),
            Self::StoreTests => (&["sealroot-testkit", "sealroot-cli", "sealroot"], GUEST),
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::StoreTests => "--test",
            _ => "--bin",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Guest => "sealroot-guest",
            Self::Sealroot | Self::SealrootReleased => "sealroot",
            Self::Boot => "sealroot-boot",
            Self::StoreTests => "store",
        }
    }

    /// Builds the program if it is not up to date, once per process; its path.
    pub fn build(self) -> Result<PathBuf> {
        static BUILT: Mutex<BTreeMap<Program, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = built.get(&self) {
            return Ok(path.clone());
        }
        let path = self.build_now()?;
        built.insert(self, path.clone());
        Ok(path)
    }

    fn build_now(self) -> Result<PathBuf> {
        let (packages, profile) = self.packages();
        let target_dir = repository().join("target/static");
        let mut build = cargo();
        build.args(["build", "--quiet"]);
        for package in packages {
            build.args(["--package", package]);
        }
        if profile == GUEST {
            // What only vendors need: guests are devices.
            build.arg("--no-default-features");
        }
        let output = build
            .args([self.kind(), self.name(), "--profile", profile])
            .args(["--message-format", "json-render-diagnostics"])
            .args(["--target", TARGET, "--target-dir"])
            .arg(&target_dir)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .stdin(Stdio::null())
            .output()
            .context("starting cargo")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "building a static {} ended with {}\n{errors}",
                self.name(),
                output.status
            );
        }
        let messages = String::from_utf8(output.stdout)?;
        let mut programs = messages.lines().filter_map(|line| self.executable(line));
        programs.next_back().context("cargo names no program")
    }

    /// The program, if it is what one of cargo's messages is about.
    fn executable(self, message: &str) -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        let is_it = message["target"]["name"] == self.name();
        let path = message["executable"].as_str().filter(|_| is_it)?;
        Some(path.into())
    }
}

/// Cargo on this workspace, as the user to whom the build directory belongs.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    if let Some((user, group)) = invoking_user() {
        cargo.uid(user).gid(group);
    }
    cargo
}

/// User and group of whoever runs this with `sudo`, to whom the build directory belongs.
fn invoking_user() -> Option<(u32, u32)> {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}
