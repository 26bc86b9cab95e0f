// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content objects of a commit as they lie on the disk: for a look before anything is read.

use std::collections::BTreeSet;
use std::fs::File;

use sealroot_format::digest::Sha256Digest;
use sealroot_format::tree::{InodeId, Tree};

use super::commit::{CommitObject, object_of};
use super::directories::Directories;
use super::error::{ObjectError, ObjectKind, ObjectName, OstreeError};
use super::format::{Child, Commit};
use super::open::Payload;
use super::repository::Repository;
use crate::monitor::Monitor;

/// The content objects that a commit names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentObjects {
    /// Their checksums.
    pub checksums: BTreeSet<Sha256Digest>,
    /// Names of files and directories that the tree has at least.
    pub names: u64,
    /// Bytes of these names.
    pub name_bytes: u64,
}

impl Repository {
    /// The content objects that a commit names. Its directories are read and verified.
    pub fn content_objects(
        &self,
        commit: &CommitObject,
        monitor: &dyn Monitor,
    ) -> Result<ContentObjects, OstreeError> {
        let parsed = Commit::parse(commit.bytes())
            .map_err(|error| ObjectError::from(error).at(object_of(commit.id()), None))?;
        Ok(Directories::read(self, &parsed, monitor)?.content_objects())
    }

    /// The content objects of a commit that stand where `tree` has something too: with that. The
    /// commit's directories are read and verified.
    pub fn files_of(
        &self,
        commit: &CommitObject,
        tree: &Tree,
        monitor: &dyn Monitor,
    ) -> Result<Vec<(Sha256Digest, InodeId)>, OstreeError> {
        let parsed = Commit::parse(commit.bytes())
            .map_err(|error| ObjectError::from(error).at(object_of(commit.id()), None))?;
        let directories = Directories::read(self, &parsed, monitor)?;
        let mut found = Vec::new();
        let mut open = vec![(parsed.root_tree, InodeId::ROOT)];
        while let Some((theirs, ours)) = open.pop() {
            let Some(ours) = tree.inode(ours).as_directory() else {
                continue;
            };
            for (name, child) in directories.names(&theirs) {
                match (child, ours.get(name)) {
                    (Child::Directory { tree, .. }, Some(inode)) => open.push((*tree, inode)),
                    (Child::File(checksum), Some(inode)) => found.push((*checksum, inode)),
                    (_, None) => {}
                }
            }
        }
        Ok(found)
    }

    /// The file of a content object, if its content lies there as it is. Nothing is verified.
    pub fn content_file(&self, checksum: &Sha256Digest) -> Result<Option<File>, OstreeError> {
        let object = ObjectName {
            checksum: *checksum,
            kind: ObjectKind::File,
        };
        let opened = self.open_content(checksum);
        match opened.map_err(|error| error.at(object, None))?.payload {
            Payload::Plain(file) => Ok(Some(file)),
            Payload::None | Payload::Deflated(_) => Ok(None),
        }
    }
}
