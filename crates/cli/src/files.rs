// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of the user's, read and written whole.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;

/// Reads a file; errors name it.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file through `fill`; it appears whole and durable or, on any error, not at all.
pub(crate) fn replace(
    path: &Path,
    fill: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let cannot = || format!("cannot write {}", path.display());
    let mut file = tempfile::Builder::new()
        .prefix(".sealroot-")
        // Not its own way, which adds a name to errors that nobody knows.
        .make_in(directory, |path| {
            File::options().write(true).create_new(true).open(path)
        })
        .with_context(cannot)?;
    fill(file.as_file_mut()).with_context(cannot)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))
        .with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path)
        .map_err(|error| error.error)
        .with_context(cannot)?;
    File::open(directory)
        .and_then(|dir| dir.sync_all())
        .with_context(cannot)
}
