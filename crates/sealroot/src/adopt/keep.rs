// SPDX-License-Identifier: MIT OR Apache-2.0
//! The refs that keep OSTree's prune from what was adopted: `sealroot/<stateroot>/<commit>`.
//!
//! `io` is the repository's directory, and its lock is held
//! ([`Repository::lock_exclusively`](crate::ostree::Repository::lock_exclusively)).

use std::io;

use sealroot_format::digest::CommitId;
use sealroot_format::limits::MAX_OSTREE_REF_BYTES;
use sealroot_format::sign::Name;

use super::{AdoptError, ref_name};
use crate::store::{
    DirEntry, FileKind, OnTaken, StoreError, StoreIo, StorePath, again, failed, full_path,
    read_small_on, write_unnamed,
};

/// The directory of our refs.
const REFS: &str = "refs/heads/sealroot";

/// The name under which a ref is made before it gets its own.
const ASIDE: &str = "tmp/sealroot-ref";

/// Writes the ref of a commit, durably; whether it was missing.
pub fn keep_on<I: StoreIo>(
    io: &I,
    stateroot: &Name,
    commit: &CommitId,
) -> Result<bool, AdoptError> {
    let path = path(&format!("refs/heads/{}", ref_name(stateroot, commit)));
    let text = format!("{commit}\n");
    if read_small_on(io, &path, MAX_OSTREE_REF_BYTES)?.as_deref() == Some(text.as_bytes()) {
        return Ok(false);
    }
    let (directory, _) = path.split().expect("a path of many names");
    create_directories(io, &directory)?;
    let aside = self::path(ASIDE);
    let file = write_unnamed(io, &path, text.as_bytes())?;
    again(|| io.sync_file(&file)).map_err(failed(io, "sync", &path))?;
    if let Err(error) = again(|| io.link(&file, &aside)) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(failed(io, "create", &aside)(error).into());
        }
        // Left by somebody who was stopped: we have the lock.
        again(|| io.remove_file(&aside)).map_err(failed(io, "remove", &aside))?;
        again(|| io.link(&file, &aside)).map_err(failed(io, "create", &aside))?;
    }
    again(|| io.rename(&aside, &path, OnTaken::Replace)).map_err(failed(io, "create", &path))?;
    again(|| io.sync_directory(&directory)).map_err(failed(io, "sync", &directory))?;
    Ok(true)
}

/// Removes all refs of adoptions, durably; which they were.
pub fn release_on<I: StoreIo>(io: &I) -> Result<Vec<String>, AdoptError> {
    let mut removed = Vec::new();
    let top = path(REFS);
    for DirEntry {
        name: stateroot,
        kind,
    } in list(io, &top)?
    {
        let directory = join(&top, &stateroot);
        if kind == FileKind::Directory {
            for DirEntry { name, .. } in list(io, &directory)? {
                let path = join(&directory, &name);
                if CommitId::from_hex(&name[..]).is_none() {
                    let path = full_path(io, &path);
                    return Err(AdoptError::BadRef { path });
                }
                again(|| io.remove_file(&path)).map_err(failed(io, "remove", &path))?;
                removed.push(path.to_string().replacen("refs/heads/", "", 1));
            }
            again(|| io.sync_directory(&directory)).map_err(failed(io, "sync", &directory))?;
            again(|| io.remove_directory(&directory)).map_err(failed(io, "remove", &directory))?;
        } else {
            let path = full_path(io, &directory);
            return Err(AdoptError::BadRef { path });
        }
    }
    match again(|| io.remove_directory(&top)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        result => result.map_err(failed(io, "remove", &top))?,
    }
    let heads = path("refs/heads");
    again(|| io.sync_directory(&heads)).map_err(failed(io, "sync", &heads))?;
    Ok(removed)
}

fn list<I: StoreIo>(io: &I, directory: &StorePath) -> Result<Vec<DirEntry>, AdoptError> {
    match again(|| io.list(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => Ok(result.map_err(failed(io, "list", directory))?),
    }
}

/// Makes a directory and those above it, durably.
fn create_directories<I: StoreIo>(io: &I, path: &StorePath) -> Result<(), StoreError> {
    let Some((parent, _)) = path.split() else {
        return Ok(());
    };
    match again(|| io.create_directory(path)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directories(io, &parent)?;
            again(|| io.create_directory(path)).map_err(failed(io, "create", path))?;
        }
        Err(error) => return Err(failed(io, "create", path)(error)),
    }
    again(|| io.sync_directory(&parent)).map_err(failed(io, "sync", &parent))
}

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("made of constants, names and digits")
}

fn join(directory: &StorePath, name: &[u8]) -> StorePath {
    directory.join(name).expect("a name that was listed")
}
