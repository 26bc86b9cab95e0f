// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian root trees: a small one of about 180 MB, which the demo and the larger tests make a
//! release of, and for the benches one of about 250 MB and one of about 1 GB.

use std::path::Path;

use anyhow::Result;

use super::{apt, fill_directory, say};
use crate::run::{root_command, run_quietly};

const RELEASE: &str = "bookworm";
const INCLUDED: &str = "systemd,systemd-sysv,udev,dbus,kmod";
const INCLUDED_FOR_BENCH: &str = "systemd,systemd-sysv,udev,dbus,kmod,perl,python3";

const INCLUDED_IN_LARGE: &str = "systemd,systemd-sysv,udev,dbus,kmod,perl,python3,linux-image-amd64,\
    gcc,g++,git,vim,openssh-server,llvm-14";

/// What a vendor would drop as well: package caches, and what must differ per machine.
const CLEAN: &str = "cd \"$1\" && chown 0:0 . && chmod 755 . && \
    rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* && \
    : > etc/machine-id && rm -f etc/hostname etc/resolv.conf";

/// Makes `<cache>/debian` with debootstrap.
pub(super) fn make_tree(cache: &Path) -> Result<()> {
    debootstrap(&cache.join("debian"), INCLUDED, CLEAN)
}

/// Makes `<cache>/debian-bench` and `<cache>/debian-large`, which have no device nodes either: ostree
/// takes none.
pub(super) fn make_bench_trees(cache: &Path) -> Result<()> {
    let script = format!("{CLEAN} && rm -rf dev/*");
    debootstrap(&cache.join("debian-bench"), INCLUDED_FOR_BENCH, &script)?;
    debootstrap(&cache.join("debian-large"), INCLUDED_IN_LARGE, &script)
}

fn debootstrap(directory: &Path, included: &str, clean: &str) -> Result<()> {
    if directory.exists() {
        return Ok(());
    }
    say(&format!(
        "debootstrap of a Debian into {}",
        directory.display()
    ));
    fill_directory(directory, |partial| {
        run_quietly(
            root_command("debootstrap")?
                .args(["--variant=minbase", &format!("--include={included}")])
                .arg(RELEASE)
                .arg(partial)
                .arg(apt::mirror()?),
        )?;
        run_quietly(root_command("sh")?.args(["-ec", clean, "sh"]).arg(partial))
    })
}
