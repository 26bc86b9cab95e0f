// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that computes the fs-verity digest of what passes.

use std::io;

use crate::digest::VerityDigest;
use crate::digest::VerityHasher;

/// Passes bytes on and hashes them.
pub(super) struct Hashing<'w> {
    out: &'w mut dyn io::Write,
    hasher: VerityHasher,
}

impl<'w> Hashing<'w> {
    pub(super) fn new(out: &'w mut dyn io::Write) -> Self {
        Self {
            out,
            hasher: VerityHasher::new(),
        }
    }

    pub(super) fn finish(self) -> VerityDigest {
        self.hasher.finish()
    }
}

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
