// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory with a copy of what a server has: on a stick, on a share.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use super::{Source, SourceError};

/// See [`super::open`].
#[derive(Debug)]
pub struct DirectorySource {
    root: PathBuf,
}

impl DirectorySource {
    /// The files in a directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    fn open_regular(&self, path: &str) -> io::Result<File> {
        // Nothing is waited for: a fifo or a device may have the name.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(self.root.join(path), flags, rustix::fs::Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(File::from(file))
    }
}

impl Source for DirectorySource {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn may_change(&self) -> bool {
        false
    }

    fn open(&self, path: &str, start: u64, len: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let opened = self.open_regular(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            Ok(file)
        });
        match opened {
            Ok(file) => Ok(Box::new(file.take(len))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.root.join(path).display().to_string();
                Err(SourceError::NotFound { path })
            }
            Err(error) => Err(SourceError::Denied {
                path: self.root.join(path).display().to_string(),
                reason: error.to_string(),
            }),
        }
    }
}
