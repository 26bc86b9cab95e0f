// SPDX-License-Identifier: MIT OR Apache-2.0
//! How large a pack is, against what its entries need at least.

use std::collections::HashMap;
use std::path::Path;

use sealroot_format::pack::{Entry, EntryKind, Pack, Visit};
use sealroot_format::tree::Xattr;
use sealroot_testkit::on_disk;
use sealroot_testkit::trees::split;

use crate::written;

/// What the entries of a pack need, were there no block boundaries: inode, xattrs and tail of each
/// rounded up to the inode slot, full blocks, and each xattr that is used more than once.
fn least_bytes(image: &Vec<u8>) -> u64 {
    let pack = Pack::open(image).expect("a pack");
    let (mut entries, mut uses) = (Vec::new(), HashMap::<Xattr, u64>::new());
    let mut walk = pack.walk();
    while let Some(step) = walk.next().expect("a valid pack") {
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
    let entry_bytes = |entry: &Entry| {
        let is_common = mtimes[&entry.metadata.mtime] == most;
        let ids = entry.metadata.uid.max(entry.metadata.gid).max(entry.nlink);
        let inode_bytes = if is_common && ids < 65_536 { 32 } else { 64 };
        let area = |xattr| {
            if uses[&xattr] > 1 {
                4
            } else {
                xattr_bytes(&xattr)
            }
        };
        let xattrs: u64 = entry.stored_xattrs().into_iter().map(area).sum();
        let header = if xattrs > 0 { 12 } else { 0 };
        let content = match &entry.kind {
            EntryKind::Inline { size_bytes } => *size_bytes,
            EntryKind::Symlink(target) => target.len() as u64,
            EntryKind::External { .. } => 4,
            EntryKind::Directory { .. } => {
                pack.names(entry)
                    .map(|name| 12 + name.expect("a name").name.len() as u64)
                    .sum::<u64>()
                    + 27
            }
            _ => 0,
        };
        (inode_bytes + header + xattrs + content % 4096).next_multiple_of(32)
            + content / 4096 * 4096
    };
    let own: u64 = entries.iter().map(entry_bytes).sum();
    let shared = uses.iter().filter(|(_, uses)| **uses > 1);
    own + shared.map(|(xattr, _)| xattr_bytes(xattr)).sum::<u64>()
}

fn xattr_bytes(xattr: &Xattr) -> u64 {
    let prefixes = [
        "user.",
        "trusted.",
        "security.",
        "system.posix_acl_access",
        "system.posix_acl_default",
    ];
    let prefix = prefixes
        .iter()
        .find(|prefix| xattr.name.starts_with(prefix.as_bytes()));
    let suffix = xattr.name.len() - prefix.expect("a known namespace").len();
    (4 + suffix as u64 + xattr.value.len() as u64).next_multiple_of(4)
}

#[test]
fn a_pack_is_hardly_larger_than_its_entries() {
    let all = &[0, 64, 512, 2048, 4096, 16_384, 65_536][..];
    for (directory, thresholds) in [("/etc", all), ("/usr/share", &[4096])] {
        let tree = on_disk::read(Path::new(directory)).expect("the directory can be read");
        for threshold in thresholds.iter().copied() {
            let image = written(&split(&tree, threshold), threshold);
            let (found, least) = (image.len() as u64, least_bytes(&image));
            // Where the metadata and the image end is room, too.
            let most = least * 105 / 100 + 2 * 4096;
            assert!(
                found <= most,
                "{directory}, threshold {threshold}: {found}, at least {least}"
            );
        }
    }
}
