// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree under construction, of which whole branches may still be dropped.

use std::collections::HashMap;

use sealroot_format::tree::{Inode, InodeId, Kind, Metadata, Tree};

use super::error::{EtcError, text_of};
use super::plan::is_special;

/// An entry of a tree under construction.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory {
        metadata: Metadata,
        /// Sorted by name.
        children: Vec<(Box<[u8]>, Node)>,
    },
    Leaf {
        inode: Inode,
        /// The inode of the present `/etc` that this is, whole: its names stay hardlinks.
        link: Option<InodeId>,
    },
}

impl Node {
    /// All that is at `id` of a default.
    pub(super) fn of_default(tree: &Tree, id: InodeId) -> Self {
        let inode = tree.inode(id);
        match inode.as_directory() {
            None => Self::Leaf {
                inode: Inode::new(inode.metadata.clone(), inode.kind.clone()),
                link: None,
            },
            Some(directory) => Self::Directory {
                metadata: inode.metadata.clone(),
                children: (directory.iter())
                    .filter(|(_, child)| !is_special(tree.inode(*child)))
                    .map(|(name, child)| (name.into(), Self::of_default(tree, child)))
                    .collect(),
            },
        }
    }

    /// What is at `id` of the present `/etc` and no directory.
    pub(super) fn of_current(tree: &Tree, id: InodeId) -> Self {
        let inode = tree.inode(id);
        Self::Leaf {
            inode: Inode::new(inode.metadata.clone(), inode.kind.clone()),
            link: (inode.name_count() > 1).then_some(id),
        }
    }

    pub(super) fn is_empty_directory(&self) -> bool {
        matches!(self, Self::Directory { children, .. } if children.is_empty())
    }
}

/// The tree, whose root is a directory.
pub(super) fn collect(root: Node) -> Result<Tree, EtcError> {
    let (metadata, children) = match root {
        Node::Directory { metadata, children } => (metadata, children),
        Node::Leaf { inode, .. } => (inode.metadata, Vec::new()),
    };
    let mut collection = Collection {
        tree: Tree::new(metadata),
        links: HashMap::new(),
        path: Vec::new(),
    };
    collection.add_all(InodeId::ROOT, children)?;
    Ok(collection.tree)
}

struct Collection {
    tree: Tree,
    links: HashMap<InodeId, InodeId>,
    path: Vec<u8>,
}

impl Collection {
    fn add_all(
        &mut self,
        parent: InodeId,
        children: Vec<(Box<[u8]>, Node)>,
    ) -> Result<(), EtcError> {
        for (name, node) in children {
            let len = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(&name);
            self.add(parent, &name, node)?;
            self.path.truncate(len);
        }
        Ok(())
    }

    fn add(&mut self, parent: InodeId, name: &[u8], node: Node) -> Result<(), EtcError> {
        let failed = |source| EtcError::Tree {
            path: text_of(&self.path),
            source,
        };
        match node {
            Node::Directory { metadata, children } => {
                let inode = Inode::new(metadata, Kind::directory());
                let id = self.tree.insert(parent, name, inode).map_err(failed)?;
                self.add_all(id, children)
            }
            Node::Leaf { inode, link } => {
                if let Some(first) = link.and_then(|link| self.links.get(&link)) {
                    return self.tree.link(parent, name, *first).map_err(failed);
                }
                let id = self.tree.insert(parent, name, inode).map_err(failed)?;
                self.links.extend(link.map(|link| (link, id)));
                Ok(())
            }
        }
    }
}
