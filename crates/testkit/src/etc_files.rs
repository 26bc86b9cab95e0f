// SPDX-License-Identifier: MIT OR Apache-2.0
//! All that is in a small directory, as text: to compare two of them as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Mode, owner and content of everything below `directory`, by its path there.
pub fn read(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    walk(directory, directory, &mut found)?;
    Ok(found)
}

fn walk(base: &Path, directory: &Path, found: &mut BTreeMap<String, String>) -> Result<()> {
    let entries = fs::read_dir(directory);
    for entry in entries.with_context(|| format!("reading {}", directory.display()))? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        let kind = metadata.file_type();
        let what = if kind.is_dir() {
            walk(base, &path, found)?;
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(&path)?.display())
        } else if kind.is_char_device() || kind.is_block_device() || !kind.is_file() {
            "special".to_owned()
        } else {
            fs::read(&path)?.escape_ascii().to_string()
        };
        let (mode, user, group) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        let name = path.strip_prefix(base)?.as_os_str().as_bytes();
        let name = name.escape_ascii().to_string();
        found.insert(name, format!("{mode:o} {user}:{group} {what}"));
    }
    Ok(())
}
