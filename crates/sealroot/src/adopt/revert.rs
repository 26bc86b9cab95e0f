// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way back to plain OSTree: everything of ours goes, nothing of OSTree's is touched.
//!
//! First what boots, then what a boot would need, so that whatever is left after an interruption
//! boots. Doing it again goes on where it was.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use sealroot_format::policy::DeploymentName;

use super::keep::release_on;
use super::{AdoptError, error};
use crate::entry::{Boot, BootIo, Owner};
use crate::machine::entries_of_others;
use crate::monitor::{Monitor, Unit};
use crate::ostree::Repository;
use crate::store::{
    FileKind, KernelIo, LOCK_NAME, LockKind, OnTaken, StoreError, StoreIo, StorePath, again,
    failed, full_path,
};

/// The store, in the directory `ostree` of the sysroot.
const STORE: &str = "verity";

/// What it is called from the moment that it is no store any more.
const REMOVED: &str = ".sealroot-reverted";

/// Deepest nesting of directories that is removed; a deployment's `/etc` can be deep.
const MAX_DEPTH: u32 = 256;

/// How often the store's lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// How long whoever has the store's lock is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// What was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reverted {
    /// Boot entries, by the names of their files.
    pub entries: Vec<String>,
    /// Refs of the repository.
    pub refs: Vec<String>,
    /// Files and links of the store.
    pub files: u64,
    /// What is still there.
    pub left: Option<Left>,
}

/// Why something had to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The running system is on the store: it can be removed once OSTree's is booted.
    StoreInUse,
}

/// Takes everything back that was done to a sysroot, but for fs-verity, which stays on the files
/// that have it. `boot` is the boot partition, if it is one we may have entries on.
///
/// The caller has made sure that OSTree can boot. `is_running` says that the running system is on
/// the store: then only what boots is taken back.
pub fn undo<B: BootIo>(
    sysroot: &Path,
    boot: Option<&Boot<B>>,
    is_running: bool,
    monitor: &dyn Monitor,
) -> Result<Reverted, AdoptError> {
    check_undo(sysroot, boot)?;
    let directory = sysroot.join("ostree");
    let io = KernelIo::open(&directory).map_err(error::failed("open", &directory))?;
    // What nobody could remove keeps its entries.
    drop(lock(&io, &known(STORE))?);
    let mut reverted = Reverted::default();
    if let Some(boot) = boot {
        reverted.entries = remove_entries(boot, monitor)?;
    }
    if is_running {
        reverted.left = Some(Left::StoreInUse);
        return Ok(reverted);
    }
    reverted.files = revert_on(&io, monitor)?;
    let repository = Repository::open(&directory.join("repo"))?;
    let _lock = repository.lock_exclusively(monitor)?;
    let io = KernelIo::open(repository.path()).map_err(error::failed("open", repository.path()))?;
    reverted.refs = release_on(&io)?;
    Ok(reverted)
}

/// That no boot entry but our own boots a deployment of the store, and none of our own was changed and
/// so cannot be removed: it would boot nothing afterwards.
pub fn check_undo<B: BootIo>(sysroot: &Path, boot: Option<&Boot<B>>) -> Result<(), AdoptError> {
    let Some(boot) = boot else {
        return Ok(());
    };
    let found = boot.entries()?;
    let mut others = entries_of_others(&found, &deployments_of(sysroot)?);
    let changed = found.in_boot_order().iter();
    let changed = changed.filter(|entry| matches!(entry.owner, Owner::Changed { .. }));
    let changed = changed.map(|entry| &entry.file_name);
    others.extend(
        changed
            .filter(|name| !others.contains(name))
            .cloned()
            .collect::<Vec<_>>(),
    );
    if others.is_empty() {
        return Ok(());
    }
    let directory = boot.location().join("loader/entries");
    let entries = others.iter().map(|name| directory.join(name)).collect();
    Err(AdoptError::StillBooted { entries })
}

/// The deployments of the store, however little else of it can be read.
fn deployments_of(sysroot: &Path) -> Result<Vec<DeploymentName>, AdoptError> {
    let directory = sysroot.join(KernelIo::STORE_IN_SYSROOT).join("deploy");
    let list = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.map_err(error::failed("list", &directory))?,
    };
    let mut names = Vec::new();
    for entry in list {
        let name = entry
            .map_err(error::failed("list", &directory))?
            .file_name();
        names.extend(
            name.to_str()
                .and_then(|name| name.parse::<DeploymentName>().ok()),
        );
    }
    Ok(names)
}

fn remove_entries<B: BootIo>(
    boot: &Boot<B>,
    monitor: &dyn Monitor,
) -> Result<Vec<String>, AdoptError> {
    let found = boot.entries()?;
    let names: Vec<&str> = found
        .ours()
        .map(|(entry, _)| entry.file_name.as_str())
        .collect();
    boot.remove(&names, monitor)?;
    boot.remove_kernel_directory()?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Removes the store from `io`, the directory `ostree` of a sysroot: first its name, then what was
/// in it. How many files and links that were.
pub fn revert_on<I: StoreIo>(io: &I, monitor: &dyn Monitor) -> Result<u64, AdoptError> {
    monitor.start("removing the store", Unit::Items, None);
    let (store, removed) = (known(STORE), known(REMOVED));
    // Of a run that was interrupted.
    let mut files = remove_all(io, &removed, monitor)?;
    if let Some(_lock) = lock(io, &store)? {
        again(|| io.rename(&store, &removed, OnTaken::Fail))
            .map_err(failed(io, "rename", &store))?;
        let root = StorePath::root();
        again(|| io.sync_directory(&root)).map_err(failed(io, "sync", &root))?;
        files += remove_all(io, &removed, monitor)?;
    }
    Ok(files)
}

/// Locks the store; `None` if there is none.
fn lock<I: StoreIo>(io: &I, store: &StorePath) -> Result<Option<I::Lock>, AdoptError> {
    let path = store.join(LOCK_NAME).expect("a valid name");
    let since = Instant::now();
    loop {
        match again(|| io.try_lock(&path, LockKind::Exclusive)) {
            Ok(Some(lock)) => return Ok(Some(lock)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(io, "lock", &path)(error).into()),
        }
        let waited = since.elapsed();
        if waited >= LOCK_WAIT {
            return Err(AdoptError::Store(StoreError::Busy {
                lock: full_path(io, &path),
                waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            }));
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Removes a directory with all that is in it, if it is there; how many files that were.
fn remove_all<I: StoreIo>(
    io: &I,
    directory: &StorePath,
    monitor: &dyn Monitor,
) -> Result<u64, AdoptError> {
    let files = remove_below(io, directory, MAX_DEPTH, monitor)?;
    match again(|| io.remove_directory(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        result => result.map_err(failed(io, "remove", directory))?,
    }
    let root = StorePath::root();
    again(|| io.sync_directory(&root)).map_err(failed(io, "sync", &root))?;
    Ok(files)
}

fn remove_below<I: StoreIo>(
    io: &I,
    directory: &StorePath,
    depth: u32,
    monitor: &dyn Monitor,
) -> Result<u64, AdoptError> {
    let entries = match again(|| io.list(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        result => result.map_err(failed(io, "list", directory))?,
    };
    let mut files = 0;
    for entry in entries {
        let too_deep = || io::Error::from(rustix::io::Errno::NAMETOOLONG);
        let path = directory.join(&entry.name).filter(|_| depth > 0);
        let path = path.ok_or_else(|| failed(io, "remove", directory)(too_deep()))?;
        if entry.kind == FileKind::Directory {
            files += remove_below(io, &path, depth - 1, monitor)?;
            again(|| io.remove_directory(&path)).map_err(failed(io, "remove", &path))?;
        } else {
            again(|| io.remove_file(&path)).map_err(failed(io, "remove", &path))?;
            files += 1;
            monitor.advance(1);
        }
    }
    Ok(files)
}

fn known(name: &str) -> StorePath {
    StorePath::new(name).expect("a constant")
}
