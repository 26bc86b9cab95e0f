// SPDX-License-Identifier: MIT OR Apache-2.0
//! The refs that keep OSTree's prune from what was adopted: `sealroot/<stateroot>/<commit>`.
//!
//! `io` is the repository's directory, and its lock is held
//! ([`Repository::lock_exclusively`](crate::ostree::Repository::lock_exclusively)).

use std::collections::BTreeSet;
use std::io;

use sealroot_format::digest::CommitId;
use sealroot_format::limits::MAX_OSTREE_REF_BYTES;
use sealroot_format::sign::Name;

use super::{AdoptError, ref_name};
use crate::deploy;
use crate::machine::Pruned;
use crate::store::{
    DirEntry, FileKind, OnTaken, Store, StoreDir, StoreError, StoreIo, StorePath, Transaction,
    again, failed, full_path, read_small_on, write_unnamed,
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

/// A ref of an adoption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The commit that it keeps.
    pub commit: CommitId,
    /// Its name, as OSTree has it.
    pub name: String,
    path: StorePath,
}

/// Removes all refs of adoptions, durably; which they were.
pub fn release_on<I: StoreIo>(io: &I) -> Result<Vec<String>, AdoptError> {
    let all = kept_on(io)?;
    remove_on(io, &all)?;
    // Of a run that was stopped there may be directories without a ref.
    remove_empty_on(io)?;
    Ok(all.into_iter().map(|kept| kept.name).collect())
}

/// The refs of adoptions. What else is among them is passed over.
pub fn kept_on<I: StoreIo>(io: &I) -> Result<Vec<Kept>, AdoptError> {
    let mut found = Vec::new();
    for directory in directories_on(io)? {
        for DirEntry { name, .. } in list(io, &directory)? {
            let path = join(&directory, &name);
            let commit = CommitId::from_hex(&name[..]);
            found.extend(commit.map(|commit| Kept {
                commit,
                name: path.to_string().replacen("refs/heads/", "", 1),
                path,
            }));
        }
    }
    Ok(found)
}

/// The refs of commits of which the store has neither deployment nor release, or would have none
/// after `going`.
pub fn unused_on<S: StoreIo, I: StoreIo>(
    store: &Store<S>,
    io: &I,
    going: &Pruned,
) -> Result<Vec<Kept>, AdoptError> {
    let mut unused = kept_on(io)?;
    if unused.is_empty() {
        return Ok(unused);
    }
    let deployments = deploy::deployments(store)?.into_iter();
    let statements = store.list_statements()?.into_iter();
    let used: BTreeSet<CommitId> = (deployments.map(|found| found.name))
        .filter(|name| !going.deployments.contains(name))
        .map(|name| name.commit)
        .chain((statements.filter(|found| !going.statements.contains(found))).map(|found| found.0))
        .collect();
    unused.retain(|kept| !used.contains(&kept.commit));
    Ok(unused)
}

/// Removes the refs of commits of which the store has neither deployment nor release, durably; which
/// they were. The store is locked, and was collected before: as long as it has anything of a commit,
/// OSTree has the commit too.
pub fn release_unused_on<S: StoreIo, I: StoreIo>(
    transaction: &Transaction<'_, S>,
    io: &I,
) -> Result<Vec<Kept>, AdoptError> {
    let store = transaction.store();
    let unused = unused_on(store, io, &Pruned::default())?;
    if unused.is_empty() {
        return Ok(unused);
    }
    // What somebody removed who was stopped must not come back without its ref.
    for directory in [StoreDir::Deploy.path(), StoreDir::Pack.path()] {
        let synced = again(|| store.io().sync_directory(&directory));
        synced.map_err(failed(store.io(), "sync", &directory))?;
    }
    remove_on(io, &unused)?;
    Ok(unused)
}

fn remove_on<I: StoreIo>(io: &I, refs: &[Kept]) -> Result<(), AdoptError> {
    for Kept { path, .. } in refs {
        again(|| io.remove_file(path)).map_err(failed(io, "remove", path))?;
    }
    let parents = refs.iter().filter_map(|kept| Some(kept.path.split()?.0));
    for directory in parents.collect::<BTreeSet<_>>() {
        again(|| io.sync_directory(&directory)).map_err(failed(io, "sync", &directory))?;
    }
    Ok(())
}

/// Removes the directories of refs, in which nothing may be left.
fn remove_empty_on<I: StoreIo>(io: &I) -> Result<(), AdoptError> {
    let top = path(REFS);
    for directory in directories_on(io)? {
        nothing_in(io, &directory)?;
        again(|| io.remove_directory(&directory)).map_err(failed(io, "remove", &directory))?;
    }
    nothing_in(io, &top)?;
    match again(|| io.remove_directory(&top)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map_err(failed(io, "remove", &top))?,
    }
    let heads = path("refs/heads");
    Ok(again(|| io.sync_directory(&heads)).map_err(failed(io, "sync", &heads))?)
}

/// That a directory is empty, or not there.
fn nothing_in<I: StoreIo>(io: &I, directory: &StorePath) -> Result<(), AdoptError> {
    match list(io, directory)?.first() {
        None => Ok(()),
        Some(DirEntry { name, .. }) => {
            let path = full_path(io, &join(directory, name));
            Err(AdoptError::BadRef { path })
        }
    }
}

/// The directories of our refs, one for each stateroot.
fn directories_on<I: StoreIo>(io: &I) -> Result<Vec<StorePath>, AdoptError> {
    let top = path(REFS);
    let entries = list(io, &top)?.into_iter();
    let directories = entries.filter(|entry| entry.kind == FileKind::Directory);
    Ok(directories.map(|entry| join(&top, &entry.name)).collect())
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
