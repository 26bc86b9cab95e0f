// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file tree of an OS in memory: everything a root filesystem says about itself.
//!
//! Inodes live in one arena and directories name them, so hardlinks are two names for one
//! [`InodeId`]. Children are always sorted bytewise: the order in which a tree was put together
//! never shows. Owner of the bounds on names, paths, symlink targets and xattrs; content is
//! inline or named by its fs-verity digest.

mod content;
pub mod dump;
mod parse;
mod xattr;

use crate::{ErrorClass, limits};

pub use content::{FileContent, InlineContent};
pub use parse::{ContentOf, ParseError, parse_lines};
pub use xattr::{Xattr, XattrSet};

/// An index into a tree's inodes; meaningful only for the tree that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(u32);

impl InodeId {
    /// The root directory of every tree.
    pub const ROOT: Self = Self(0);

    /// The position in the order of creation; for tables beside a tree.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A point in time as inodes store it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970, before it negative.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What every inode has, whatever its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes, ACLs, capabilities and security labels among them.
    pub xattrs: XattrSet,
}

/// A device number as `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// The driver, 12 bits.
    pub major: u32,
    /// The device, 20 bits.
    pub minor: u32,
}

impl DeviceNumber {
    /// The character device 0:0 by which overlayfs hides a name of a lower layer.
    pub const WHITEOUT: Self = Self { major: 0, minor: 0 };
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file.
    Regular(FileContent),
    /// A symbolic link and its target, 1 to [`limits::MAX_SYMLINK_BYTES`] bytes without NUL.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl Kind {
    /// An empty directory.
    pub fn directory() -> Self {
        Self::Directory(Directory::default())
    }

    /// The bit of `st_mode` that says what this is (`S_IFREG` and so on).
    pub const fn file_type_bits(&self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice(_) => 0o020_000,
            Self::Directory(_) => 0o040_000,
            Self::BlockDevice(_) => 0o060_000,
            Self::Regular(_) => 0o100_000,
            Self::Symlink(_) => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }
}

/// A name and what it names.
type Child = (Box<[u8]>, InodeId);

/// The names in a directory, sorted bytewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    children: Vec<Child>,
}

impl Directory {
    /// The names and what they name, sorted bytewise.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], InodeId)> + Clone {
        self.children.iter().map(|(name, id)| (&**name, *id))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// What `name` names.
    pub fn get(&self, name: &[u8]) -> Option<InodeId> {
        let at = self.position(name).ok()?;
        self.children.get(at).map(|(_, id)| *id)
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        // Sources give names in order: the end is the usual place.
        match self.children.last() {
            Some((last, _)) if **last < *name => Err(self.children.len()),
            _ => self
                .children
                .binary_search_by(|(other, _)| (**other).cmp(name)),
        }
    }
}

/// One inode: metadata, kind and how many names it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Mode, owner, time and xattrs.
    pub metadata: Metadata,
    /// What it is, and its content.
    pub kind: Kind,
    names: u32,
}

impl Inode {
    /// An inode without a name yet.
    pub const fn new(metadata: Metadata, kind: Kind) -> Self {
        Self {
            metadata,
            kind,
            names: 0,
        }
    }

    /// The full `st_mode`: file type and permissions.
    pub const fn mode(&self) -> u16 {
        self.kind.file_type_bits() | self.metadata.permissions
    }

    /// How many directory entries name this inode; the root has none.
    pub const fn name_count(&self) -> u32 {
        self.names
    }

    /// Whether this is the whiteout of overlayfs: character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        matches!(self.kind, Kind::CharDevice(DeviceNumber::WHITEOUT))
    }

    /// The directory, if it is one.
    pub const fn as_directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}

/// Why an entry cannot be part of a tree. Paths are the caller's to add.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The name is empty, `.`, `..`, too long, or has a slash or NUL in it.
    #[error("the name {:?} is not valid: {reason}", name.escape_ascii().to_string())]
    Name {
        /// The name as given.
        name: Box<[u8]>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The directory has this name already.
    #[error("the name {:?} appears twice in one directory", name.escape_ascii().to_string())]
    Duplicate {
        /// The name.
        name: Box<[u8]>,
    },
    /// Something was to be put into an inode that is no directory.
    #[error("entry {:?} has a parent that is not a directory", name.escape_ascii().to_string())]
    NotADirectory {
        /// The name that was to be added.
        name: Box<[u8]>,
    },
    /// A second name for a directory.
    #[error("{:?} would be a hardlink to a directory", name.escape_ascii().to_string())]
    DirectoryHardlink {
        /// The name that was to be added.
        name: Box<[u8]>,
    },
    /// A bound of [`limits`] is exceeded, or a field has a value no inode can have.
    #[error("{what}: found {found}, expected {expected}")]
    Bound {
        /// Which field or count.
        what: &'static str,
        /// What there was.
        found: u64,
        /// What may be.
        expected: String,
    },
    /// An extended attribute's name is empty, has a NUL in it or no namespace.
    #[error("the xattr name {:?} is not valid", name.escape_ascii().to_string())]
    XattrName {
        /// The name.
        name: Box<[u8]>,
    },
    /// An extended attribute is there twice.
    #[error("the xattr {:?} appears twice on one inode", name.escape_ascii().to_string())]
    XattrDuplicate {
        /// The name.
        name: Box<[u8]>,
    },
}

impl TreeError {
    /// Always [`ErrorClass::Corrupt`] but for bounds, which are [`ErrorClass::Unsupported`].
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Bound { .. } => ErrorClass::Unsupported,
            _ => ErrorClass::Corrupt,
        }
    }
}

/// A file tree: an arena of inodes, of which the first is the root directory.
///
/// Two trees are equal when their walks are: same paths, same inodes, same hardlinks; the order of
/// creation does not count.
#[derive(Clone, Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
}

impl Tree {
    /// A tree that is only a root directory.
    pub fn new(root: Metadata) -> Self {
        Self {
            inodes: vec![Inode::new(root, Kind::directory())],
        }
    }

    /// How many inodes there are.
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Never: there is always a root.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The inode of an id this tree gave.
    ///
    /// # Panics
    /// If the id is of another tree.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// Like [`Tree::inode`], to change what does not concern names.
    pub fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }

    /// All inodes with their ids, in the order of creation.
    pub fn inodes(&self) -> impl Iterator<Item = (InodeId, &Inode)> {
        (0u32..).map(InodeId).zip(&self.inodes)
    }

    /// Adds `inode` under `name` in `directory`.
    pub fn insert(
        &mut self,
        directory: InodeId,
        name: &[u8],
        inode: Inode,
    ) -> Result<InodeId, TreeError> {
        check_name(name)?;
        check_inode(&inode)?;
        if self.inodes.len() >= limits::MAX_TREE_ENTRIES {
            return Err(bound(
                "entries of a tree",
                self.inodes.len() + 1,
                limits::MAX_TREE_ENTRIES,
            ));
        }
        let id = InodeId(u32::try_from(self.inodes.len()).expect("bounded by MAX_TREE_ENTRIES"));
        self.add_name(directory, name, id)?;
        self.inodes.push(Inode { names: 1, ..inode });
        Ok(id)
    }

    /// Gives an existing inode, which is no directory, one more name.
    pub fn link(
        &mut self,
        directory: InodeId,
        name: &[u8],
        target: InodeId,
    ) -> Result<(), TreeError> {
        check_name(name)?;
        if self.inode(target).as_directory().is_some() {
            return Err(TreeError::DirectoryHardlink { name: name.into() });
        }
        self.add_name(directory, name, target)?;
        self.inode_mut(target).names += 1;
        Ok(())
    }

    /// Gives what `name` names in `directory` another name there.
    ///
    /// # Panics
    /// If there is no such name.
    pub fn rename(&mut self, directory: InodeId, name: &[u8], new: &[u8]) -> Result<(), TreeError> {
        check_name(new)?;
        let directory_of = self.inode(directory).as_directory();
        let target = directory_of.and_then(|of| of.get(name)).expect("a name");
        self.add_name(directory, new, target)?;
        if let Kind::Directory(of) = &mut self.inode_mut(directory).kind {
            of.children.retain(|(other, _)| **other != *name);
        }
        Ok(())
    }

    fn add_name(
        &mut self,
        directory: InodeId,
        name: &[u8],
        target: InodeId,
    ) -> Result<(), TreeError> {
        let Kind::Directory(parent) = &mut self.inode_mut(directory).kind else {
            return Err(TreeError::NotADirectory { name: name.into() });
        };
        match parent.position(name) {
            Ok(_) => Err(TreeError::Duplicate { name: name.into() }),
            Err(at) => {
                parent.children.insert(at, (name.into(), target));
                Ok(())
            }
        }
    }

    /// The inode at a path of components, without following symlinks.
    pub fn lookup<'p>(&self, components: impl IntoIterator<Item = &'p [u8]>) -> Option<InodeId> {
        components.into_iter().try_fold(InodeId::ROOT, |id, name| {
            self.inode(id).as_directory()?.get(name)
        })
    }

    /// Walks all names in canonical order: depth first, names sorted bytewise, the root first.
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            tree: self,
            open: Vec::new(),
            path: Vec::new(),
            started: false,
        }
    }
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = std::collections::HashMap::new();
        let (mut ours, mut theirs) = (self.walk(), other.walk());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some((path, id)), Some((other_path, other_id))) => {
                    if path != other_path || *pairs.entry(id).or_insert(other_id) != other_id {
                        return false;
                    }
                    if !same_inode(self.inode(id), other.inode(other_id)) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }
}

/// Equal but for the ids in directories, which are arbitrary.
fn same_inode(a: &Inode, b: &Inode) -> bool {
    a.names == b.names
        && a.metadata == b.metadata
        && match (&a.kind, &b.kind) {
            (Kind::Directory(a), Kind::Directory(b)) => a.len() == b.len(),
            (a, b) => a == b,
        }
}

/// A walk over a tree in canonical order; see [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'t> {
    tree: &'t Tree,
    /// Per open directory: the next child and the length of the directory's own path.
    open: Vec<(&'t [Child], usize)>,
    path: Vec<u8>,
    started: bool,
}

impl Walk<'_> {
    /// The next path and inode. The root's path is `/`; others start with `/` and do not end with
    /// it.
    #[expect(clippy::should_implement_trait, reason = "it lends its path buffer")]
    pub fn next(&mut self) -> Option<(&[u8], InodeId)> {
        let id = if self.started {
            loop {
                let (children, prefix_len) = self.open.last_mut()?;
                self.path.truncate(*prefix_len);
                if let Some(((name, id), rest)) = children.split_first() {
                    *children = rest;
                    self.path.push(b'/');
                    self.path.extend_from_slice(name);
                    break *id;
                }
                self.open.pop();
            }
        } else {
            self.started = true;
            InodeId::ROOT
        };
        if let Some(directory) = self.tree.inode(id).as_directory() {
            self.open.push((&directory.children, self.path.len()));
        }
        let path = if self.path.is_empty() {
            b"/"
        } else {
            &self.path[..]
        };
        Some((path, id))
    }
}

fn bound(what: &'static str, found: usize, max: usize) -> TreeError {
    TreeError::Bound {
        what,
        found: found as u64,
        expected: format!("at most {max}"),
    }
}

/// Checks that `name` may stand in a directory: 1 to [`limits::MAX_NAME_BYTES`] bytes, neither `.`
/// nor `..`, without slash and NUL. [`Tree::insert`] does so too.
pub fn check_name(name: &[u8]) -> Result<(), TreeError> {
    let reason = match name {
        [] => "it is empty",
        b"." | b".." => "it is reserved",
        _ if name.len() > limits::MAX_NAME_BYTES => "it is longer than 255 bytes",
        _ if name.contains(&b'/') => "it has a slash in it",
        _ if name.contains(&0) => "it has a NUL in it",
        _ => return Ok(()),
    };
    Err(TreeError::Name {
        name: name.into(),
        reason,
    })
}

fn check_inode(inode: &Inode) -> Result<(), TreeError> {
    let Metadata {
        permissions,
        uid,
        gid,
        mtime,
        ..
    } = &inode.metadata;
    if *permissions > 0o7777 {
        return Err(bound("permissions", usize::from(*permissions), 0o7777));
    }
    for (what, owner) in [("user", *uid), ("group", *gid)] {
        if owner > limits::MAX_OWNER {
            return Err(bound(what, owner as usize, limits::MAX_OWNER as usize));
        }
    }
    if mtime.nanoseconds >= 1_000_000_000 {
        return Err(bound(
            "nanoseconds of mtime",
            mtime.nanoseconds as usize,
            999_999_999,
        ));
    }
    match &inode.kind {
        Kind::Symlink(target)
            if target.is_empty()
                || target.len() > limits::MAX_SYMLINK_BYTES
                || target.contains(&0) =>
        {
            Err(TreeError::Bound {
                what: "length of a symlink target",
                found: target.len() as u64,
                expected: format!("1 to {} bytes without NUL", limits::MAX_SYMLINK_BYTES),
            })
        }
        Kind::Regular(content) if content.size_bytes() > limits::MAX_FILE_BYTES => {
            Err(TreeError::Bound {
                what: "size of a file",
                found: content.size_bytes(),
                expected: format!("at most {}", limits::MAX_FILE_BYTES),
            })
        }
        Kind::CharDevice(device) | Kind::BlockDevice(device)
            if device.major >= 1 << 12 || device.minor >= 1 << 20 =>
        {
            Err(TreeError::Bound {
                what: "device number",
                found: u64::from(device.major) << 32 | u64::from(device.minor),
                expected: "a major below 4096 and a minor below 1048576".into(),
            })
        }
        _ => Ok(()),
    }
}
