// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes the tree of a commit a root filesystem; a pure function of the commit.

use sealroot_format::tree::{Inode, InodeId, Kind, Metadata, Tree, TreeError};

use super::error::OstreeError;

/// Directories that a root filesystem needs as mount points, with their permissions.
const MOUNT_POINTS: [(&str, u16); 9] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("run", 0o755),
    ("sys", 0o755),
    ("sysroot", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Refuses a tree that has files in `/etc` and also a directory `/usr/etc`.
pub(super) fn check_etc(tree: &Tree) -> Result<(), OstreeError> {
    let directory = |path: &[&[u8]]| {
        let inode = tree.lookup(path.iter().copied())?;
        tree.inode(inode).as_directory()
    };
    let etc = directory(&[b"etc"]).is_some_and(|etc| !etc.is_empty());
    if etc && directory(&[b"usr", b"etc"]).is_some() {
        return Err(OstreeError::TwoEtcs);
    }
    Ok(())
}

/// Adds the mount points whose names the root directory lacks.
pub(super) fn add_mount_points(tree: &mut Tree) -> Result<(), OstreeError> {
    for (name, permissions) in MOUNT_POINTS {
        let inode = Inode::new(
            Metadata {
                permissions,
                ..Metadata::default()
            },
            Kind::directory(),
        );
        match tree.insert(InodeId::ROOT, name.as_bytes(), inode) {
            Ok(_) | Err(TreeError::Duplicate { .. }) => {}
            Err(source) => {
                let path = format!("/{name}").into_bytes().into();
                return Err(OstreeError::Entry { path, source });
            }
        }
    }
    Ok(())
}
