// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a build looks at besides the tree's content.

use std::path::Path;

use sealroot_format::sign::{Statement, Word};
use sealroot_format::tree::{Directory, InodeId, Tree};

use super::BuildError;
use crate::monitor::Monitor;

/// Refuses a store below the tree: each build would make another commit.
pub(super) fn check_apart(store: &Path, tree: &Path) -> Result<(), BuildError> {
    let inside = match (store.canonicalize(), tree.canonicalize()) {
        (Ok(store), Ok(tree)) => store.starts_with(tree),
        // What cannot be looked at is refused by whoever reads it.
        _ => false,
    };
    if inside {
        return Err(BuildError::StoreInTree {
            store: store.to_owned(),
            tree: tree.to_owned(),
        });
    }
    Ok(())
}

/// Says what the boot program will miss in the tree.
pub(super) fn warn_unless_bootable(tree: &Tree, statement: &Statement, monitor: &dyn Monitor) {
    const MOUNT_POINTS: [&str; 7] = ["dev", "proc", "run", "sys", "sysroot", "tmp", "var"];
    const INITS: [&[&[u8]]; 4] = [
        &[b"sbin", b"init"],
        &[b"usr", b"sbin", b"init"],
        &[b"lib", b"systemd", b"systemd"],
        &[b"usr", b"lib", b"systemd", b"systemd"],
    ];
    let has = |path: &[&[u8]]| tree.lookup(path.iter().copied()).is_some();
    let mut missing: Vec<String> = MOUNT_POINTS
        .into_iter()
        .filter(|name| !has(&[name.as_bytes()]))
        .map(|name| format!("/{name}"))
        .collect();
    if !INITS.into_iter().any(has) {
        missing.push("/sbin/init".into());
    }
    if !missing.is_empty() {
        monitor.warn(format!(
            "the tree cannot boot: it has no {}",
            missing.join(", ")
        ));
    }
    if statement.kernel.is_none() && kernels(tree).len() > 1 {
        monitor.warn(
            "the tree has several kernels, and the release is bound to none: choose one with \
             --kernel"
                .into(),
        );
    }
}

/// The kernel that a release is for: the one that was named, or the only one in the tree.
pub(super) fn kernel_of(tree: &Tree, named: Option<&Word>) -> Result<Option<Word>, BuildError> {
    let mut found = kernels(tree);
    match named {
        Some(named) if !is_file_name(named) => Err(BuildError::KernelName {
            named: named.clone(),
        }),
        Some(named) if found.is_empty() || found.contains(named) => Ok(Some(named.clone())),
        Some(named) => Err(BuildError::OtherKernel {
            named: named.clone(),
            found,
        }),
        None if found.len() == 1 => Ok(found.pop()),
        None => Ok(None),
    }
}

/// Whether a directory can have that name.
fn is_file_name(kernel: &Word) -> bool {
    !kernel.as_str().contains('/') && !matches!(kernel.as_str(), "." | "..")
}

/// The directories in `/usr/lib/modules`, or `/lib/modules` in a tree without merged `/usr`.
fn kernels(tree: &Tree) -> Vec<Word> {
    let paths: [&[&[u8]]; 2] = [&[b"usr", b"lib", b"modules"], &[b"lib", b"modules"]];
    let modules = paths
        .into_iter()
        .find_map(|path| tree.lookup(path.iter().copied()))
        .and_then(|id| tree.inode(id).as_directory());
    let is_directory = |id: InodeId| tree.inode(id).as_directory().is_some();
    modules
        .into_iter()
        .flat_map(Directory::iter)
        .filter(|(_, id)| is_directory(*id))
        .filter_map(|(name, _)| std::str::from_utf8(name).ok()?.parse().ok())
        .collect()
}
