// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attributes of the files in the store, which fs-verity does not cover: A02, A08.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{XattrFlags, lsetxattr};
use sealroot_format::hex;

use super::{Accept, Attack};
use crate::os_tree::TARGETS;
use crate::release::Release;

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "A02",
            "attributes",
            "mode, owner, xattrs, time, links of every object",
            same(),
            |target| {
                let paths = target.disk.mounted(|root| {
                    let paths = files_below(&root.join(Release::STORE))?;
                    for path in &paths {
                        spoil(path).with_context(|| path.display().to_string())?;
                    }
                    let inside =
                        |path: &PathBuf| Ok(path.strip_prefix(root)?.display().to_string());
                    paths.iter().map(inside).collect::<Result<Vec<_>>>()
                })?;
                // A kernel without fs-verity changes no attributes of files that have it.
                let mut script = String::new();
                for path in paths {
                    for (field, value) in [
                        ("mode", "0106777"),
                        ("uid", "1234"),
                        ("gid", "5678"),
                        ("mtime", "@1"),
                    ] {
                        writeln!(script, "set_inode_field /{path} {field} {value}")?;
                    }
                }
                target.disk.debugfs_script(&script)
            },
        )
        .mutants(7),
        Attack::new(
            "A08",
            "overlay xattrs",
            "overlay xattrs on every object",
            same(),
            |target| {
                let other = target.release.object_name(TARGETS[1])?;
                target.disk.mounted(|root| {
                    for path in files_below(&root.join(Release::STORE).join("objects"))? {
                        steer(&path, &other).with_context(|| path.display().to_string())?;
                    }
                    Ok(())
                })
            },
        )
        .mutants(4),
    ]
}

fn same() -> Accept {
    Accept::same_tree()
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn spoil(path: &Path) -> Result<()> {
    // cap_setuid=ep, version 2 of `struct vfs_cap_data`.
    const CAPABILITY: [u8; 20] = [
        1, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    for (name, value) in [
        ("security.capability", &CAPABILITY[..]),
        ("security.selinux", b"system_u:object_r:evil_t:s0\0"),
        ("user.evil", b"1"),
    ] {
        lsetxattr(path, name, value, XattrFlags::empty())?;
    }
    Ok(fs::hard_link(path, path.with_extension("evil"))?)
}

/// Says of an object that it is a stub of another one.
fn steer(path: &Path, other: &str) -> Result<()> {
    let digits: String = other
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(64)
        .collect();
    let digest: [u8; 32] = hex::decode(digits.as_bytes()).context("an object's name")?;
    let metacopy = [&[0, 36, 0, 1], &digest[..]].concat();
    for (name, value) in [
        ("trusted.overlay.metacopy", &metacopy[..]),
        ("trusted.overlay.redirect", format!("/{other}").as_bytes()),
        ("trusted.overlay.opaque", b"y"),
        ("trusted.overlay.origin", b"\0\xfb\x1d\0\x01"),
    ] {
        lsetxattr(path, name, value, XattrFlags::empty())?;
    }
    Ok(())
}
