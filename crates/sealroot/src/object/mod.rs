// SPDX-License-Identifier: MIT OR Apache-2.0
//! Large files on their way into a store.
//!
//! A source that reads a tree hashes every large file and offers it to an [`ObjectSink`]; what
//! the sink has already, it is not given.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use sealroot_format::digest::VerityDigest;

/// The content of one object as a source has it.
#[expect(
    missing_debug_implementations,
    reason = "a reader has no useful debug form"
)]
pub enum ObjectContent<'a> {
    /// In memory, and just hashed: these bytes have the digest they are offered under.
    Hashed(&'a [u8]),
    /// To be read (again). May have changed since it was hashed: the sink compares the digest.
    Stream(&'a mut dyn Read),
}

/// Takes the large files of a tree while it is being read. Called from many threads.
///
/// Errors are [`io::Error`]s with the context in their message; a source adds the path.
pub trait ObjectSink: Sync {
    /// Whether the object is there, as trustworthy as the store requires.
    fn has(&self, digest: &VerityDigest, size_bytes: u64) -> io::Result<bool>;

    /// Whether [`ObjectSink::has`] is true of everything: then no memory need be spent on having
    /// content at hand.
    fn has_everything(&self) -> bool {
        false
    }

    /// Takes an object that [`ObjectSink::has`] said is missing. Offering one twice, also at the
    /// same time, is harmless.
    fn add(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: ObjectContent<'_>,
    ) -> io::Result<()>;

    /// Offered before a file is read: the file, open for reading, whose content is an object and
    /// nothing else. Its digest and size in bytes, if the sink took it as it is and knows them from
    /// who enforces them; if not, it is read, hashed and offered as any other.
    fn take_unread(&self, _file: BorrowedFd<'_>) -> io::Result<Option<(VerityDigest, u64)>> {
        Ok(None)
    }

    /// Offered before [`ObjectSink::add`]: the very file that was hashed, open for reading, whose
    /// content is the object and nothing else. Whether the sink took it as it is; if not, it is
    /// given the content.
    fn take(
        &self,
        _digest: &VerityDigest,
        _size_bytes: u64,
        _file: BorrowedFd<'_>,
    ) -> io::Result<bool> {
        Ok(false)
    }
}

/// Wants no object: for when only the pack or its digest matters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl ObjectSink for Discard {
    fn has(&self, _digest: &VerityDigest, _size_bytes: u64) -> io::Result<bool> {
        Ok(true)
    }

    fn has_everything(&self) -> bool {
        true
    }

    fn add(&self, _: &VerityDigest, _: u64, _: ObjectContent<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Says what another sink has and gives it nothing: for a tree that may be refused yet.
pub(crate) struct LookOnly<'s> {
    sink: &'s dyn ObjectSink,
    has_missed: AtomicBool,
}

impl<'s> LookOnly<'s> {
    pub(crate) fn new(sink: &'s dyn ObjectSink) -> Self {
        Self {
            sink,
            has_missed: AtomicBool::new(false),
        }
    }

    /// Whether there was an object that the sink lacks.
    pub(crate) fn has_missed(&self) -> bool {
        self.has_missed.load(Ordering::Relaxed)
    }
}

impl ObjectSink for LookOnly<'_> {
    fn has(&self, digest: &VerityDigest, size_bytes: u64) -> io::Result<bool> {
        if !self.sink.has(digest, size_bytes)? {
            self.has_missed.store(true, Ordering::Relaxed);
        }
        Ok(true)
    }

    fn add(&self, _: &VerityDigest, _: u64, _: ObjectContent<'_>) -> io::Result<()> {
        Ok(())
    }
}
