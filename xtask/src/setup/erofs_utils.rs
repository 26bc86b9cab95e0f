// SPDX-License-Identifier: MIT OR Apache-2.0
//! A current erofs-utils beside the release's old one, as a stricter judge of our images.
//!
//! Unpacked from a later Debian together with the libraries it needs, and run through its own
//! dynamic linker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{fill_directory, later, say};
use crate::run::{command, run_quietly};

const SUITE: &str = "trixie";
const TOOLS: [&str; 3] = ["fsck.erofs", "dump.erofs", "mkfs.erofs"];

pub(super) fn fetch(cache: &Path) -> Result<()> {
    let directory = cache.join("erofs-utils");
    if !directory.exists() {
        say(&format!("fetching erofs-utils of {SUITE}"));
        fill_directory(&directory, |partial| {
            let which = later::Which::WithLibraries;
            later::unpack(cache, SUITE, &["erofs-utils"], which, partial)
        })?;
    }
    for tool in TOOLS {
        write_wrapper(cache, tool)?;
    }
    Ok(())
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
