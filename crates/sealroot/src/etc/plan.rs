// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three-way merge of `/etc`: what the release had, what there is, what the new release has.
//! Pure: trees in, a tree and an account of it out (docs/design/etc.md has the rules).

use std::collections::BTreeSet;
use std::fmt;

use sealroot_format::tree::{Directory, Inode, InodeId, Kind, Tree};

use super::compare::{Aspect, differences, same_content, same_kind, three_way};
use super::error::{EtcError, text_of};
use super::node::{Node, collect};

/// How many directories may be nested in an `/etc`. What is deeper could not be cleared away after
/// a crash.
pub const MAX_DEPTH: usize = 28;

/// Files that say that something was done in this `/etc`: not so in a new one.
const MARKS: [&[u8]; 1] = [b"/.updated"];

/// The three sides of a merge. The root of each is an `/etc`.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'t> {
    /// What the release had that the current one began as.
    pub old: &'t Tree,
    /// What there is.
    pub current: &'t Tree,
    /// What the new release has.
    pub new: &'t Tree,
}

/// What comes of a merge.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The merged `/etc`; of use only without clashes.
    pub merged: Tree,
    /// Where it is not the new default, in the order of a walk.
    pub decisions: Vec<Decision>,
    /// What somebody has to decide first.
    pub clashes: Vec<Clash>,
    /// Local sockets, fifos and devices, which are left behind.
    pub skipped: Vec<Box<[u8]>>,
}

/// Why one entry of a merged `/etc` is not the new default's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Below `/etc`, with a slash in front.
    pub path: Box<[u8]>,
    /// Why.
    pub outcome: Outcome,
}

/// Why an entry is not the new default's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Local, and no release has it. A directory with all that is in it.
    Added,
    /// Changed locally, so the local one stands.
    Kept {
        /// Whether the release has changed it as well: its change has no effect then.
        release_changed: bool,
    },
    /// The release's, but for these local changes.
    Attributes(Vec<Aspect>),
    /// Removed locally, so the release's stays away.
    StaysRemoved,
    /// The new release has dropped it, but it was changed locally.
    KeptDropped,
}

/// What cannot be decided without somebody who knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Below `/etc`, with a slash in front.
    pub path: Box<[u8]>,
    /// What it is.
    pub kind: ClashKind,
}

/// Two things that cannot have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClashKind {
    /// Local, or changed locally, and no directory; the new release has a directory.
    NewDirectory,
    /// A directory with local changes; the new release has something else.
    NewFile,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = text_of(&self.path);
        match self.kind {
            ClashKind::NewDirectory => write!(
                f,
                "/etc{path} is no directory here and is one in the new release: move it away, or \
                 take back the change (sealroot etc reset)"
            ),
            ClashKind::NewFile => write!(
                f,
                "/etc{path} is a directory with changes here and is none in the new release: move \
                 away what is yours in it"
            ),
        }
    }
}

/// Merges. What is clashing or skipped is in the plan, not an error.
pub fn plan(sides: Sides<'_>) -> Result<Plan, EtcError> {
    for tree in [sides.old, sides.current, sides.new] {
        check_depth(tree)?;
    }
    let mut merger = Merger {
        sides,
        path: Vec::new(),
        decisions: Vec::new(),
        clashes: Vec::new(),
        skipped: Vec::new(),
    };
    let root = Some(InodeId::ROOT);
    let merged = merger.directories(root, InodeId::ROOT, root);
    let Merger {
        decisions,
        clashes,
        skipped,
        ..
    } = merger;
    Ok(Plan {
        merged: collect(merged)?,
        decisions,
        clashes,
        skipped,
    })
}

fn check_depth(tree: &Tree) -> Result<(), EtcError> {
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        let depth = path.split(|byte| *byte == b'/').skip(1).count();
        if depth > MAX_DEPTH && tree.inode(id).as_directory().is_some() {
            return Err(EtcError::TooDeep {
                path: text_of(path),
                max: MAX_DEPTH,
            });
        }
    }
    Ok(())
}

/// Whether an inode is of a kind that is never in a merged `/etc`: it belongs to who made it.
pub(super) fn is_special(inode: &Inode) -> bool {
    !matches!(
        inode.kind,
        Kind::Directory(_) | Kind::Regular(_) | Kind::Symlink(_)
    )
}

/// Whether a difference makes a file one that somebody has changed. A label alone does not: a
/// relabelling after a change of the SELinux policy concerns all files.
fn is_change(aspects: &[Aspect]) -> bool {
    aspects.iter().any(|aspect| *aspect != Aspect::Label)
}

struct Merger<'t> {
    sides: Sides<'t>,
    path: Vec<u8>,
    decisions: Vec<Decision>,
    clashes: Vec<Clash>,
    skipped: Vec<Box<[u8]>>,
}

/// One name on the three sides.
type Names = (Option<InodeId>, Option<InodeId>, Option<InodeId>);

impl Merger<'_> {
    fn decide(&mut self, outcome: Outcome) {
        self.decisions.push(Decision {
            path: self.path.as_slice().into(),
            outcome,
        });
    }

    fn clash(&mut self, kind: ClashKind) {
        self.clashes.push(Clash {
            path: self.path.as_slice().into(),
            kind,
        });
    }

    /// What is to be had under the name that the path ends with.
    fn entry(&mut self, (old, current, new): Names) -> Option<Node> {
        if MARKS.contains(&&*self.path) {
            return None;
        }
        let Sides {
            old: o,
            current: c,
            new: n,
        } = self.sides;
        let follow = |new: Option<InodeId>| new.map(|new| Node::of_default(n, new));
        let new = new.filter(|new| !is_special(n.inode(*new)));
        let Some(id) = current else {
            if old.is_none() {
                return follow(new);
            }
            if new.is_some() {
                self.decide(Outcome::StaysRemoved);
            }
            return None;
        };
        let inode = c.inode(id);
        if is_special(inode) {
            let is_default = old.is_some_and(|old| same_content(&o.inode(old).kind, &inode.kind));
            if !is_default {
                self.skipped.push(self.path.as_slice().into());
            }
            return follow(new);
        }
        if inode.as_directory().is_some() {
            return self.local_directory(old, id, new);
        }
        self.local_file(old, id, new)
    }

    /// A name that is not a directory locally.
    fn local_file(
        &mut self,
        old: Option<InodeId>,
        id: InodeId,
        new: Option<InodeId>,
    ) -> Option<Node> {
        let Sides {
            old: o,
            current: c,
            new: n,
        } = self.sides;
        let inode = c.inode(id);
        let local = |merger: &mut Self, outcome| {
            merger.decide(outcome);
            Some(Node::of_current(c, id))
        };
        let Some(default) = old.map(|old| o.inode(old)) else {
            return match new.map(|new| n.inode(new)) {
                None => local(self, Outcome::Added),
                Some(new) if new.as_directory().is_some() => {
                    self.clash(ClashKind::NewDirectory);
                    None
                }
                Some(new) if differences(inode, new).is_empty() => Some(Node::of_current(c, id)),
                Some(_) => local(
                    self,
                    Outcome::Kept {
                        release_changed: true,
                    },
                ),
            };
        };
        let aspects = differences(default, inode);
        if aspects.is_empty() {
            return new.map(|new| Node::of_default(n, new));
        }
        let Some(new_id) = new else {
            if is_change(&aspects) {
                return local(self, Outcome::KeptDropped);
            }
            return None;
        };
        let new = n.inode(new_id);
        let release_changed = !differences(default, new).is_empty();
        let was_directory = default.as_directory().is_some();
        if new.as_directory().is_some() {
            // In the place of a directory somebody put something else, which has stood since.
            if was_directory {
                return local(self, Outcome::Kept { release_changed });
            }
            if is_change(&aspects) {
                self.clash(ClashKind::NewDirectory);
                return None;
            }
            return Some(Node::of_default(n, new_id));
        }
        if same_kind(&default.kind, &inode.kind) && same_kind(&inode.kind, &new.kind) {
            return Some(self.both_files(default, inode, new, id, aspects));
        }
        if is_change(&aspects) {
            return local(self, Outcome::Kept { release_changed });
        }
        Some(Node::of_default(n, new_id))
    }

    /// The same kind of thing on all sides, no directory, with local changes.
    fn both_files(
        &mut self,
        default: &Inode,
        inode: &Inode,
        new: &Inode,
        id: InodeId,
        aspects: Vec<Aspect>,
    ) -> Node {
        let mut metadata = three_way(&default.metadata, &inode.metadata, &new.metadata);
        let has_content = aspects.contains(&Aspect::Content);
        let kind = if has_content {
            metadata.mtime = inode.metadata.mtime;
            &inode.kind
        } else {
            &new.kind
        };
        let merged = Inode::new(metadata, kind.clone());
        let release_changed = !differences(default, new).is_empty();
        if !differences(&merged, new).is_empty() {
            self.decide(if has_content {
                Outcome::Kept { release_changed }
            } else {
                Outcome::Attributes(aspects)
            });
        }
        if differences(&merged, inode).is_empty() && has_content {
            return Node::of_current(self.sides.current, id);
        }
        Node::Leaf {
            inode: merged,
            link: None,
        }
    }

    /// A name that is a directory locally.
    fn local_directory(
        &mut self,
        old: Option<InodeId>,
        id: InodeId,
        new: Option<InodeId>,
    ) -> Option<Node> {
        let Sides {
            old: o,
            current: c,
            new: n,
        } = self.sides;
        let is_directory = |tree: &Tree, id: InodeId| tree.inode(id).as_directory().is_some();
        let old_directory = old.filter(|old| is_directory(o, *old));
        match new {
            Some(new) if is_directory(n, new) => {
                Some(self.directories(old_directory, id, Some(new)))
            }
            Some(new) if old_directory.is_none() && old.is_some() => {
                // In the place of a file somebody put a directory, which has stood since.
                let old = old.map(|old| o.inode(old));
                let release_changed =
                    old.is_some_and(|old| !differences(old, n.inode(new)).is_empty());
                self.decide(Outcome::Kept { release_changed });
                Some(self.local_tree(id))
            }
            None if old_directory.is_none() => {
                self.decide(Outcome::Added);
                Some(self.local_tree(id))
            }
            _ => {
                let before = self.decisions.len();
                let kept = self.directories(old_directory, id, None);
                let metadata = &c.inode(id).metadata;
                let is_changed = old_directory.is_none_or(|old| {
                    let as_default = Inode::new(o.inode(old).metadata.clone(), Kind::directory());
                    let as_current = Inode::new(metadata.clone(), Kind::directory());
                    is_change(&differences(&as_default, &as_current))
                });
                if kept.is_empty_directory() && !is_changed {
                    self.decisions.truncate(before);
                    return new.map(|new| Node::of_default(n, new));
                }
                if new.is_some() {
                    self.clash(ClashKind::NewFile);
                    return None;
                }
                if self.decisions.len() == before {
                    self.decide(Outcome::KeptDropped);
                }
                Some(kept)
            }
        }
    }

    /// All of a local directory, but for what is not carried over.
    fn local_tree(&mut self, id: InodeId) -> Node {
        let tree = self.sides.current;
        let mut children = Vec::new();
        for (name, child) in tree
            .inode(id)
            .as_directory()
            .into_iter()
            .flat_map(Directory::iter)
        {
            let len = self.enter(name);
            let inode = tree.inode(child);
            if is_special(inode) {
                self.skipped.push(self.path.as_slice().into());
            } else if inode.as_directory().is_some() {
                children.push((name.into(), self.local_tree(child)));
            } else {
                children.push((name.into(), Node::of_current(tree, child)));
            }
            self.path.truncate(len);
        }
        Node::Directory {
            metadata: tree.inode(id).metadata.clone(),
            children,
        }
    }

    /// A directory locally, and on the other sides if it is there.
    fn directories(
        &mut self,
        old: Option<InodeId>,
        current: InodeId,
        new: Option<InodeId>,
    ) -> Node {
        let Sides {
            old: o,
            current: c,
            new: n,
        } = self.sides;
        let local = c.inode(current);
        let metadata = match (old, new) {
            (Some(old), Some(new)) => {
                let (old, new) = (o.inode(old), n.inode(new));
                three_way(&old.metadata, &local.metadata, &new.metadata)
            }
            _ => local.metadata.clone(),
        };
        if let Some(new) = new {
            let merged = Inode::new(metadata.clone(), Kind::directory());
            let aspects = differences(&merged, n.inode(new));
            if !aspects.is_empty() {
                self.decide(Outcome::Attributes(aspects));
            }
        }
        let child = |tree: &Tree, id: Option<InodeId>, name: &[u8]| {
            tree.inode(id?).as_directory()?.get(name)
        };
        let mut children = Vec::new();
        for name in self.names(old, current, new) {
            let len = self.enter(&name);
            let sides = (
                child(o, old, &name),
                child(c, Some(current), &name),
                child(n, new, &name),
            );
            if let Some(node) = self.entry(sides) {
                children.push((name, node));
            }
            self.path.truncate(len);
        }
        Node::Directory { metadata, children }
    }

    /// All names of the three directories, sorted.
    fn names(
        &self,
        old: Option<InodeId>,
        current: InodeId,
        new: Option<InodeId>,
    ) -> BTreeSet<Box<[u8]>> {
        let Sides {
            old: o,
            current: c,
            new: n,
        } = self.sides;
        let sides = [(o, old), (c, Some(current)), (n, new)];
        (sides.into_iter())
            .filter_map(|(tree, id)| tree.inode(id?).as_directory())
            .flat_map(|directory| directory.iter().map(|(name, _)| name.into()))
            .collect()
    }

    /// Goes to a name in the directory of the path; gives what to truncate it to afterwards.
    fn enter(&mut self, name: &[u8]) -> usize {
        let len = self.path.len();
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        len
    }
}
