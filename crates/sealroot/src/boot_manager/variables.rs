// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that is done to the firmware's variables, as one trait.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Dir;
use sealroot_format::limits::MAX_LOAD_OPTION_BYTES;
use sealroot_sys::efivar;

/// Whose the variables of the boot manager are: the specification's.
const VENDOR: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// They outlive a reboot, and both firmware and system read them
/// (`NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS`).
const ATTRIBUTES: u32 = 7;
const ATTRIBUTES_BYTES: usize = 4;

/// The firmware's variables of the specification's vendor.
///
/// A write or a removal is one change, and durable when it returns: firmware promises both. Content
/// is without attributes.
pub trait Variables: Debug + Send + Sync {
    /// Where they are, for messages.
    fn location(&self) -> &Path;

    /// The names of all, in any order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Reads one; `None` if it is not there.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes one, whether it is there or not. `ENOSPC` where firmware has no room.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Removes one. Nothing happens if it is not there.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// [`Variables`] in a mounted efivarfs.
#[derive(Debug)]
pub struct KernelVariables {
    directory: File,
    location: PathBuf,
}

impl KernelVariables {
    /// Those in the efivarfs at `location`, usually [`efivar::EFIVARFS`].
    pub fn open(location: &Path) -> io::Result<Self> {
        Ok(Self {
            directory: File::open(location)?,
            location: location.to_owned(),
        })
    }
}

fn file_of(name: &str) -> String {
    format!("{name}-{VENDOR}")
}

impl Variables for KernelVariables {
    fn location(&self) -> &Path {
        &self.location
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            let name = name.and_then(|name| name.strip_suffix(VENDOR)?.strip_suffix('-'));
            names.extend(name.map(str::to_owned));
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let limit_bytes = ATTRIBUTES_BYTES.saturating_add(MAX_LOAD_OPTION_BYTES);
        let Some(mut bytes) = efivar::read(&self.directory, &file_of(name), limit_bytes)? else {
            return Ok(None);
        };
        if bytes.len() < ATTRIBUTES_BYTES {
            // So the kernel shows one that firmware does not have.
            return Ok(None);
        }
        Ok(Some(bytes.split_off(ATTRIBUTES_BYTES)))
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        Ok(efivar::write(
            &self.directory,
            &file_of(name),
            ATTRIBUTES,
            content,
        )?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(efivar::remove(&self.directory, &file_of(name))?)
    }
}
