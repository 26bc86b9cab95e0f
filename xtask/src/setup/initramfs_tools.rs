// SPDX-License-Identifier: MIT OR Apache-2.0
//! initramfs-tools of the Debian that `<cache>/ostree-os` is of, to lie over that tree:
//! `<cache>/initramfs-tools`.

use std::path::Path;

use anyhow::Result;

use super::{fill_directory, later, ostree_os, say};

/// And what it needs that the tree does not have.
const PACKAGES: [&str; 5] = [
    "busybox",
    "initramfs-tools-bin",
    "initramfs-tools-core",
    "klibc-utils",
    "libklibc",
];

pub(super) fn fetch(cache: &Path) -> Result<()> {
    let directory = cache.join("initramfs-tools");
    if directory.exists() {
        return Ok(());
    }
    let suite = ostree_os::RELEASE;
    say(&format!("fetching initramfs-tools of {suite}"));
    fill_directory(&directory, |partial| {
        later::unpack(cache, suite, &PACKAGES, later::Which::Named, partial)
    })
}
