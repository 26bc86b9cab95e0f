// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small Debian root tree, about 180 MB: what the demo and the larger tests make a release of.

use std::path::Path;

use anyhow::Result;

use super::{apt, fill_directory, say};
use crate::run::{root_command, run_quietly};

const RELEASE: &str = "bookworm";
const INCLUDED: &str = "systemd,systemd-sysv,udev,dbus,kmod";

/// Makes `<cache>/debian` with debootstrap.
pub(super) fn make_tree(cache: &Path) -> Result<()> {
    let directory = cache.join("debian");
    if directory.exists() {
        return Ok(());
    }
    say(&format!(
        "debootstrap of a small Debian into {}",
        directory.display()
    ));
    fill_directory(&directory, |partial| {
        run_quietly(
            root_command("debootstrap")?
                .args([
                    "--variant=minbase",
                    &format!("--include={INCLUDED}"),
                    RELEASE,
                ])
                .arg(partial)
                .arg(apt::mirror()?),
        )?;
        // What a vendor would drop as well: package caches, and what must differ per machine.
        let script = "cd \"$1\" && chown 0:0 . && chmod 755 . && rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* \
            && : > etc/machine-id && rm -f etc/hostname etc/resolv.conf";
        run_quietly(root_command("sh")?.args(["-ec", script, "sh"]).arg(partial))
    })
}
