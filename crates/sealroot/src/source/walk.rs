// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks a directory tree on all threads.
//!
//! A directory is a task: it lists its names, leaves its subdirectories to other tasks and reads
//! its files, many of them by several tasks. Directories are opened by their path from the root,
//! so that no more are open than there are tasks at work, however deep the tree is.

use std::collections::{HashMap, HashSet, hash_map};
use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use rustix::fs::{FileType, Mode, OFlags, open, openat2, readlinkat_raw};
use rustix::io::Errno;
use sealroot_format::limits;
use sealroot_format::tree::{DeviceNumber, Kind, TreeError};

use super::content::{FileRecord, FileSource, Output, Worker};
use super::error::{Failure, Fault, SourceError};
use super::listing::{Directory, Entry, Found, join, too_many_entries};
use super::stat::{Identity, Stat, check_unchanged};
use super::{CONFINED, Devices, DirectoryOptions};
use crate::monitor::Monitor;
use crate::object::ObjectSink;
use crate::spool::Spool;

/// A task reads files of one directory until there are this many, or this many bytes of them.
const TASK_FILES: usize = 64;
const TASK_BYTES: u64 = 1024 * 1024;

/// Everything that was found, by ids.
#[derive(Debug)]
pub(super) struct Records {
    /// The root is the first.
    pub(super) directories: Vec<Option<Directory>>,
    pub(super) files: Vec<Option<FileRecord>>,
    /// The files that are compressed no more.
    pub(super) opened: HashSet<usize>,
}

/// Opens the directory that is to be walked.
pub(super) fn open_root(root: &Path) -> Result<OwnedFd, SourceError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = open(root, flags, Mode::empty()).map_err(Fault::os("open"));
    opened.map_err(|fault| fault.at(Vec::new()).into_error(root))
}

/// Walks an open directory, whose path is for messages.
pub(super) fn walk(
    root_fd: OwnedFd,
    root: &Path,
    options: DirectoryOptions,
    spool: &Spool<'_>,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<Records, SourceError> {
    let at_root = |fault: Fault| fault.at(Vec::new()).into_error(root);
    let stat = Stat::of_open(root_fd.as_fd()).map_err(at_root)?;
    let walk = Walk {
        root: root_fd,
        devices: options.devices,
        output: Output::new(root, options, spool, sink, monitor),
        stopped: AtomicBool::new(false),
        failure: Mutex::default(),
        entries: AtomicUsize::new(0),
        // The root is 0.
        next_directory: AtomicUsize::new(1),
        next_file: AtomicUsize::new(0),
        files_by_identity: Mutex::default(),
        directories: Mutex::default(),
        workers: Mutex::default(),
    };
    let task = Task {
        id: 0,
        path: Box::default(),
        stat,
    };
    rayon::scope(|scope| walk.visit(scope, task));
    walk.finish()
}

/// A directory to be read, as it was seen in the one above it.
struct Task {
    id: usize,
    path: Box<[u8]>,
    stat: Stat,
}

/// A directory whose files are to be read.
struct Listed {
    fd: OwnedFd,
    directory: Arc<Directory>,
    /// Those entries that are files and not read by another name.
    files: Vec<usize>,
}

/// What all tasks share.
struct Walk<'a> {
    root: OwnedFd,
    devices: Devices,
    output: Output<'a>,
    stopped: AtomicBool,
    /// The first in the order of paths of those that happened.
    failure: Mutex<Option<Failure>>,
    entries: AtomicUsize,
    next_directory: AtomicUsize,
    next_file: AtomicUsize,
    /// Files with more than one name.
    files_by_identity: Mutex<HashMap<Identity, usize>>,
    directories: Mutex<Vec<Arc<Directory>>>,
    /// Those not at work now.
    workers: Mutex<Vec<Worker>>,
}

impl Walk<'_> {
    fn visit<'s>(&'s self, scope: &rayon::Scope<'s>, task: Task) {
        self.with_worker(|worker| {
            let listed = Arc::new(self.list(worker, task)?);
            let directory = &listed.directory;
            for (at, entry) in directory.entries.iter().enumerate() {
                if let Found::Directory(id) = entry.found {
                    let task = Task {
                        id,
                        path: directory.path_of(at).into(),
                        stat: entry.stat.clone(),
                    };
                    scope.spawn(move |scope| self.visit(scope, task));
                }
            }
            let mut parts = listed.parts();
            let first = parts.next();
            for part in parts {
                let listed = Arc::clone(&listed);
                scope.spawn(move |_| {
                    self.with_worker(|worker| self.read_files(worker, &listed, part));
                });
            }
            first.map_or(Ok(()), |part| self.read_files(worker, &listed, part))
        });
    }

    /// Runs a task unless one has failed.
    fn with_worker(&self, task: impl FnOnce(&mut Worker) -> Result<(), Failure>) {
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        // Not one for each thread: a sink may itself wait for the thread pool, which then gives
        // this thread another task.
        let idle = lock(&self.workers).pop();
        let mut worker = idle.unwrap_or_else(|| Worker::new(&self.output));
        if let Err(failure) = task(&mut worker) {
            self.stopped.store(true, Ordering::Relaxed);
            let mut first = lock(&self.failure);
            if first.as_ref().is_none_or(|first| failure.path < first.path) {
                *first = Some(failure);
            }
        }
        lock(&self.workers).push(worker);
    }

    fn list(&self, worker: &mut Worker, task: Task) -> Result<Listed, Failure> {
        let Task { id, path, stat } = task;
        let here = |fault: Fault| fault.at(path.to_vec());
        let fd = self.open_directory(&path).map_err(here)?;
        let names = worker.lister.names(fd.as_fd()).map_err(here)?;
        let entries = self.entries.fetch_add(names.len(), Ordering::Relaxed) + names.len();
        if entries >= limits::MAX_TREE_ENTRIES {
            return Err(here(too_many_entries(entries + 1)));
        }
        let mut directory = Directory {
            id,
            entries: Vec::with_capacity(names.len()),
            names,
            xattrs: worker.xattrs.of_open(fd.as_fd()).map_err(here)?,
            path: Box::default(),
            stat,
        };
        let mut files = Vec::new();
        for at in 0..directory.names.len() {
            let name = directory.names.get(at);
            let there = |fault: Fault| fault.at(join(&path, name.to_bytes()));
            check_path(&path, name).map_err(there)?;
            let stat = Stat::of_entry(fd.as_fd(), name).map_err(there)?;
            let found = if stat.file_type == FileType::RegularFile {
                let (id, is_first_name) = self.claim_file(&stat).map_err(there)?;
                if is_first_name {
                    files.push(at);
                }
                Found::File(id)
            } else {
                self.examine(worker, fd.as_fd(), name, &stat)
                    .map_err(there)?
            };
            directory.entries.push(Entry { stat, found });
        }
        check_unchanged(&directory.stat.version, fd.as_fd()).map_err(here)?;
        directory.path = path;
        let directory = Arc::new(directory);
        lock(&self.directories).push(Arc::clone(&directory));
        Ok(Listed {
            fd,
            directory,
            files,
        })
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Fault> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat2(&self.root, path, flags, Mode::empty(), CONFINED).map_err(Fault::open("open"))
    }

    /// The id of a regular file, and whether this is the first of its names that was met.
    fn claim_file(&self, stat: &Stat) -> Result<(usize, bool), Fault> {
        check_not_mounted(stat)?;
        if stat.version.size_bytes > limits::MAX_FILE_BYTES {
            return Err(Fault::Entry(TreeError::Bound {
                what: "size of a file",
                found: stat.version.size_bytes,
                expected: format!("at most {}", limits::MAX_FILE_BYTES),
            }));
        }
        let new_id = || self.next_file.fetch_add(1, Ordering::Relaxed);
        if stat.links == 1 {
            return Ok((new_id(), true));
        }
        match lock(&self.files_by_identity).entry(stat.version.identity) {
            hash_map::Entry::Occupied(id) => Ok((*id.get(), false)),
            hash_map::Entry::Vacant(place) => Ok((*place.insert(new_id()), true)),
        }
    }

    /// Everything about an entry that is no regular file.
    fn examine(
        &self,
        worker: &mut Worker,
        directory: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<Found, Fault> {
        check_not_mounted(stat)?;
        let kind = match stat.file_type {
            FileType::Directory => {
                let id = self.next_directory.fetch_add(1, Ordering::Relaxed);
                return Ok(Found::Directory(id));
            }
            FileType::Symlink => Kind::Symlink(read_symlink(directory, name)?),
            FileType::CharacterDevice => {
                self.check_device("character", stat.device)?;
                Kind::CharDevice(stat.device)
            }
            FileType::BlockDevice => {
                self.check_device("block", stat.device)?;
                Kind::BlockDevice(stat.device)
            }
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => return Err(Fault::Os("use the kind of", Errno::NOTSUP)),
        };
        let xattrs = worker.xattrs.of_entry(directory, name)?;
        Ok(Found::Leaf(Box::new((kind, xattrs))))
    }

    fn check_device(&self, kind: &'static str, device: DeviceNumber) -> Result<(), Fault> {
        let is_whiteout = kind == "character" && device == DeviceNumber::WHITEOUT;
        if self.devices == Devices::Keep || is_whiteout {
            return Ok(());
        }
        let DeviceNumber { major, minor } = device;
        Err(Fault::Device { kind, major, minor })
    }

    /// Reads some of the files of a directory.
    fn read_files(
        &self,
        worker: &mut Worker,
        listed: &Listed,
        part: Range<usize>,
    ) -> Result<(), Failure> {
        let directory = &listed.directory;
        for &at in &listed.files[part] {
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            let Found::File(id) = directory.entries[at].found else {
                unreachable!("`files` are files")
            };
            let source = FileSource {
                id,
                fd: listed.fd.as_fd(),
                directory,
                entry: at,
            };
            worker.read_file(&self.output, &source)?;
        }
        Ok(())
    }

    /// Writes out what the workers still have, and gathers the records.
    fn finish(self) -> Result<Records, SourceError> {
        let root = self.output.root;
        let mut workers = into_inner(self.workers);
        let failure = into_inner(self.failure);
        if let Some(failure) = failure {
            return Err(failure.into_error(root));
        }
        let output = &self.output;
        workers
            .par_iter_mut()
            .try_for_each(|worker| {
                worker.report(output);
                worker.flush(output)
            })
            .map_err(|failure| failure.into_error(root))?;
        let mut files = Vec::new();
        files.resize_with(self.next_file.into_inner(), || None);
        let mut opened = HashSet::new();
        for worker in workers {
            let (records, of_worker) = worker.into_records();
            for (id, record) in records {
                files[id] = Some(record);
            }
            opened.extend(of_worker);
        }
        let mut directories = Vec::new();
        directories.resize_with(self.next_directory.into_inner(), || None);
        for directory in into_inner(self.directories) {
            let id = directory.id;
            directories[id] = Some(Arc::unwrap_or_clone(directory));
        }
        Ok(Records {
            directories,
            files,
            opened,
        })
    }
}

impl Listed {
    /// Splits the files into parts for one task each.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let rest = self.files.get(start..).filter(|rest| !rest.is_empty())?;
            let mut bytes = 0;
            let is_full = |at: &usize| {
                bytes += self.directory.entries[*at].stat.version.size_bytes;
                bytes >= TASK_BYTES
            };
            let last = rest.iter().take(TASK_FILES).position(is_full);
            let len = last.map_or(rest.len().min(TASK_FILES), |last| last + 1);
            let part = start..start + len;
            start = part.end;
            Some(part)
        })
    }
}

fn check_not_mounted(stat: &Stat) -> Result<(), Fault> {
    if stat.is_mount_point {
        return Err(Fault::MountPoint);
    }
    Ok(())
}

fn check_path(directory: &[u8], name: &CStr) -> Result<(), Fault> {
    let slashes = if directory.is_empty() { 1 } else { 2 };
    let path_bytes = slashes + directory.len() + name.to_bytes().len();
    if path_bytes > limits::MAX_PATH_BYTES {
        return Err(Fault::PathTooLong(path_bytes));
    }
    Ok(())
}

fn read_symlink(directory: BorrowedFd<'_>, name: &CStr) -> Result<Box<[u8]>, Fault> {
    // One byte more than allowed, so that too long a target is not taken for a whole one.
    let mut target = [0; limits::MAX_SYMLINK_BYTES + 1];
    let read = readlinkat_raw(directory, name, &mut target);
    let len_bytes = read.map_err(|errno| match errno {
        Errno::INVAL => Fault::Changed("it was replaced"),
        errno => Fault::open("read the target of")(errno),
    })?;
    Ok(target[..len_bytes].into())
}

// A task that panics ends the walk through rayon: what its locks protect is not looked at again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
