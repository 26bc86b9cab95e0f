// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects and packs: does content have the digest in its name?

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use sealroot_format::digest::{VerityDigest, VerityHasher};

use super::releases::Named;
use super::{Checker, Depth, FindingCode, explain};
use crate::store::{
    Fault, FileKind, Presence, StoreIo, StorePath, StoredFile, parse_object_name,
    parse_object_signature_name,
};

/// How much of a file is in memory at a time, bytes.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Files that are good as far as can be seen, by digest and inode.
pub(super) type Good = HashSet<(VerityDigest, u64)>;

/// A directory of objects.
#[derive(Debug)]
pub(super) struct Layer {
    /// The objects in it, good and bad.
    pub(super) names: HashSet<VerityDigest>,
    /// The good ones.
    pub(super) good: Good,
}

impl<I: StoreIo> Checker<'_, I> {
    /// Checks a directory of objects, of which packs name those in `named`. Those in `seen` were
    /// looked at before, under the same names.
    pub(super) fn check_layer(&self, directory: &StorePath, named: &Named, seen: &Good) -> Layer {
        let mut objects = Vec::new();
        for (prefix_path, prefix) in self.list(directory) {
            if !is_prefix(&prefix.name) || prefix.kind != FileKind::Directory {
                self.stray(&prefix_path, &prefix);
                continue;
            }
            for (path, entry) in self.list(&prefix_path) {
                if let Some(digest) = parse_object_name(&prefix.name, &entry.name) {
                    objects.push((path, digest));
                } else if parse_object_signature_name(&prefix.name, &entry.name).is_some() {
                    self.is_regular(&path, &entry);
                } else {
                    self.stray(&path, &entry);
                }
            }
        }
        Layer {
            names: objects.iter().map(|(_, digest)| *digest).collect(),
            good: self.check_contents(&objects, self.depth, named, seen),
        }
    }

    /// Checks files of which the digests are known.
    pub(super) fn check_contents(
        &self,
        files: &[(StorePath, VerityDigest)],
        depth: Depth,
        named: &Named,
        seen: &Good,
    ) -> Good {
        let inodes = Mutex::new(HashSet::new());
        files.par_iter().for_each(|(path, digest)| {
            let size_bytes = named.get(digest).map(|expected| expected.size_bytes);
            if let Some(inode) = self.check_content(path, digest, size_bytes, depth, seen) {
                let mut inodes = inodes.lock().unwrap_or_else(PoisonError::into_inner);
                inodes.insert((*digest, inode));
            }
            if self.depth == Depth::Quick {
                self.monitor.advance(1);
            }
        });
        inodes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks one file; its inode, if it is good as far as can be seen.
    fn check_content(
        &self,
        path: &StorePath,
        digest: &VerityDigest,
        size_bytes: Option<u64>,
        depth: Depth,
        seen: &Good,
    ) -> Option<u64> {
        let opened = match self.store.presence(path, digest, size_bytes) {
            Ok(Presence::Trusted(opened)) => opened,
            Ok(Presence::Absent) => {
                self.find(FindingCode::Unreadable, path, "it vanished".into());
                return None;
            }
            Ok(Presence::Wrong(fault)) => {
                self.find(FindingCode::from(&fault), path, fault.to_string());
                return None;
            }
            Err(error) => {
                self.find(FindingCode::Unreadable, path, explain(&error));
                return None;
            }
        };
        let stat = opened.1;
        if seen.contains(&(*digest, stat.inode)) {
            return Some(stat.inode);
        }
        // An empty file costs nothing to hash, and a crash may leave one.
        if depth == Depth::Full || stat.size_bytes == 0 {
            let file = StoredFile::new(self.store.io(), path.clone(), opened);
            let fault = match self.compute(&file) {
                Ok(found) if found == *digest => return Some(stat.inode),
                Ok(found) => Fault::Digest {
                    expected: *digest,
                    found,
                },
                Err(error) => Fault::Unreadable { error },
            };
            self.find(FindingCode::from(&fault), path, fault.to_string());
            return None;
        }
        Some(stat.inode)
    }

    /// The digest of what is read.
    fn compute(&self, file: &StoredFile<'_, I>) -> io::Result<VerityDigest> {
        let mut reader = file.reader();
        let mut hasher = VerityHasher::new();
        let len = usize::try_from(file.size_bytes()).unwrap_or(READ_BUFFER_BYTES);
        let mut buffer = vec![0; len.clamp(1, READ_BUFFER_BYTES)];
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&buffer[..read]);
            self.note(|report| report.hashed_bytes += read as u64);
            self.monitor.advance(read as u64);
        }
    }
}

fn is_prefix(name: &[u8]) -> bool {
    let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    name.len() == 2 && name.iter().all(is_digit)
}
