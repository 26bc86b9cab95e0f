// SPDX-License-Identifier: MIT OR Apache-2.0
//! A current erofs-utils beside the release's old one, as a stricter judge of our images.
//!
//! Unpacked from a later Debian together with the libraries it needs, with a private apt that
//! leaves the machine's own state alone, and run through its own dynamic linker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{apt, fill_directory, say};
use crate::run::{command, run_quietly};

const SUITE: &str = "trixie";
const TOOLS: [&str; 3] = ["fsck.erofs", "dump.erofs", "mkfs.erofs"];

pub(super) fn fetch(cache: &Path) -> Result<()> {
    let directory = cache.join("erofs-utils");
    if !directory.exists() {
        say(&format!("fetching erofs-utils of {SUITE}"));
        fill_directory(&directory, |partial| {
            let apt = cache.join("apt");
            let archives = download(&apt, "erofs-utils")?;
            for entry in fs::read_dir(&archives)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "deb") {
                    run_quietly(command("dpkg-deb").arg("--extract").arg(path).arg(partial))?;
                }
            }
            fs::remove_dir_all(&apt).context("removing the private apt state")
        })?;
    }
    for tool in TOOLS {
        write_wrapper(cache, tool)?;
    }
    Ok(())
}

/// Downloads a package and all it depends on; returns the directory of the archives.
fn download(apt: &Path, package: &str) -> Result<std::path::PathBuf> {
    for directory in ["etc", "state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(directory))?;
    }
    fs::write(apt.join("status"), "")?;
    fs::write(apt.join("sources.list"), apt::source_line(SUITE)?)?;
    let at = apt.display();
    let config = apt.join("apt.conf");
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

fn write_wrapper(cache: &Path, tool: &str) -> Result<()> {
    let path = cache.join("bin").join(tool);
    if path.exists() {
        return Ok(());
    }
    let text = "#!/bin/sh\n\
        root=$(dirname \"$(readlink -f \"$0\")\")/../erofs-utils\n\
        libraries=$root/usr/lib/x86_64-linux-gnu\n\
        exec \"$libraries/ld-linux-x86-64.so.2\" --library-path \"$libraries\" \
        \"$root/usr/bin/${0##*/}\" \"$@\"\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    run_quietly(command(&path).arg("--version")).context("trying the unpacked erofs-utils")
}
