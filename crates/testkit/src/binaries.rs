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
    /// The boot program.
    Boot,
}

impl Program {
    /// Package, binary and profile.
    const fn target(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Guest => ("sealroot-testkit", "sealroot-guest", "guest"),
            Self::Sealroot => ("sealroot-cli", "sealroot", "guest"),
            Self::Boot => ("sealroot-boot", "sealroot-boot", "boot"),
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
        let (package, binary, profile) = self.target();
        let target_dir = repository().join("target/static");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        if let Some((user, group)) = invoking_user() {
            command.uid(user).gid(group);
        }
        let output = command
            .current_dir(repository())
            .args(["build", "--quiet", "--package", package, "--bin", binary])
            .args(["--profile", profile, "--target", TARGET])
            .arg("--target-dir")
            .arg(&target_dir)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .stdin(Stdio::null())
            .output()
            .context("starting cargo")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "building a static {binary} ended with {}\n{errors}",
                output.status
            );
        }
        Ok(target_dir.join(TARGET).join(profile).join(binary))
    }
}

/// User and group of whoever runs this with `sudo`, to whom the build directory belongs.
fn invoking_user() -> Option<(u32, u32)> {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}
