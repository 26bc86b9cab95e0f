// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree as the nodes of a pack: order, xattrs, whiteouts, hardlinks.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::overlay::{self, Role, XattrProblem};
use super::{PackError, entry_error};
use crate::erofs::dirent::Child;
use crate::erofs::image::{Body, Node, Nodes};
use crate::erofs::inode::encode_device;
use crate::erofs::xattr::StoredXattr;
use crate::limits;
use crate::tree::{Directory, FileContent, Inode, InodeId, Kind, Timestamp, Tree};

/// The file type of a regular file in `st_mode`.
const REGULAR: u16 = 0o100_000;

/// The numbers of the inodes: pack.md, "Order".
struct Order {
    ids: Vec<InodeId>,
    /// By [`InodeId::index`].
    number_of: Vec<Option<u32>>,
    /// By number; meaningful for directories.
    parent_of: Vec<u32>,
}

/// The nodes of `tree` in the order of their numbers.
pub(super) fn from_tree(tree: &Tree) -> Result<(Nodes<'_>, Vec<InodeId>), PackError> {
    let order = number(tree)?;
    let mut nodes = Nodes {
        build_time: commonest_mtime(tree),
        ..Nodes::default()
    };
    let mut xattr_bytes = 0;
    for (number, id) in order.ids.iter().enumerate() {
        let inode = tree.inode(*id);
        let role = role(tree, inode);
        let stored = overlay::stored_xattrs(&inode.metadata.xattrs, role, ".file");
        let stored = stored.map_err(|XattrProblem { name, expected }| {
            entry_error(tree, *id, "xattr", name.escape_ascii(), expected.to_owned())
        })?;
        xattr_bytes += stored.iter().map(StoredXattr::total_bytes).sum::<usize>();
        let first = nodes.xattr_ids.len();
        let ids = stored.into_iter().map(|xattr| nodes.xattrs.add(xattr));
        nodes.xattr_ids.extend(ids);
        let (body, nlink) = match inode.as_directory() {
            Some(directory) => add_children(&mut nodes, tree, &order, number, directory),
            None => (body(&inode.kind), inode.name_count()),
        };
        nodes.list.push(Node {
            mode: match role {
                Role::Whiteout => REGULAR | inode.metadata.permissions,
                _ => inode.mode(),
            },
            nlink,
            uid: inode.metadata.uid,
            gid: inode.metadata.gid,
            mtime: inode.metadata.mtime,
            xattrs: first..nodes.xattr_ids.len(),
            body,
        });
    }
    if xattr_bytes > limits::MAX_TREE_XATTR_BYTES {
        return Err(PackError::TooLarge {
            what: "bytes of all xattrs",
            max: limits::MAX_TREE_XATTR_BYTES as u64,
        });
    }
    Ok((nodes, order.ids))
}

/// Depth first; a directory's names get their numbers together, then its subdirectories follow in
/// order. An inode with several names has the number of the first.
fn number(tree: &Tree) -> Result<Order, PackError> {
    let mut order = Order {
        ids: vec![InodeId::ROOT],
        number_of: vec![None; tree.len()],
        parent_of: vec![0],
    };
    order.number_of[InodeId::ROOT.index()] = Some(0);
    let mut open = vec![(InodeId::ROOT, 0)];
    while let Some((id, path_bytes)) = open.pop() {
        let directory = tree.inode(id).as_directory();
        let first_open = open.len();
        let parent = order.number_of[id.index()].expect("numbered when it was opened");
        for (name, child) in directory.into_iter().flat_map(Directory::iter) {
            let path_bytes = path_bytes + 1 + name.len();
            if path_bytes > limits::MAX_PATH_BYTES {
                let expected = format!("at most {}", limits::MAX_PATH_BYTES);
                return Err(entry_error(
                    tree,
                    id,
                    "bytes of a path below",
                    path_bytes,
                    expected,
                ));
            }
            if tree.inode(child).as_directory().is_some() {
                open.push((child, path_bytes));
            }
            let number = &mut order.number_of[child.index()];
            if number.is_none() {
                *number = u32::try_from(order.ids.len()).ok();
                order.ids.push(child);
                order.parent_of.push(parent);
            }
        }
        open[first_open..].reverse();
    }
    Ok(order)
}

/// Compact inodes have this one; of equally common ones the smallest.
fn commonest_mtime(tree: &Tree) -> Timestamp {
    let mut counts: HashMap<Timestamp, usize> = HashMap::new();
    for (_, inode) in tree.inodes() {
        *counts.entry(inode.metadata.mtime).or_default() += 1;
    }
    let best = counts
        .into_iter()
        .max_by_key(|(mtime, count)| (*count, Reverse(*mtime)));
    best.map(|(mtime, _)| mtime).unwrap_or_default()
}

fn add_children<'t>(
    nodes: &mut Nodes<'t>,
    tree: &Tree,
    order: &Order,
    number: usize,
    directory: &'t Directory,
) -> (Body<'t>, u32) {
    let itself = u32::try_from(number).expect("nodes are bounded");
    let first = nodes.children.len();
    let mut nlink = 2;
    nodes.children.push(Child {
        name: b".",
        node: itself,
    });
    nodes.children.push(Child {
        name: b"..",
        node: order.parent_of[number],
    });
    for (name, child) in directory.iter() {
        nlink += u32::from(tree.inode(child).as_directory().is_some());
        let node = order.number_of[child.index()].expect("every name was numbered");
        nodes.children.push(Child { name, node });
    }
    nodes.children[first..].sort_by_key(|child| child.name);
    (Body::Directory(first..nodes.children.len()), nlink)
}

fn body(kind: &Kind) -> Body<'_> {
    match kind {
        Kind::Regular(FileContent::External { size_bytes, .. }) => Body::Hole(*size_bytes),
        Kind::Regular(FileContent::Inline(bytes)) if bytes.is_empty() => Body::Empty,
        Kind::Regular(FileContent::Inline(bytes)) | Kind::Symlink(bytes) => Body::Bytes(bytes),
        Kind::CharDevice(device) | Kind::BlockDevice(device) => match encode_device(*device) {
            0 if matches!(kind, Kind::CharDevice(_)) => Body::Empty,
            location => Body::Device(location),
        },
        Kind::Directory(_) | Kind::Fifo | Kind::Socket => Body::Empty,
    }
}

fn role<'t>(tree: &Tree, inode: &'t Inode) -> Role<'t> {
    let holds_whiteouts = |directory: &Directory| {
        directory
            .iter()
            .any(|(_, child)| tree.inode(child).is_whiteout())
    };
    match &inode.kind {
        Kind::Regular(FileContent::External { digest, .. }) => Role::External(digest),
        Kind::Directory(directory) if holds_whiteouts(directory) => Role::HoldsWhiteouts,
        _ if inode.is_whiteout() => Role::Whiteout,
        _ => Role::Plain,
    }
}

/// The error for a node that the image cannot hold.
pub(super) fn too_large(tree: &Tree, order: &[InodeId], number: usize) -> PackError {
    let id = order.get(number).copied().unwrap_or(InodeId::ROOT);
    let expected = "at most 256 KiB of xattrs and 8 PiB of content".to_owned();
    entry_error(tree, id, "size", "more", expected)
}
