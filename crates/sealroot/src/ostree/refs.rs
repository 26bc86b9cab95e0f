// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refs: the names of commits, and what a revision resolves to.
//!
//! A ref may be a symlink to another of the same directory: an alias.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType, Mode as FileMode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::digest::CommitId;
use sealroot_format::limits;

use super::error::OstreeError;
use super::repository::{Repository, TO_READ, open_beneath};

/// The name of a ref.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefName {
    /// One of the repository's own: `refs/heads/<name>`.
    Local(String),
    /// Where a remote's ref was when it was last pulled: `refs/remotes/<remote>/<name>`.
    Remote {
        /// The remote.
        remote: String,
        /// Its ref.
        name: String,
    },
    /// A ref of another collection: `refs/mirrors/<collection>/<name>`.
    Mirror {
        /// The collection's id.
        collection: String,
        /// Its ref.
        name: String,
    },
}

impl RefName {
    /// Parses `name` or `remote:name`, as OSTree writes them.
    pub fn parse(text: &str) -> Option<Self> {
        let name = match text.split_once(':') {
            None => Self::Local(text.into()),
            Some((remote, name)) => Self::Remote {
                remote: remote.into(),
                name: name.into(),
            },
        };
        name.is_valid().then_some(name)
    }

    fn is_valid(&self) -> bool {
        let is_name = |name: &str| name.split('/').all(is_component);
        match self {
            Self::Local(name) => is_name(name),
            Self::Remote { remote, name } => is_component(remote) && is_name(name),
            Self::Mirror { collection, name } => is_component(collection) && is_name(name),
        }
    }

    /// The directory beneath which it and its aliases are, and its path in there.
    fn place(&self) -> (String, &str) {
        match self {
            Self::Local(name) => ("refs/heads".into(), name),
            Self::Remote { remote, name } => (format!("refs/remotes/{remote}"), name),
            Self::Mirror { collection, name } => (format!("refs/mirrors/{collection}"), name),
        }
    }

    /// The remote that it was pulled from, if it says so.
    pub fn remote(&self) -> Option<&str> {
        match self {
            Self::Remote { remote, .. } => Some(remote),
            _ => None,
        }
    }
}

impl fmt::Display for RefName {
    /// As OSTree writes it: `name`, `remote:name` or `(collection, name)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(name) => f.write_str(name),
            Self::Remote { remote, name } => write!(f, "{remote}:{name}"),
            Self::Mirror { collection, name } => write!(f, "({collection}, {name})"),
        }
    }
}

/// One component of a ref or a remote's name: a word, with `-` and `.` after its first character.
pub(super) fn is_component(component: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    component.starts_with(is_word)
        && component
            .chars()
            .all(|c| is_word(c) || c == '-' || c == '.')
}

impl Repository {
    /// The commit that `rev` names: a checksum, a local ref or `remote:ref`, and of that, for each
    /// `^` at its end, the parent.
    pub fn resolve(&self, rev: &str) -> Result<CommitId, OstreeError> {
        let base = rev.trim_end_matches('^');
        let mut commit = match CommitId::from_hex(base) {
            Some(commit) => commit,
            None => match RefName::parse(base) {
                Some(name) => self.resolve_ref(&name)?,
                None => return Err(OstreeError::Revision { rev: rev.into() }),
            },
        };
        for _ in base.len()..rev.len() {
            let parent = self.commit(commit)?.info().parent;
            commit = parent.ok_or(OstreeError::NoParent { commit })?;
        }
        Ok(commit)
    }

    /// The commit that a ref names.
    pub fn resolve_ref(&self, name: &RefName) -> Result<CommitId, OstreeError> {
        let rev = || name.to_string();
        let (directory, path) = name.place();
        if !name.is_valid() {
            return Err(OstreeError::Revision { rev: rev() });
        }
        let read_error = |source: io::Error| OstreeError::Read {
            path: self.path.join(&directory).join(path),
            source,
        };
        let file = match self.open_ref(&directory, path) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => {
                return Err(OstreeError::RefMissing { rev: rev() });
            }
            Err(errno) => return Err(read_error(errno.into())),
        };
        let mut text = Vec::new();
        match File::from(file)
            .take(limits::MAX_OSTREE_REF_BYTES)
            .read_to_end(&mut text)
        {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(OstreeError::RefMissing { rev: rev() });
            }
            result => result.map_err(read_error)?,
        };
        CommitId::from_hex(text.trim_ascii_end()).ok_or_else(|| OstreeError::Ref {
            rev: rev(),
            found: text.escape_ascii().to_string(),
        })
    }

    /// Refs may be symlinks to others: aliases. They stay beneath the refs of one kind.
    fn open_ref(&self, directory: &str, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open_beneath(&self.root, directory, flags)?;
        rustix::fs::openat2(
            directory,
            name,
            TO_READ,
            FileMode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// All refs, aliases included, sorted. Files that no ref could be called are passed over.
    pub fn refs(&self) -> Result<Vec<RefName>, OstreeError> {
        let mut found = Vec::new();
        for kind in ["heads", "remotes", "mirrors"] {
            let mut open = vec![(format!("refs/{kind}"), String::new())];
            while let Some((path, inside)) = open.pop() {
                for (name, is_directory) in self.list(&path)? {
                    let inside = match inside.as_str() {
                        "" => name.clone(),
                        inside => format!("{inside}/{name}"),
                    };
                    if is_directory {
                        open.push((format!("{path}/{name}"), inside));
                    } else if let Some(name) = name_of(kind, inside) {
                        found.push(name);
                    }
                    let bound = limits::MAX_OSTREE_REFS;
                    if found.len().saturating_add(open.len()) > bound {
                        return Err(OstreeError::TooManyRefs { bound });
                    }
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The names of a directory of refs that refs may have, and which of them are directories.
    fn list(&self, path: &str) -> Result<Vec<(String, bool)>, OstreeError> {
        let read_error = |errno: Errno| OstreeError::Read {
            path: self.path.join(path),
            source: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match open_beneath(&self.root, path, flags) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(read_error(errno)),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(read_error)? {
            let entry = entry.map_err(read_error)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if is_component(name) {
                let stat =
                    rustix::fs::statat(&directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                    Ok(kind) => names.push((name.into(), kind == FileType::Directory)),
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(read_error(errno)),
                }
            }
        }
        Ok(names)
    }
}

/// The ref whose file is at `inside` in the directory for refs of one kind.
fn name_of(kind: &str, inside: String) -> Option<RefName> {
    if kind == "heads" {
        return Some(RefName::Local(inside));
    }
    let (of, name) = inside.split_once('/')?;
    let (of, name) = (of.into(), name.into());
    Some(match kind {
        "remotes" => RefName::Remote { remote: of, name },
        _ => RefName::Mirror {
            collection: of,
            name,
        },
    })
}
