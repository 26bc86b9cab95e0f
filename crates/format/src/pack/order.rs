// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers of the inodes in each profile.

use std::collections::VecDeque;

use super::{PackError, entry_error};
use crate::limits;
use crate::tree::{Directory, InodeId, Tree};

/// The names of composefs' stubs.
static STUB_NAMES: [[u8; 2]; 256] = stub_names();

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// An inode of the tree.
    Inode(InodeId),
    /// One of composefs' character devices 0:0 in the root, which hide the names of object
    /// directories where overlayfs has no data-only layers.
    Stub(&'static [u8; 2]),
}

/// The inodes in the order of their numbers.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) sources: Vec<Source>,
    /// By [`InodeId::index`].
    number_of: Vec<Option<u32>>,
    /// By number, of the directory that was numbered from.
    parent_of: Vec<u32>,
}

impl Order {
    fn new(tree: &Tree) -> Self {
        let mut order = Self {
            sources: Vec::with_capacity(tree.len()),
            number_of: vec![None; tree.len()],
            parent_of: Vec::with_capacity(tree.len()),
        };
        order.add(Source::Inode(InodeId::ROOT), 0);
        order
    }

    fn add(&mut self, source: Source, parent: u32) {
        if let Source::Inode(id) = source {
            self.number_of[id.index()] = u32::try_from(self.sources.len()).ok();
        }
        self.sources.push(source);
        self.parent_of.push(parent);
    }

    fn has(&self, id: InodeId) -> bool {
        self.number_of[id.index()].is_some()
    }

    /// The number of an inode.
    pub(super) fn number(&self, id: InodeId) -> u32 {
        self.number_of[id.index()].expect("every inode has a name, so it was numbered")
    }

    /// The number of a directory's parent; the root is its own.
    pub(super) fn parent(&self, number: u32) -> u32 {
        self.parent_of[number as usize]
    }

    /// The stubs and their numbers.
    pub(super) fn stubs(&self) -> impl Iterator<Item = (&'static [u8], u32)> {
        (0..)
            .zip(&self.sources)
            .filter_map(|(number, source)| match source {
                Source::Stub(name) => Some((&name[..], number)),
                Source::Inode(_) => None,
            })
    }
}

/// pack.md, "Order": depth first; the names of a directory are numbered together, then its
/// subdirectories follow in order. An inode with several names has the number of the first.
pub(super) fn of_pack(tree: &Tree) -> Result<Order, PackError> {
    let mut order = Order::new(tree);
    let mut open = vec![(InodeId::ROOT, 0)];
    while let Some((id, path_bytes)) = open.pop() {
        let parent = order.number(id);
        let first_open = open.len();
        for (name, child) in names(tree, id) {
            let path_bytes = path_bytes + 1 + name.len();
            if path_bytes > limits::MAX_PATH_BYTES {
                let (what, max) = ("bytes of a path below", limits::MAX_PATH_BYTES);
                return Err(entry_error(
                    tree,
                    id,
                    what,
                    path_bytes,
                    format!("at most {max}"),
                ));
            }
            if tree.inode(child).as_directory().is_some() {
                open.push((child, path_bytes));
            }
            if !order.has(child) {
                order.add(Source::Inode(child), parent);
            }
        }
        open[first_open..].reverse();
    }
    Ok(order)
}

/// Breadth first, the stubs among the root's names. An inode with several names has its place
/// where a walk in canonical order comes to it first.
pub(super) fn of_composefs(tree: &Tree) -> Order {
    let parents = first_parents(tree);
    let mut order = Order::new(tree);
    let mut open = VecDeque::from([InodeId::ROOT]);
    while let Some(id) = open.pop_front() {
        let parent = order.number(id);
        let mut found: Vec<(&[u8], Source)> = names(tree, id)
            .map(|(name, child)| (name, Source::Inode(child)))
            .collect();
        if id == InodeId::ROOT {
            add_stubs(&mut found);
        }
        for (_, source) in found {
            match source {
                Source::Inode(child) if order.has(child) => continue,
                Source::Inode(child) if parents[child.index()] != Some(id) => continue,
                Source::Inode(child) if tree.inode(child).as_directory().is_some() => {
                    open.push_back(child);
                }
                _ => {}
            }
            order.add(source, parent);
        }
    }
    order
}

/// The stubs, but for those whose name is taken.
fn add_stubs(root: &mut Vec<(&[u8], Source)>) {
    let names = root.len();
    for stub in &STUB_NAMES {
        if root[..names]
            .binary_search_by_key(&&stub[..], |(name, _)| *name)
            .is_err()
        {
            root.push((stub, Source::Stub(stub)));
        }
    }
    root.sort_by_key(|(name, _)| *name);
}

/// The directory in which a walk in canonical order comes first to each inode.
fn first_parents(tree: &Tree) -> Vec<Option<InodeId>> {
    let mut parents = vec![None; tree.len()];
    let mut open = vec![(InodeId::ROOT, names(tree, InodeId::ROOT))];
    while let Some((id, names_left)) = open.last_mut() {
        let Some((_, child)) = names_left.next() else {
            open.pop();
            continue;
        };
        parents[child.index()].get_or_insert(*id);
        if tree.inode(child).as_directory().is_some() {
            open.push((child, names(tree, child)));
        }
    }
    parents
}

fn names(tree: &Tree, id: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
    let directory = tree.inode(id).as_directory();
    directory.into_iter().flat_map(Directory::iter)
}

const fn stub_names() -> [[u8; 2]; 256] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut names = [[0; 2]; 256];
    let mut index = 0;
    while index < 256 {
        names[index] = [DIGITS[index / 16], DIGITS[index % 16]];
        index += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Inode, Kind, Metadata};

    // Rules: P6
    #[test]
    fn the_names_of_a_directory_follow_one_another() {
        let mut tree = Tree::new(Metadata::default());
        let mut add = |parent, name: &str, kind| {
            let inode = Inode::new(Metadata::default(), kind);
            tree.insert(parent, name.as_bytes(), inode).unwrap()
        };
        let b = add(InodeId::ROOT, "b", Kind::directory());
        let a = add(InodeId::ROOT, "a", Kind::directory());
        let a_z = add(a, "z", Kind::Fifo);
        let a_c = add(a, "c", Kind::directory());
        let a_c_x = add(a_c, "x", Kind::Fifo);
        let b_y = add(b, "y", Kind::Fifo);
        let c = add(InodeId::ROOT, "c", Kind::Socket);
        tree.link(a_c, b"first", b_y).unwrap();
        tree.link(b, b"again", a_z).unwrap();
        let order = of_pack(&tree).unwrap();
        let expected = [InodeId::ROOT, a, b, c, a_c, a_z, b_y, a_c_x];
        assert!(order.sources.iter().eq(&expected.map(Source::Inode)));
    }
}
