// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree as the nodes of an image: names, xattrs, whiteouts.

use super::order::{Order, Source};
use super::overlay::{self, Profile, Role, XattrProblem};
use super::{PackError, entry_error};
use crate::digest::VerityDigest;
use crate::erofs::dirent::Child;
use crate::erofs::image::{Body, Node, Nodes, Shape};
use crate::erofs::inode::encode_device;
use crate::erofs::xattr::{Namespace, StoredXattr, Value, XattrTable};
use crate::limits;
use crate::tree::{Directory, FileContent, Inode, InodeId, Kind, Timestamp, Tree};

/// The file type of a regular file in `st_mode`.
const REGULAR: u16 = 0o100_000;
/// The `st_mode` of a stub.
const STUB: u16 = 0o020_644;

/// Makes the nodes of a tree.
pub(super) struct Builder<'a, 't> {
    pub(super) tree: &'t Tree,
    pub(super) order: &'a Order,
    pub(super) profile: &'static Profile,
    /// The digest of each file that is not to be in the image, by [`InodeId::index`].
    pub(super) digests: &'a [Option<&'t VerityDigest>],
    /// The time of modification that compact inodes have.
    pub(super) build_time: Timestamp,
}

impl<'t> Builder<'_, 't> {
    /// The nodes in the order of their numbers.
    pub(super) fn build(&self) -> Result<Nodes<'t>, PackError> {
        let mut nodes = Nodes {
            build_time: self.build_time,
            xattrs: XattrTable::new(self.profile.has_long_names),
            ..Nodes::default()
        };
        let mut xattrs_left_bytes = limits::MAX_TREE_XATTR_BYTES;
        for (number, source) in (0..).zip(&self.order.sources) {
            let stored = match source {
                Source::Inode(id) => self.xattrs(*id)?,
                Source::Stub(_) => self.stub_xattrs()?,
            };
            let xattr_bytes = stored.iter().map(StoredXattr::total_bytes).sum();
            let left = xattrs_left_bytes.checked_sub(xattr_bytes);
            xattrs_left_bytes = left.ok_or(PackError::TooLarge {
                what: "bytes of all xattrs",
                max: limits::MAX_TREE_XATTR_BYTES as u64,
            })?;
            let first = nodes.xattr_ids.len();
            let ids = stored.into_iter().map(|xattr| nodes.xattrs.add(xattr));
            nodes.xattr_ids.extend(ids);
            let xattrs = first..nodes.xattr_ids.len();
            let node = match source {
                Source::Inode(id) => self.node(&mut nodes, number, *id),
                Source::Stub(_) => self.stub(),
            };
            nodes.list.push(Node { xattrs, ..node });
        }
        Ok(nodes)
    }

    /// A node without its xattrs.
    fn node(&self, nodes: &mut Nodes<'t>, number: u32, id: InodeId) -> Node<'t> {
        let inode = self.tree.inode(id);
        let metadata = &inode.metadata;
        let (body, nlink) = match inode.as_directory() {
            Some(directory) => self.add_children(nodes, number, directory),
            None if self.digests[id.index()].is_some() => {
                (Body::Hole(content_bytes(inode)), inode.name_count())
            }
            None => (body(&inode.kind), inode.name_count()),
        };
        Node {
            mode: if inode.is_whiteout() {
                REGULAR | metadata.permissions
            } else {
                inode.mode()
            },
            nlink,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime,
            xattrs: 0..0,
            body,
        }
    }

    fn add_children(
        &self,
        nodes: &mut Nodes<'t>,
        number: u32,
        directory: &'t Directory,
    ) -> (Body<'t>, u32) {
        let first = nodes.children.len();
        let mut nlink = 2;
        let mut add = |name, node| nodes.children.push(Child { name, node });
        add(b".", number);
        add(b"..", self.order.parent(number));
        for (name, child) in directory.iter() {
            nlink += u32::from(self.tree.inode(child).as_directory().is_some());
            add(name, self.order.number(child));
        }
        if number == 0 {
            self.order.stubs().for_each(|(name, stub)| add(name, stub));
        }
        nodes.children[first..].sort_by_key(|child| child.name);
        (Body::Directory(first..nodes.children.len()), nlink)
    }

    /// The xattrs of an inode as they are stored.
    fn xattrs(&self, id: InodeId) -> Result<Vec<StoredXattr<'t>>, PackError> {
        let inode = self.tree.inode(id);
        let is_whiteout = |(_, child)| self.tree.inode(child).is_whiteout();
        let role = match self.digests[id.index()] {
            Some(digest) => Role::External(digest),
            None if inode.is_whiteout() => Role::Whiteout,
            None => match inode.as_directory() {
                Some(directory) if directory.iter().any(is_whiteout) => Role::HoldsWhiteouts,
                _ => Role::Plain,
            },
        };
        let stored = overlay::stored_xattrs(&inode.metadata.xattrs, role, self.profile);
        let mut stored = stored.map_err(|XattrProblem { name, expected }| {
            let expected = expected.to_owned();
            entry_error(self.tree, id, "xattr", name.escape_ascii(), expected)
        })?;
        if self.profile.opaque_root && id == InodeId::ROOT {
            stored.push(overlay::own(overlay::OPAQUE, Value::Bytes(b"y")));
            stored.sort_by(StoredXattr::cmp_names);
        }
        Ok(stored)
    }

    fn stub(&self) -> Node<'t> {
        let root = &self.tree.inode(InodeId::ROOT).metadata;
        Node {
            mode: STUB,
            nlink: 1,
            uid: root.uid,
            gid: root.gid,
            mtime: root.mtime,
            xattrs: 0..0,
            body: Body::Empty,
        }
    }

    /// A stub has the root's SELinux label.
    fn stub_xattrs(&self) -> Result<Vec<StoredXattr<'t>>, PackError> {
        let mut xattrs = self.xattrs(InodeId::ROOT)?;
        xattrs.retain(|xattr| xattr.namespace == Namespace::Security && xattr.suffix == b"selinux");
        Ok(xattrs)
    }
}

fn content_bytes(inode: &Inode) -> u64 {
    match &inode.kind {
        Kind::Regular(content) => content.size_bytes(),
        _ => 0,
    }
}

fn body(kind: &Kind) -> Body<'_> {
    match kind {
        Kind::Regular(FileContent::Inline(content)) if !content.is_empty() => {
            Body::Content(content)
        }
        Kind::Symlink(target) if !target.is_empty() => Body::Bytes(target),
        Kind::CharDevice(device) | Kind::BlockDevice(device) => {
            Body::Device(encode_device(*device))
        }
        Kind::Regular(_) | Kind::Symlink(_) | Kind::Directory(_) | Kind::Fifo | Kind::Socket => {
            Body::Empty
        }
    }
}

/// What each node takes, before it has a place.
pub(super) fn shapes(
    tree: &Tree,
    order: &Order,
    nodes: &Nodes<'_>,
) -> Result<Vec<Shape>, PackError> {
    let shape = |(node, source): (&Node<'_>, &Source)| {
        nodes.shape(node).ok_or_else(|| too_large(tree, *source))
    };
    nodes.list.iter().zip(&order.sources).map(shape).collect()
}

/// The error for a node that the image cannot hold.
fn too_large(tree: &Tree, source: Source) -> PackError {
    let id = match source {
        Source::Inode(id) => id,
        Source::Stub(_) => InodeId::ROOT,
    };
    let expected = "at most 256 KiB of xattrs and 8 PiB of content".to_owned();
    entry_error(tree, id, "size", "more", expected)
}
