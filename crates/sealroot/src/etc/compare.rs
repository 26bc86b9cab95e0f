// SPDX-License-Identifier: MIT OR Apache-2.0
//! In what two inodes differ, as far as `/etc` is concerned.
//!
//! Times never count. The permissions of a symlink do not either: Linux has no room for them.

use std::fmt;

use sealroot_format::digest::compute_verity_digest;
use sealroot_format::tree::{FileContent, Inode, Kind, Metadata, Xattr, XattrSet};

/// The label of a file for SELinux.
pub(super) const LABEL: &[u8] = b"security.selinux";

/// The ACLs, which are one thing with the mode: its group bits are the mask of the first.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// One thing in which two inodes may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Aspect {
    /// What it is: a file, a directory, a symlink.
    Kind,
    /// The bytes of a file or the target of a symlink.
    Content,
    /// User or group.
    Owner,
    /// Mode and ACLs.
    Permissions,
    /// The SELinux label.
    Label,
    /// Other extended attributes.
    Xattrs,
}

impl Aspect {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Owner => "owner",
            Self::Permissions => "permissions",
            Self::Label => "label",
            Self::Xattrs => "xattrs",
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In what two inodes differ, sorted. What is in two directories is not compared.
pub(super) fn differences(a: &Inode, b: &Inode) -> Vec<Aspect> {
    let has_permissions = !matches!((&a.kind, &b.kind), (Kind::Symlink(_), Kind::Symlink(_)));
    let (a_data, b_data) = (&a.metadata, &b.metadata);
    let found = [
        (Aspect::Kind, !same_kind(&a.kind, &b.kind)),
        (Aspect::Content, !same_content(&a.kind, &b.kind)),
        (Aspect::Owner, owner(a_data) != owner(b_data)),
        (
            Aspect::Permissions,
            has_permissions && !same_permissions(a_data, b_data),
        ),
        (Aspect::Label, label(a_data) != label(b_data)),
        (
            Aspect::Xattrs,
            others(&a_data.xattrs).ne(others(&b_data.xattrs)),
        ),
    ];
    found
        .into_iter()
        .filter_map(|(aspect, is)| is.then_some(aspect))
        .collect()
}

/// Whether two inodes are of one kind, directories, files and so on.
pub(super) fn same_kind(a: &Kind, b: &Kind) -> bool {
    a.file_type_bits() == b.file_type_bits()
}

/// Whether content, target or device number are the same; of different kinds they never are.
pub(super) fn same_content(a: &Kind, b: &Kind) -> bool {
    match (a, b) {
        (Kind::Regular(a), Kind::Regular(b)) => same_file(a, b),
        (Kind::Directory(_), Kind::Directory(_)) => true,
        (a, b) => a == b,
    }
}

/// Releases may differ in which files are small: so bytes are compared with digests, too.
fn same_file(a: &FileContent, b: &FileContent) -> bool {
    match (a, b) {
        (FileContent::Inline(inline), FileContent::External { digest, size_bytes })
        | (FileContent::External { digest, size_bytes }, FileContent::Inline(inline)) => {
            inline.size_bytes() == *size_bytes
                && (inline.read()).is_ok_and(|bytes| compute_verity_digest(&bytes) == *digest)
        }
        (a, b) => a == b,
    }
}

const fn owner(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid, metadata.gid)
}

fn label(metadata: &Metadata) -> Option<&[u8]> {
    metadata.xattrs.get(LABEL)
}

fn same_permissions(a: &Metadata, b: &Metadata) -> bool {
    let same_acl = |name: &&[u8]| a.xattrs.get(name) == b.xattrs.get(name);
    a.permissions == b.permissions && ACLS.iter().all(same_acl)
}

fn others(xattrs: &XattrSet) -> impl Iterator<Item = &Xattr> {
    let is_other = |xattr: &&Xattr| *xattr.name != *LABEL && !is_acl(&xattr.name);
    xattrs.iter().filter(is_other)
}

fn is_acl(name: &[u8]) -> bool {
    ACLS.contains(&name)
}

/// The metadata of an inode that has local changes, on a release that may have changed too: each
/// thing as it is locally if that is not what the old default has, otherwise as the new default
/// has it.
///
/// The time is the new default's.
pub(super) fn three_way(old: &Metadata, current: &Metadata, new: &Metadata) -> Metadata {
    let pick = |o: u32, c: u32, n: u32| if c == o { n } else { c };
    let keeps_permissions = !same_permissions(old, current);
    let permissions = if keeps_permissions { current } else { new };
    let mut xattrs: Vec<Xattr> = (permissions.xattrs.iter())
        .filter(|xattr| is_acl(&xattr.name))
        .cloned()
        .collect();
    for xattr in &current.xattrs {
        let name = &xattr.name;
        let is_local = old.xattrs.get(name) != Some(&*xattr.value);
        if is_local && !is_acl(name) {
            xattrs.push(xattr.clone());
        }
    }
    for xattr in &new.xattrs {
        let name = &xattr.name;
        let is_untouched = current.xattrs.get(name) == old.xattrs.get(name);
        if is_untouched && !is_acl(name) {
            xattrs.push(xattr.clone());
        }
    }
    Metadata {
        permissions: permissions.permissions,
        uid: pick(old.uid, current.uid, new.uid),
        gid: pick(old.gid, current.gid, new.gid),
        mtime: new.mtime,
        // Two sets within their bounds may be beyond them together; then the local one stands.
        xattrs: XattrSet::from_unsorted(xattrs).unwrap_or_else(|_| current.xattrs.clone()),
    }
}
