// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages of a later Debian, unpacked, together with the libraries they need where these are
//! wanted.
//!
//! With a private apt that leaves the machine's own state alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let apt = Apt::of(cache, suite)?;
    apt.unpack(packages, which, directory)?;
    apt.remove()
}

/// An apt that knows nothing but one suite.
pub(super) struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Makes one; there is one at a time.
    pub(super) fn of(cache: &Path, suite: &str) -> Result<Self> {
        let directory = cache.join("apt");
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .context("removing what is left of an earlier download")?;
        }
        let apt = Self { directory };
        apt.write_state(suite)?;
        run_quietly(apt.command("apt-get").args(["update", "--quiet"]))?;
        Ok(apt)
    }

    /// One of its programs.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("APT_CONFIG", self.config());
        command
    }

    fn config(&self) -> PathBuf {
        self.directory.join("apt.conf")
    }

    fn write_state(&self, suite: &str) -> Result<()> {
        let apt = &self.directory;
        for directory in ["etc", "state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(directory))?;
        }
        fs::write(apt.join("status"), "")?;
        fs::write(apt.join("sources.list"), apt::source_line(suite)?)?;
        let at = apt.display();
        // A mirror may be weeks behind with a suite that is no release yet; its signature is checked.
        let config = format!(
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
        );
        Ok(fs::write(self.config(), config)?)
    }

    /// Downloads packages and unpacks them into `into`.
    pub(super) fn unpack(&self, packages: &[&str], which: Which, into: &Path) -> Result<()> {
        let archives = self.directory.join("cache/archives");
        let mut get = self.command("apt-get");
        get.arg("--quiet");
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
        apt::extract(&archives, into)
    }

    /// Leaves nothing of it.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(self.directory).context("removing the private apt state")
    }
}
