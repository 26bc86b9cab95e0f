// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages of a later Debian, unpacked, together with the libraries they need where these are
//! wanted.
//!
//! With a private apt that leaves the machine's own state alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt;
use crate::run::{command, run_quietly};

/// Which packages are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those named.
    Named,
    /// Those named and all they depend on.
    WithLibraries,
}

/// Unpacks packages into `directory`.
pub(super) fn unpack(
    cache: &Path,
    suite: &str,
    packages: &[&str],
    which: Which,
    directory: &Path,
) -> Result<()> {
    let apt = cache.join("apt");
    if apt.exists() {
        fs::remove_dir_all(&apt).context("removing what is left of an earlier download")?;
    }
    let config = write_state(&apt, suite)?;
    let archives = download(&apt, &config, packages, which)?;
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

/// Makes an apt that knows nothing but one suite; its configuration.
fn write_state(apt: &Path, suite: &str) -> Result<PathBuf> {
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
    Ok(config)
}

/// Downloads packages; the directory of the archives.
fn download(apt: &Path, config: &Path, packages: &[&str], which: Which) -> Result<PathBuf> {
    let archives = apt.join("cache/archives");
    let mut get = command("apt-get");
    get.env("APT_CONFIG", config).arg("--quiet");
    match which {
        Which::Named => get.arg("download").current_dir(&archives),
        Which::WithLibraries => get.args([
            "install",
            "--yes",
            "--download-only",
            "--no-install-recommends",
        ]),
    };
    run_quietly(get.args(packages))?;
    Ok(archives)
}
