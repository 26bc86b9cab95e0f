// SPDX-License-Identifier: MIT OR Apache-2.0
//! An OS of many files, in the layout that OSTree deploys, and an update in which few changed.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// How many files it has, besides the few that every OS needs.
pub(crate) const FILES: u32 = 100_000;

/// How many of them differ in the update.
pub(crate) const CHANGED: u32 = FILES / 100;

const FILES_PER_DIRECTORY: u32 = 100;

/// Of so many files, two are above the threshold: as in a Debian with systemd, perl and python3.
const CLASSES: u32 = 5;

/// What `ostree admin deploy` and a boot entry want of an OS.
const NEEDED: [(&str, &str); 5] = [
    ("usr/lib/os-release", "ID=bench\nNAME=bench\nVERSION_ID=1\n"),
    ("usr/lib/modules/6.1.0/vmlinuz", "no kernel"),
    ("usr/lib/modules/6.1.0/initramfs.img", "no initramfs"),
    ("usr/etc/hostname", "bench\n"),
    ("usr/bin/init", "no program"),
];

/// Makes the first release.
pub(crate) fn create(root: &Path) -> Result<()> {
    for (path, content) in NEEDED {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, content)?;
    }
    for index in 0..FILES {
        let path = root.join(path_of(index));
        if index % FILES_PER_DIRECTORY == 0 {
            fs::create_dir_all(path.parent().unwrap_or(root))?;
        }
        fs::write(path, content_of(index, 1))?;
    }
    Ok(())
}

/// Makes the second release of the first.
pub(crate) fn update(root: &Path) -> Result<()> {
    for index in (0..FILES).step_by((FILES / CHANGED) as usize) {
        // Spread over the classes too.
        let index = index + index / FILES_PER_DIRECTORY % CLASSES;
        fs::write(root.join(path_of(index)), content_of(index, 2))?;
    }
    Ok(())
}

fn path_of(index: u32) -> String {
    format!("usr/share/many/{}/{index}", index / FILES_PER_DIRECTORY)
}

/// Content that no other file has.
fn content_of(index: u32, release: u32) -> Vec<u8> {
    let mut state =
        (u64::from(index) << 8 | u64::from(release)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let len_bytes = if index % CLASSES < 2 {
        4097 + next() % 16384
    } else {
        64 + next() % 4000
    };
    let words = (0..len_bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes());
    words
        .take(usize::try_from(len_bytes).unwrap_or(0))
        .collect()
}
