// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the filesystem under a sysroot can do.

use std::fs::File;
use std::io;

use sealroot_sys::verity::{MeasureVerityError, measure_verity};

use crate::store::VeritySupport;

/// Types of filesystems that machines have as their root, by magic number.
const KNOWN: [(u64, &str); 5] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0xf2f5_2010, "f2fs"),
    (0x0102_1994, "tmpfs"),
];

/// A filesystem, looked at.
#[derive(Debug)]
pub(super) struct Filesystem {
    pub(super) name: &'static str,
    pub(super) verity: VeritySupport,
    pub(super) available_bytes: u64,
}

impl Filesystem {
    /// The filesystem of an open directory. Asking for the digest of anything tells whether it has
    /// fs-verity, and changes nothing.
    pub(super) fn of(directory: &File) -> io::Result<Self> {
        let stat = rustix::fs::fstatfs(directory)?;
        let magic = u64::try_from(stat.f_type).unwrap_or_default();
        let known = KNOWN.iter().find(|(of, _)| *of == magic);
        let space = rustix::fs::fstatvfs(directory)?;
        Ok(Self {
            name: known.map_or("other", |(_, name)| name),
            verity: match measure_verity(directory) {
                Ok(_) | Err(MeasureVerityError::NotEnabled) => VeritySupport::Kernel,
                Err(_) => VeritySupport::None,
            },
            available_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        })
    }

    /// Whether it is an ext4 that could have fs-verity.
    pub(super) fn lacks_only_the_feature(&self) -> bool {
        self.name == "ext4" && std::path::Path::new("/sys/fs/ext4/features/verity").exists()
    }

    /// Why there is no fs-verity, and what helps.
    pub(super) fn absence(&self) -> (String, String) {
        const LEFT: &str = "without it only the mode integrity can be deployed, which hashes every \
                            object at each boot";
        let kernel = |feature: &str| std::path::Path::new(feature).exists();
        let (why, way_out) = match self.name {
            "ext4" if kernel("/sys/fs/ext4/features/verity") => (
                "this ext4 does not have the feature verity",
                "tune2fs -O verity DEVICE enables it, also while it is mounted, with e2fsprogs \
                 from 1.45.2 on",
            ),
            "f2fs" if kernel("/sys/fs/f2fs/features/verity") => (
                "this f2fs does not have the feature verity",
                "mkfs.f2fs -O verity makes one that has it",
            ),
            "ext4" | "f2fs" | "btrfs" => (
                "this kernel was built without fs-verity (CONFIG_FS_VERITY)",
                "boot a kernel that has it",
            ),
            "xfs" => (
                "XFS does not have fs-verity",
                "a root on ext4 or btrfs has it; or stay with the mode integrity",
            ),
            _ => (
                "this type of filesystem does not have fs-verity",
                "a root on ext4 or btrfs has it; or stay with the mode integrity",
            ),
        };
        (format!("{why}: {LEFT}"), way_out.into())
    }
}
