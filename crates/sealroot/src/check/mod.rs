// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking over a whole store: is everything what its name says, and is there nothing else?
//!
//! A check changes nothing, stops at nothing and says all it finds. Signatures are not verified:
//! that needs a keyset and is another question.

mod content;
mod deployments;
mod finding;

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use sealroot_format::digest::VerityDigest;
use sealroot_format::limits::MAX_SIGN_FILE_BYTES;
use sealroot_format::sign::{Statement, Unverified};

use crate::monitor::{Monitor, Unit};
use crate::store::{
    CONFIG_NAME, DirEntry, FileKind, LOCK_NAME, LockKind, Store, StoreDir, StoreError, StoreIo,
    StorePath, again, parse_pack_name, parse_statement_name,
};

pub use finding::{Finding, FindingCode, Report, Severity};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names, types, and what the kernel measures. Reads no content: a damaged block behind a
    /// right measurement, or content without fs-verity, is not noticed.
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
    let (objects, seen) = checker.check_layer(&StoreDir::Objects.path(), &HashSet::new());
    checker.note(|report| report.objects = objects);
    let packs = checker.check_packs();
    checker.check_deployments(&packs, &seen);
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
            if [CONFIG_NAME.as_bytes(), LOCK_NAME.as_bytes()].contains(&&*entry.name) {
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

    fn check_unfinished(&self, directory: StoreDir, code: FindingCode) {
        for (path, entry) in self.list(&directory.path()) {
            self.find(code, &path, entry.kind.name().into());
        }
    }

    /// Checks packs and statements. Gives the packs, good and bad.
    fn check_packs(&self) -> HashSet<VerityDigest> {
        let mut packs = Vec::new();
        let mut statements = Vec::new();
        for (path, entry) in self.list(&StoreDir::Pack.path()) {
            if let Some(digest) = parse_pack_name(&entry.name) {
                packs.push((path, digest));
            } else if parse_statement_name(&entry.name).is_some() {
                statements.push((path, entry));
            } else {
                self.stray(&path, &entry);
            }
        }
        self.check_contents(&packs, &HashSet::new());
        let digests: HashSet<_> = packs.iter().map(|(_, digest)| *digest).collect();
        for (path, entry) in &statements {
            if self.is_regular(path, entry)
                && let Err(detail) = self.check_statement(path, &entry.name, &digests)
            {
                self.find(FindingCode::BadStatement, path, detail);
            }
        }
        self.note(|report| {
            report.packs = packs.len() as u64;
            report.statements = statements.len() as u64;
        });
        digests
    }

    /// What is wrong with a statement's form.
    fn check_statement(
        &self,
        path: &StorePath,
        name: &[u8],
        packs: &HashSet<VerityDigest>,
    ) -> Result<(), String> {
        let file = self.store.read_small(path, MAX_SIGN_FILE_BYTES as u64);
        let file = file.map_err(|error| explain(&error))?.unwrap_or_default();
        let document = Unverified::<Statement>::parse(&file).map_err(|error| explain(&error))?;
        let statement = Statement::parse(document.body()).map_err(|error| explain(&error))?;
        let Statement { commit, stream, .. } = statement;
        if parse_statement_name(name).as_ref() != Some(&(commit, stream.clone())) {
            return Err(format!("it is of commit {commit} in stream {stream}"));
        }
        self.require_pack(path, &statement.pack_digest, packs);
        Ok(())
    }

    fn require_pack(&self, path: &StorePath, pack: &VerityDigest, packs: &HashSet<VerityDigest>) {
        if !packs.contains(pack) {
            let detail = format!("it names the pack {pack}, which is not there");
            self.find(FindingCode::MissingPack, path, detail);
        }
    }
}

/// An error and its causes.
fn explain(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}
