// SPDX-License-Identifier: MIT OR Apache-2.0
//! `unswept`: what says that objects may be there which no pack names (docs/format/store.md 10).
//!
//! Whatever may leave such objects raises it before; only a sweep that has looked at every object
//! takes it away. So where it is not, there is nothing to look for.

use std::collections::BTreeSet;
use std::io;

use sealroot_format::digest::VerityDigest;
use sealroot_format::limits::MAX_UNSWEPT_BYTES;

use super::create::write_unnamed;
use super::error::StoreError;
use super::files::{again, failed};
use super::io::StoreIo;
use super::path::{StorePath, known};
use super::{Store, Transaction};

/// Its name in a store.
pub const UNSWEPT_NAME: &str = "unswept";

fn path() -> StorePath {
    known(UNSWEPT_NAME)
}

impl<I: StoreIo> Store<I> {
    /// The packs that were given up since the last whole sweep; `None` if nothing was left behind.
    /// Lines that name no pack say nothing.
    pub(crate) fn unswept(&self) -> Result<Option<BTreeSet<VerityDigest>>, StoreError> {
        let Some(bytes) = self.read_small(&path(), MAX_UNSWEPT_BYTES)? else {
            return Ok(None);
        };
        let lines = bytes.split(|byte| *byte == b'\n');
        Ok(Some(lines.filter_map(VerityDigest::from_hex).collect()))
    }

    /// Notes that there may be objects which no pack names. Durable when it is done.
    ///
    /// Where the filesystem is full it is left out: nothing is lost by that but the space of those
    /// objects, and space is made by what comes next.
    pub(super) fn note_unswept(&self) -> Result<(), StoreError> {
        let io = &self.io;
        let path = path();
        let made =
            write_unnamed(io, &path, b"").and_then(|file| match again(|| io.link(&file, &path)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                result => result.map_err(failed(io, "create", &path)),
            });
        match made {
            Err(StoreError::NoSpace { .. }) => return Ok(()),
            made => made?,
        }
        let root = StorePath::root();
        again(|| io.sync_directory(&root)).map_err(failed(io, "sync", &root))
    }
}

impl<I: StoreIo> Transaction<'_, I> {
    /// Notes packs that are given up, before they are. Durable when it is done.
    pub(crate) fn give_up_packs(&self, packs: &BTreeSet<VerityDigest>) -> Result<(), StoreError> {
        self.attempt(|| {
            let noted = self.store().unswept()?;
            let all: BTreeSet<_> = noted.iter().flatten().chain(packs).collect();
            let is_news = noted.as_ref().is_none_or(|noted| noted.len() < all.len());
            if is_news {
                self.mark()?;
                self.replace_small(&path(), lines(all).as_bytes())?;
            }
            Ok::<(), StoreError>(())
        })?;
        self.barrier()
    }

    /// Notes that every object was looked at, and which of the packs that were given up are still
    /// in use. Durable once the transaction is finished.
    pub(crate) fn is_swept(&self, in_use: &BTreeSet<VerityDigest>) -> Result<(), StoreError> {
        self.attempt(|| {
            if in_use.is_empty() {
                self.remove_small(&path()).map(drop)
            } else {
                self.replace_small(&path(), lines(in_use).as_bytes())
            }
        })
    }
}

fn lines<'p>(packs: impl IntoIterator<Item = &'p VerityDigest>) -> String {
    let mut lines = String::new();
    for pack in packs {
        lines.push_str(&pack.to_hex());
        lines.push('\n');
    }
    lines
}
