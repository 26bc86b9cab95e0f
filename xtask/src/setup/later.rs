// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages of a later Debian, unpacked together with the libraries they need.
//!
//! With a private apt that leaves the machine's own state alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::run::{command, run_quietly};

/// Unpacks a package and all it depends on into `directory`.
pub(super) fn unpack(cache: &Path, suite: &str, package: &str, directory: &Path) -> Result<()> {
    let apt = cache.join("apt");
    if apt.exists() {
        fs::remove_dir_all(&apt).context("removing what is left of an earlier download")?;
    }
    let archives = download(&apt, suite, package)?;
    for entry in fs::read_dir(&archives)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run_quietly(
                command("dpkg-deb")
                    .arg("--extract")
                    .arg(path)
                    .arg(directory),
            )?;
        }
    }
    fs::remove_dir_all(&apt).context("removing the private apt state")
}

/// Downloads a package and all it depends on; returns the directory of the archives.
fn download(apt: &Path, suite: &str, package: &str) -> Result<PathBuf> {
    for directory in ["etc", "state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(directory))?;
    }
    fs::write(apt.join("status"), "")?;
    fs::write(apt.join("sources.list"), apt::source_line(suite)?)?;
    let at = apt.display();
    let config = apt.join("apt.conf");
    // A mirror may be weeks behind with a suite that is no release yet; its signature is checked.
    fs::write(
        &config,
        format!(
            "Dir::Etc \"{at}/etc\";\n\
             Dir::Etc::SourceList \"{at}/sources.list\";\n\
             Dir::Etc::SourceParts \"-\";\n\
             Dir::State \"{at}/state\";\n\
             Dir::State::status \"{at}/status\";\n\
             Dir::Cache \"{at}/cache\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Sandbox::User \"\";\n\
             Debug::NoLocking \"true\";\n\
             Acquire::Check-Valid-Until \"false\";\n\
             Acquire::Languages \"none\";\n"
        ),
    )?;
    run_quietly(
        command("apt-get")
            .env("APT_CONFIG", &config)
            .args(["update", "--quiet"]),
    )?;
    run_quietly(
        command("apt-get")
            .env("APT_CONFIG", &config)
            .args([
                "install",
                "--yes",
                "--quiet",
                "--download-only",
                "--no-install-recommends",
            ])
            .arg(package),
    )?;
    Ok(apt.join("cache/archives"))
}
