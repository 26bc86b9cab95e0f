// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist`: the programs to install, static.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{TARGET, cargo, repository, run};

/// A program to ship: package, binary and profile.
type Program = (&'static str, &'static str, &'static str);

/// The boot program.
pub(crate) const BOOT: Program = ("sealroot-boot", "sealroot-boot", "boot");

const COMMAND: Program = ("sealroot-cli", "sealroot", "release");

/// Builds both programs and puts them side by side into `target/dist`.
pub(crate) fn dist() -> Result<()> {
    let directory = repository().join("target/dist");
    fs::create_dir_all(&directory)?;
    for program in [COMMAND, BOOT] {
        let built = build(program)?;
        let copy = directory.join(program.1);
        fs::copy(&built, &copy).with_context(|| format!("copying {}", built.display()))?;
        println!("{}", copy.display());
    }
    Ok(())
}

/// Builds a static program; where it is.
pub(crate) fn build((package, binary, profile): Program) -> Result<PathBuf> {
    let target_dir = repository().join("target/static");
    run(cargo()
        .args(["build", "--quiet", "--package", package, "--bin", binary])
        .args(["--profile", profile, "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    Ok(target_dir.join(TARGET).join(profile).join(binary))
}
