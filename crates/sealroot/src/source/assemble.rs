// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the tree from what the tasks found, in canonical order.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rustix::fs::FileType;
use sealroot_format::tree::{Inode, InodeId, Kind, Metadata, Tree};

use super::error::{Fault, SourceError};
use super::listing::{Directory, Entry, Found, Names, join};
use super::stat::{Identity, Version};
use super::walk::Records;
use super::{Compressed, normal};

/// Makes the tree of the directory that was found first.
pub(super) fn assemble(
    root: &Path,
    compressed: Compressed,
    records: Records,
) -> Result<Tree, SourceError> {
    let mut assembly = Assembly {
        records,
        linked: HashMap::new(),
        opened: HashSet::new(),
    };
    let (metadata, top) = assembly.open(0);
    let mut tree = Tree::new(metadata);
    let mut open = vec![(InodeId::ROOT, top)];
    while let Some((parent, directory)) = open.last_mut() {
        let Some((at, entry)) = directory.entries.next() else {
            open.pop();
            continue;
        };
        let name = directory.names.get(at).to_bytes();
        let below = assembly.add(&mut tree, *parent, name, entry);
        let below = below.map_err(|fault| {
            let path = join(&directory.path, name);
            fault.at(path).into_error(root)
        })?;
        open.extend(below);
    }
    if compressed == Compressed::Normalize {
        let renamed = normal::rename(&mut tree, &assembly.opened);
        renamed.map_err(|failure| failure.into_error(root))?;
    }
    Ok(tree)
}

struct Assembly {
    records: Records,
    /// Inodes with several names of which one was met.
    linked: HashMap<Identity, (InodeId, Version)>,
    /// Files that are compressed no more.
    opened: HashSet<InodeId>,
}

/// A directory whose entries are being added.
struct Open {
    path: Box<[u8]>,
    names: Names,
    entries: std::iter::Enumerate<std::vec::IntoIter<Entry>>,
}

impl Assembly {
    /// Adds one entry; where it is a directory, its own entries are to follow.
    fn add(
        &mut self,
        tree: &mut Tree,
        parent: InodeId,
        name: &[u8],
        Entry { stat, found }: Entry,
    ) -> Result<Option<(InodeId, Open)>, Fault> {
        let has_links = stat.links > 1 && stat.file_type != FileType::Directory;
        if has_links && let Some((inode, version)) = self.linked.get(&stat.version.identity) {
            version.check_same(&stat.version)?;
            tree.link(parent, name, *inode).map_err(Fault::Entry)?;
            return Ok(None);
        }
        let mut below = None;
        let is_opened = matches!(found, Found::File(id) if self.records.opened.contains(&id));
        let inode = match found {
            Found::Directory(id) => {
                let (metadata, directory) = self.open(id);
                below = Some(directory);
                Inode::new(metadata, Kind::directory())
            }
            Found::File(id) => {
                let record = self.records.files[id].take();
                let record = record.expect("a file was read, and further names are links");
                let kind = Kind::Regular(record.content);
                Inode::new(stat.metadata(record.xattrs), kind)
            }
            Found::Leaf(leaf) => {
                let (kind, xattrs) = *leaf;
                Inode::new(stat.metadata(xattrs), kind)
            }
        };
        let inode = tree.insert(parent, name, inode).map_err(Fault::Entry)?;
        if is_opened {
            self.opened.insert(inode);
        }
        if has_links {
            self.linked
                .insert(stat.version.identity, (inode, stat.version));
        }
        Ok(below.map(|directory| (inode, directory)))
    }

    fn open(&mut self, id: usize) -> (Metadata, Open) {
        let directory = self.records.directories[id].take();
        let Directory {
            path,
            stat,
            xattrs,
            names,
            entries,
            ..
        } = directory.expect("each directory was visited, and has one name");
        let open = Open {
            path,
            names,
            entries: entries.into_iter().enumerate(),
        };
        (stat.metadata(xattrs), open)
    }
}
