// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where files are published, and a directory as that: a server serves it, or it is copied to one.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use tempfile::NamedTempFile;

use crate::error::RemoteError;

/// The file that is locked while somebody publishes.
const LOCK_NAME: &str = ".publish.lock";

/// How the name of a file begins that is not complete yet.
const UNFINISHED: &str = ".unfinished-";

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path in the repository.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was put there.
    pub modified: SystemTime,
}

impl Listed {
    /// Whether it is a channel, by its name.
    pub(super) fn is_channel(&self) -> bool {
        self.path.ends_with(".channel")
    }
}

/// Takes published files. A name appears when its content is complete and durable.
pub trait Destination: Debug {
    /// Where it is, for people.
    fn location(&self) -> String;

    /// The first bytes of a file, at most `max_bytes`; `None` if there is none.
    fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, RemoteError>;

    /// The length of a file; `None` if there is none.
    fn size_of(&self, path: &str) -> Result<Option<u64>, RemoteError>;

    /// Puts a file there that never changes.
    fn put(&self, path: &str, content: &mut dyn Read) -> Result<(), RemoteError>;

    /// Puts a small file in the place of `previous`; refuses if something else is there.
    fn replace(
        &self,
        path: &str,
        previous: Option<&[u8]>,
        content: &[u8],
    ) -> Result<(), RemoteError>;

    /// All files, sorted by their paths; none that are not complete.
    fn list(&self) -> Result<Vec<Listed>, RemoteError>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), RemoteError>;
}

/// A directory, made with the first file. Nobody else publishes to it while this is there.
#[derive(Debug)]
pub struct DirectoryDestination {
    root: PathBuf,
    lock: OnceLock<File>,
}

impl DirectoryDestination {
    /// Opens a directory to publish to, which need not be there yet.
    pub fn open(root: &Path) -> Result<Self, RemoteError> {
        let destination = Self {
            root: root.into(),
            lock: OnceLock::new(),
        };
        if root.is_dir() {
            destination.lock()?;
            let removed = remove_unfinished(root);
            removed.map_err(RemoteError::io(destination.what()))?;
        }
        Ok(destination)
    }

    /// A look at such a directory, which changes nothing in it.
    pub fn look(root: &Path) -> Self {
        Self {
            root: root.into(),
            lock: OnceLock::new(),
        }
    }

    fn what(&self) -> String {
        format!("publish to {}", self.root.display())
    }

    /// Makes sure that nobody else publishes here.
    fn lock(&self) -> Result<(), RemoteError> {
        if self.lock.get().is_some() {
            return Ok(());
        }
        let lock = File::create(self.root.join(LOCK_NAME));
        let lock = lock.map_err(RemoteError::io(self.what()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let location = self.location();
                return Err(RemoteError::Conflict { location });
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(RemoteError::io(self.what())(error));
            }
        }
        self.lock.get_or_init(|| lock);
        Ok(())
    }

    fn write(&self, path: &str, content: &mut dyn Read) -> io::Result<()> {
        let target = self.root.join(path);
        let directory = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory)?;
        let mut file = NamedTempFile::with_prefix_in(UNFINISHED, directory)?;
        io::copy(content, &mut file)?;
        file.flush()?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        for directory in directory.ancestors() {
            File::open(directory)?.sync_all()?;
            if directory == self.root {
                break;
            }
        }
        Ok(())
    }

    fn list_in(&self, directory: &Path, all: &mut Vec<Listed>) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                self.list_in(&path, all)?;
            } else if let Ok(relative) = path.strip_prefix(&self.root)
                && let Some(relative) = relative.to_str()
                && !entry.file_name().to_string_lossy().starts_with('.')
            {
                all.push(Listed {
                    path: relative.into(),
                    size_bytes: metadata.len(),
                    modified: metadata.modified()?,
                });
            }
        }
        Ok(())
    }
}

/// Removes what somebody who was interrupted has left.
fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_unfinished(&entry.path())?;
        } else if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Destination for DirectoryDestination {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let target = self.root.join(path);
        let read = || RemoteError::io(format!("read {}", target.display()));
        let file = match File::open(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(read())?,
        };
        let mut content = Vec::new();
        let mut limited = file.take(max_bytes);
        limited.read_to_end(&mut content).map_err(read())?;
        Ok(Some(content))
    }

    fn size_of(&self, path: &str) -> Result<Option<u64>, RemoteError> {
        let target = self.root.join(path);
        match target.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            metadata => {
                let look = RemoteError::io(format!("look at {}", target.display()));
                Ok(Some(metadata.map_err(look)?.len()))
            }
        }
    }

    fn put(&self, path: &str, content: &mut dyn Read) -> Result<(), RemoteError> {
        fs::create_dir_all(&self.root).map_err(RemoteError::io(self.what()))?;
        self.lock()?;
        let target = self.root.join(path);
        let written = self.write(path, content);
        written.map_err(RemoteError::io(format!("write {}", target.display())))
    }

    fn replace(
        &self,
        path: &str,
        previous: Option<&[u8]>,
        mut content: &[u8],
    ) -> Result<(), RemoteError> {
        let max_bytes = previous.map_or(0, |previous| previous.len() as u64) + 1;
        if self.read(path, max_bytes)?.as_deref() != previous {
            let location = self.location();
            return Err(RemoteError::Conflict { location });
        }
        self.put(path, &mut content)
    }

    fn list(&self) -> Result<Vec<Listed>, RemoteError> {
        let mut all = Vec::new();
        if !self.root.is_dir() {
            return Ok(all);
        }
        let listed = self.list_in(&self.root, &mut all);
        listed.map_err(RemoteError::io(format!("list {}", self.root.display())))?;
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }

    fn remove(&self, path: &str) -> Result<(), RemoteError> {
        let target = self.root.join(path);
        let removed = fs::remove_file(&target);
        removed.map_err(RemoteError::io(format!("remove {}", target.display())))
    }
}
