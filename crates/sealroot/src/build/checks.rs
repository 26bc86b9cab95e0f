// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a build looks at besides the tree's content.

use std::path::Path;

use sealroot_format::tree::Tree;

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
pub(super) fn warn_unless_bootable(tree: &Tree, monitor: &dyn Monitor) {
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
}
