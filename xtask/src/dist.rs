// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist`: the programs to install, static.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{TARGET, cargo, repository, run};

/// A package and its program.
type Program = (&'static str, &'static str);

/// The boot program.
pub(crate) const BOOT: Program = ("sealroot-boot", "sealroot-boot");

/// The `sealroot` command.
pub(crate) const COMMAND: Program = ("sealroot-cli", "sealroot");

/// Builds both programs and puts them side by side into `target/dist`.
pub(crate) fn dist() -> Result<()> {
    let directory = repository().join("target/dist");
    fs::create_dir_all(&directory)?;
    for (program, profile) in [(COMMAND, "release"), (BOOT, "boot")] {
        let built = build_static(&[program], profile, &[])?.join(program.1);
        let copy = directory.join(program.1);
        fs::copy(&built, &copy).with_context(|| format!("copying {}", built.display()))?;
        println!("{}", copy.display());
    }
    Ok(())
}

/// Builds static programs with options of cargo, what they share once; the directory they are in.
pub(crate) fn build_static(
    programs: &[Program],
    profile: &str,
    options: &[&str],
) -> Result<PathBuf> {
    let target_dir = repository().join("target/static");
    let mut build = cargo();
    build.args(["build", "--quiet", "--profile", profile]);
    for (package, binary) in programs {
        build.args(["--package", package, "--bin", binary]);
    }
    run(build
        .args(options)
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    Ok(target_dir.join(TARGET).join(profile))
}
