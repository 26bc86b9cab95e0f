// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs of this boot have written, usually in `/run/sealroot`.
//!
//! Only root can write there, and nothing there is evidence: files are read within bounds, and what
//! says nothing we understand is never taken for "nothing".

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// A directory of this boot's records.
#[derive(Clone, Debug)]
pub struct Runtime(PathBuf);

impl Runtime {
    /// Where the boot program writes.
    pub const USUAL: &str = "/run/sealroot";

    /// The records in `directory`, which need not be there.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// What the boot program says of this boot.
    pub fn booted_path(&self) -> PathBuf {
        self.0.join("booted.json")
    }

    /// What is mounted for a look.
    pub fn mounts_path(&self) -> PathBuf {
        self.0.join("mounts")
    }
}

/// Reads a regular file whole; `None` if it is not there.
pub(super) fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).expect("flags of open");
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!(
            "it has more than {max_bytes} bytes"
        )));
    }
    Ok(Some(bytes))
}

/// Puts a small file in the place of whatever is there, making its directory if it is missing. It
/// need not outlive the boot.
pub(super) fn replace(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    let aside = directory.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&aside)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&aside, directory.join(name))
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&aside)))
}
