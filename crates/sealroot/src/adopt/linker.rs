// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes files as they are, and writes only those that it cannot take.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use sealroot_format::digest::VerityDigest;

use crate::object::{ObjectContent, ObjectSink};
use crate::store::{StoreIo, Taken, Transaction, Untakable};

/// An object that had to be written although its content is in a file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copied {
    /// The object.
    pub digest: VerityDigest,
    /// How much was written, bytes.
    pub size_bytes: u64,
    /// Why.
    pub reason: Reason,
}

/// Why a file was not linked.
pub type Reason = Untakable;

/// A sink for objects whose files are there already.
#[derive(Debug)]
pub(super) struct Linker<'t, 's, I: StoreIo> {
    transaction: &'t Transaction<'s, I>,
    copied: Mutex<Vec<Copied>>,
}

impl<'t, 's, I: StoreIo> Linker<'t, 's, I> {
    pub(super) fn new(transaction: &'t Transaction<'s, I>) -> Self {
        Self {
            transaction,
            copied: Mutex::default(),
        }
    }

    /// What could not be linked, sorted.
    pub(super) fn into_copied(self) -> Vec<Copied> {
        let copied = self.copied.into_inner();
        let mut copied = copied.unwrap_or_else(PoisonError::into_inner);
        copied.sort_unstable();
        copied
    }
}

impl<I: StoreIo> ObjectSink for Linker<'_, '_, I> {
    fn has(&self, digest: &VerityDigest, size_bytes: u64) -> io::Result<bool> {
        Ok(self.transaction.has_object(digest, size_bytes)?)
    }

    fn add(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: ObjectContent<'_>,
    ) -> io::Result<()> {
        Ok(self.transaction.add_object(digest, size_bytes, content)?)
    }

    fn take_unread(&self, file: BorrowedFd<'_>) -> io::Result<Option<(VerityDigest, u64)>> {
        Ok(self.transaction.take_unread(file)?)
    }

    fn take(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        file: BorrowedFd<'_>,
    ) -> io::Result<bool> {
        match self.transaction.take_object(digest, size_bytes, file)? {
            Taken::Linked => Ok(true),
            Taken::Left(reason) => {
                let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
                copied.push(Copied {
                    digest: *digest,
                    size_bytes,
                    reason,
                });
                Ok(false)
            }
        }
    }
}
