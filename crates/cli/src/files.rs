// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of the user's, read and written whole.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sealroot::input;
use sealroot_format::ErrorClass;

use crate::failure::Failure;

/// Refuses what is there and is no directory. `what` it was named as, `expected` what it should be.
pub(crate) fn expect_directory(path: &Path, what: &str, expected: &str) -> anyhow::Result<()> {
    let found = match path.metadata() {
        Ok(found) if found.is_file() => "a file",
        Ok(found) if !found.is_dir() => "a device, fifo or socket",
        // What is not there, or out of reach, is for those to tell who open it.
        _ => return Ok(()),
    };
    let message = format!(
        "{what} {}: expected {expected}, found {found}",
        path.display()
    );
    Err(Failure::new(ErrorClass::Usage, message).into())
}

/// Reads a small file or pipe, of at most one byte more than `limit_bytes`; errors name it.
pub(crate) fn read(path: &Path, limit_bytes: usize) -> anyhow::Result<Vec<u8>> {
    input::read(path, limit_bytes).map_err(|error| cannot("read", path, error))
}

/// Opens a regular file for reading; errors name it.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    input::open_regular(path).map_err(|error| cannot("open", path, error))
}

/// An error about a file that the user named.
pub(crate) fn cannot(action: &str, path: &Path, error: io::Error) -> anyhow::Error {
    let name = path.display();
    let class = match error.kind() {
        io::ErrorKind::InvalidInput => ErrorClass::Usage,
        io::ErrorKind::NotFound => ErrorClass::NotFound,
        _ => return anyhow::Error::new(error).context(format!("cannot {action} {name}")),
    };
    Failure::new(class, format!("cannot {action} {name}: {error}")).into()
}

/// That a file to be written does not lie in the tree that is to be read. `what` it is.
pub(crate) fn refuse_inside(tree: &Path, file: &Path, what: &str) -> anyhow::Result<()> {
    let Ok(tree_is) = tree.canonicalize() else {
        return Ok(()); // Reading it tells why.
    };
    let absolute = std::path::absolute(file)?;
    let there = (absolute.ancestors()).find_map(|ancestor| ancestor.canonicalize().ok());
    if !there.is_some_and(|there| there.starts_with(tree_is)) {
        return Ok(());
    }
    let message = format!(
        "{what} {} lies in the tree {}, of which it would become a part",
        file.display(),
        tree.display()
    );
    Err(Failure::new(ErrorClass::Usage, message)
        .hint("put it somewhere else")
        .into())
}

/// The regular file that writing to `path` replaces or makes: behind a symlink, and never a device.
fn replaceable(path: &Path) -> anyhow::Result<PathBuf> {
    let refuse = |found: &str| {
        let message = format!(
            "{} is {found}, expected a regular file or nothing",
            path.display()
        );
        Err(Failure::new(ErrorClass::Usage, message)
            .hint("write to a new file, then copy that to where it should go")
            .into())
    };
    match (path.symlink_metadata(), path.metadata()) {
        (Ok(own), Ok(target)) if own.is_symlink() && target.is_file() => Ok(path.canonicalize()?),
        (Ok(own), Err(_)) if own.is_symlink() => refuse("a symbolic link to nothing"),
        (_, Ok(target)) if target.is_dir() => refuse("a directory"),
        (_, Ok(target)) if !target.is_file() => refuse("a device, fifo or socket"),
        _ => Ok(path.to_owned()),
    }
}

/// Writes a file through `fill`; it appears whole and durable or, on any error, not at all.
pub(crate) fn replace(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let target = replaceable(path)?;
    let directory = match target.parent() {
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
    let mut out = BufWriter::new(file.as_file_mut());
    fill(&mut out)?;
    out.flush().with_context(cannot)?;
    drop(out);
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))
        .with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(&target)
        .map_err(|error| error.error)
        .with_context(cannot)?;
    File::open(directory)
        .and_then(|dir| dir.sync_all())
        .with_context(cannot)
}
