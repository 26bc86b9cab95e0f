// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo's Debian.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sealroot_testkit::need;

/// What it boots into.
pub(crate) const TARGET: &str = "demo.target";

/// The last line it shows, put together so that it stands nowhere but on the console.
pub(crate) const END: &str = "=== the verified Debian says goodbye ===";

/// What systemd says when the unit could not run.
pub(crate) const FAILED: &str = "Failed to start demo.service";

/// The signal keeps systemd from writing its own lines between ours.
const SCRIPT: &str = r#"#!/bin/bash
kill -RTMIN+21 1
run() { echo; echo "demo# $*"; "$@" 2>&1; }
echo
echo "--- the verified Debian's own shell ---"
run grep PRETTY_NAME /etc/os-release
run systemctl is-active multi-user.target
run findmnt --noheadings --raw --output FSTYPE,OPTIONS /
run touch /usr/bin/evil
run cp /bin/true /var/evil
run /var/evil
run sed -n '2,8p' /run/sealroot/booted.json
echo
echo "=== the verified Debian says goodbye" "==="
"#;

/// Copies the Debian that the set-up has made to `tree`, and adds what the demo shows.
pub(crate) fn copy(tree: &Path) -> Result<()> {
    let debian = need::cache().join("debian");
    fs::create_dir_all(tree.parent().context("the tree is in a directory")?)?;
    let status = Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .args([&debian, tree])
        .status()
        .context("starting cp")?;
    if !status.success() {
        bail!("copying {} ended with {status}", debian.display());
    }
    // The kernel fills it at boot; device nodes have no place in a release.
    for entry in fs::read_dir(tree.join("dev"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    let sysroot = tree.join("sysroot");
    if !sysroot.exists() {
        fs::create_dir(sysroot)?;
    }
    fs::write(
        tree.join("etc/machine-id"),
        "0123456789abcdef0123456789abcdef\n",
    )?;
    fs::write(tree.join("usr/lib/demo"), SCRIPT)?;
    let units = tree.join("etc/systemd/system");
    fs::write(
        units.join(TARGET),
        "[Unit]\nDescription=The demo\nRequires=multi-user.target\nAfter=multi-user.target\n\
         Wants=demo.service\nAllowIsolate=yes\n",
    )?;
    fs::write(
        units.join("demo.service"),
        "[Unit]\nDescription=demo.service\nAfter=multi-user.target\n[Service]\nType=oneshot\n\
         StandardOutput=file:/dev/console\nExecStart=/bin/bash /usr/lib/demo\n",
    )?;
    // A login prompt takes the console from whoever writes to it.
    symlink("/dev/null", units.join("serial-getty@ttyS0.service"))?;
    Ok(())
}
