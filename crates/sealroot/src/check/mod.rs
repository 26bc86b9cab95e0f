// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking over a whole store: is everything what its name says, and is there nothing else?
//!
//! A check changes nothing, stops at nothing and says all it finds. Signatures are not verified:
//! that needs a keyset and is another question.

mod content;
mod deployments;
mod finding;
mod releases;

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use crate::monitor::{Monitor, Unit};
use crate::store::{
    CONFIG_NAME, DirEntry, FileKind, LOCK_NAME, LockKind, REMOTE_NAME, RemoteEntry, Store,
    StoreDir, StoreError, StoreIo, StorePath, UNSWEPT_NAME, again,
};

pub use finding::{Finding, FindingCode, Report, Severity};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names, types, sizes, and what the kernel measures. Of content only packs are read, which
    /// say what else must be there: a damaged block of an object behind a right measurement, or an
    /// object of the right size without fs-verity, is not noticed.
    Quick,
    /// Reads and hashes everything.
    Full,
}

/// Checks a store, while nobody changes it.
pub fn check<I: StoreIo>(
    store: &Store<I>,
    depth: Depth,
    monitor: &dyn Monitor,
) -> Result<Report, StoreError> {
    let _lock = store.lock(LockKind::Shared)?;
    let unit = match depth {
        Depth::Quick => Unit::Items,
        Depth::Full => Unit::Bytes,
    };
    monitor.start("check", unit, None);
    let checker = Checker {
        store,
        depth,
        monitor,
        report: Mutex::default(),
    };
    checker.check_root();
    checker.check_unfinished(StoreDir::Tmp, FindingCode::Leftover);
    checker.check_unfinished(StoreDir::Trash, FindingCode::Trash);
    let releases = checker.check_releases();
    let objects = &releases.objects;
    let shared = checker.check_layer(&StoreDir::Objects.path(), objects, &HashSet::new());
    checker.note(|report| report.objects = shared.names.len() as u64);
    checker.find_missing(objects, &shared.names);
    checker.check_deployments(&releases, &shared.good);
    let mut report = (checker.report.into_inner()).unwrap_or_else(PoisonError::into_inner);
    report.findings.sort();
    Ok(report)
}

struct Checker<'c, I: StoreIo> {
    store: &'c Store<I>,
    depth: Depth,
    monitor: &'c dyn Monitor,
    report: Mutex<Report>,
}

impl<I: StoreIo> Checker<'_, I> {
    fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn find(&self, code: FindingCode, path: &StorePath, detail: String) {
        self.note(|report| {
            report.findings.push(Finding {
                path: path.clone(),
                code,
                detail,
            });
        });
    }

    fn stray(&self, path: &StorePath, entry: &DirEntry) {
        let detail = format!("{} that is no part of a store", entry.kind.name());
        self.find(FindingCode::Stray, path, detail);
    }

    /// What is in a directory, with paths. Nothing, if it cannot be listed.
    fn list(&self, directory: &StorePath) -> Vec<(StorePath, DirEntry)> {
        let entries = match again(|| self.store.io().list(directory)) {
            Ok(entries) => entries,
            Err(error) => {
                self.find(FindingCode::Unreadable, directory, explain(&error));
                return Vec::new();
            }
        };
        let with_path = |entry: DirEntry| {
            let path = directory.join(&entry.name).expect("none is this deep");
            (path, entry)
        };
        entries.into_iter().map(with_path).collect()
    }

    /// Whether something is a regular file; a finding if not.
    fn is_regular(&self, path: &StorePath, entry: &DirEntry) -> bool {
        let is_regular = entry.kind == FileKind::Regular;
        if !is_regular {
            let detail = format!("it is {}, expected a regular file", entry.kind.name());
            self.find(FindingCode::NotRegular, path, detail);
        }
        is_regular
    }

    fn check_root(&self) {
        let mut missing: HashSet<&[u8]> =
            StoreDir::ALL.iter().map(|d| d.name().as_bytes()).collect();
        for (path, entry) in self.list(&StorePath::root()) {
            if entry.kind == FileKind::Directory && missing.remove(&*entry.name) {
                continue;
            }
            if &*entry.name == REMOTE_NAME.as_bytes() && entry.kind == FileKind::Directory {
                self.check_remotes(&path);
            } else if [CONFIG_NAME, LOCK_NAME, UNSWEPT_NAME]
                .map(str::as_bytes)
                .contains(&&*entry.name)
            {
                self.is_regular(&path, &entry);
            } else {
                self.stray(&path, &entry);
            }
        }
        for directory in StoreDir::ALL {
            if missing.contains(directory.name().as_bytes()) {
                let detail = "every store has this directory".into();
                self.find(FindingCode::MissingDirectory, &directory.path(), detail);
            }
        }
    }

    fn check_remotes(&self, directory: &StorePath) {
        for (path, entry) in self.list(directory) {
            match RemoteEntry::parse(&entry.name) {
                Some(_) => {
                    self.is_regular(&path, &entry);
                }
                None => self.stray(&path, &entry),
            }
        }
    }

    fn check_unfinished(&self, directory: StoreDir, code: FindingCode) {
        for (path, entry) in self.list(&directory.path()) {
            self.find(code, &path, entry.kind.name().into());
        }
    }
}

/// An error and its causes.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}
