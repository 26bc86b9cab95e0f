// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the entries of a pack need at least, to judge how large a pack is.

use std::collections::HashMap;

use anyhow::Result;
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::{Entry, EntryKind, Pack, Visit};
use sealroot_format::tree::Xattr;

/// What the entries of a pack need, were there no block boundaries: inode, xattrs and tail of each
/// rounded up to the inode slot, full blocks, and each xattr that is used more than once.
pub fn least_bytes<R: ReadAt>(image: R) -> Result<u64> {
    let pack = Pack::open(image)?;
    let (mut entries, mut uses) = (Vec::new(), HashMap::<Xattr, u64>::new());
    let mut walk = pack.walk();
    while let Some(step) = walk.next()? {
        if let Visit::Entry(entry) = step.visit {
            for xattr in entry.stored_xattrs() {
                *uses.entry(xattr).or_default() += 1;
            }
            entries.push(entry);
        }
    }
    let mut mtimes = HashMap::<_, u64>::new();
    for entry in &entries {
        *mtimes.entry(entry.metadata.mtime).or_default() += 1;
    }
    let most = mtimes.values().max().copied().unwrap_or(0);
    let mut own = 0;
    for entry in &entries {
        let is_common = mtimes[&entry.metadata.mtime] == most;
        let ids = entry.metadata.uid.max(entry.metadata.gid).max(entry.nlink);
        let inode_bytes = if is_common && ids < 65_536 { 32 } else { 64 };
        let content = content_bytes(&pack, entry)?;
        own += (inode_bytes + xattrs_bytes(entry, &uses) + content % 4096).next_multiple_of(32)
            + content / 4096 * 4096;
    }
    let shared = uses.iter().filter(|(_, uses)| **uses > 1);
    Ok(own + shared.map(|(xattr, _)| xattr_bytes(xattr)).sum::<u64>())
}

/// What an entry needs beside its inode for its xattrs.
fn xattrs_bytes(entry: &Entry, uses: &HashMap<Xattr, u64>) -> u64 {
    let area = |xattr| {
        if uses[&xattr] > 1 {
            4
        } else {
            xattr_bytes(&xattr)
        }
    };
    let xattrs: u64 = entry.stored_xattrs().into_iter().map(area).sum();
    let header = if xattrs > 0 { 12 } else { 0 };
    header + xattrs
}

fn content_bytes<R: ReadAt>(pack: &Pack<R>, entry: &Entry) -> Result<u64> {
    Ok(match &entry.kind {
        EntryKind::Inline { size_bytes } => *size_bytes,
        EntryKind::Symlink(target) => target.len() as u64,
        EntryKind::External { .. } => 4,
        EntryKind::Directory { .. } => {
            let mut bytes = 27;
            for name in pack.names(entry) {
                bytes += 12 + name?.name.len() as u64;
            }
            bytes
        }
        _ => 0,
    })
}

fn xattr_bytes(xattr: &Xattr) -> u64 {
    let prefixes = [
        "trusted.overlay.metacopy",
        "trusted.overlay.redirect",
        "user.",
        "trusted.",
        "security.",
        "system.posix_acl_access",
        "system.posix_acl_default",
    ];
    let prefix = prefixes
        .iter()
        .find(|prefix| xattr.name.starts_with(prefix.as_bytes()));
    let suffix = xattr.name.len() - prefix.map_or(0, |prefix| prefix.len());
    (4 + suffix as u64 + xattr.value.len() as u64).next_multiple_of(4)
}
