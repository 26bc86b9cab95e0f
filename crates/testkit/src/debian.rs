// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small Debian with systemd, made to say what it sees when it has booted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::binaries::Program;
use crate::disk::succeed;
use crate::need;

/// The target to boot into. It is none of the system's own: what a unit wants that is ordered
/// after the target it is part of may never be started.
pub const TARGET: &str = "sealroot-report.target";

/// What the machine does before it reports: the questions are in the signed tree.
pub const QUESTIONS: [(&str, &str); 7] = [
    ("system", "systemctl is-active multi-user.target"),
    (
        "failed",
        "systemctl list-units --failed --no-legend --plain",
    ),
    ("release", "grep ^PRETTY_NAME= /etc/os-release"),
    ("root", "findmnt --noheadings --output FSTYPE,OPTIONS /"),
    ("digest", "/usr/bin/sealroot-guest tree-digest /"),
    ("write", "touch /usr/bin/evil 2>&1 || true"),
    ("etc", "echo changed > /etc/changed && echo written"),
];

/// The Debian tree that `cargo xtask setup` has made; `None` after [`need::missing`] was told.
fn fetched() -> Option<std::path::PathBuf> {
    let tree = need::cache().join("debian");
    if !tree.join("usr/bin").is_dir() {
        need::missing("the small Debian");
        return None;
    }
    Some(tree)
}

/// Copies the Debian tree to `tree`, with a unit that runs `program` once all services are up, and
/// powers off then; `false` if there is no Debian.
pub fn create(tree: &Path, program: &str) -> Result<bool> {
    let Some(debian) = fetched() else {
        return Ok(false);
    };
    succeed(
        Command::new("cp")
            .args(["--archive", "--reflink=auto"])
            .arg(debian)
            .arg(tree),
    )?;
    // The kernel fills it at boot; device nodes have no place in a release.
    let mut empty = Command::new("find");
    succeed(
        empty
            .arg(tree.join("dev"))
            .args(["-mindepth", "1", "-delete"]),
    )?;
    fs::create_dir_all(tree.join("sysroot"))?;
    fs::write(
        tree.join("etc/machine-id"),
        "0123456789abcdef0123456789abcdef\n",
    )?;
    fs::write(tree.join("etc/hostname"), "debian\n")?;
    let units = tree.join("etc/systemd/system");
    fs::write(
        units.join(TARGET),
        "[Unit]\nDescription=Report\nRequires=multi-user.target\nAfter=multi-user.target\n\
         Wants=sealroot-report.service\nAllowIsolate=yes\n",
    )?;
    symlink(TARGET, units.join("default.target"))?;
    fs::write(
        units.join("sealroot-report.service"),
        format!(
            "[Unit]\nDescription=Report\nAfter=multi-user.target\n\
             [Service]\nType=oneshot\nStandardOutput=file:/dev/console\n\
             ExecStart={program}\n\
             ExecStopPost=/bin/systemctl --no-block poweroff --force --force\n"
        ),
    )?;
    Ok(true)
}

/// Adds the guest program, which answers [`QUESTIONS`], as `/usr/bin/sealroot-guest`.
pub fn add_guest(tree: &Path) -> Result<()> {
    fs::copy(Program::Guest.build()?, tree.join("usr/bin/sealroot-guest"))?;
    Ok(())
}
