// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names in `tmp/` that files have while fs-verity is enabled on them (docs/format/store.md L6).
//!
//! Where that fails, ext4 takes an inode without a name out of its list of orphans in memory and leaves it
//! in the one on the disk: whatever has the inode when it is next mounted loses its fs-verity. Where
//! it succeeds, the inode is in neither list, and a power cut before it has a name loses its space.

use std::sync::atomic::Ordering;

use super::Store;
use super::error::StoreError;
use super::files::{again, failed};
use super::io::StoreIo;
use super::path::{StorePath, known};

impl<I: StoreIo> Store<I> {
    /// Gives a file a name in `tmp/`, which is emptied before a transaction.
    fn name_aside(&self, file: &I::File) -> Result<StorePath, StoreError> {
        let number = self.asides.fetch_add(1, Ordering::Relaxed);
        let aside = known(&format!("tmp/sealing-{number}"));
        again(|| self.io.link(file, &aside)).map_err(failed(&self.io, "create", &aside))?;
        Ok(aside)
    }

    /// Takes such a name away: the file has another now, or is given up.
    pub(super) fn drop_aside(&self, aside: &StorePath) -> Result<(), StoreError> {
        again(|| self.io.remove_file(aside)).map_err(failed(&self.io, "remove", aside))
    }

    /// Seals a file that has a name in `tmp/` meanwhile, and keeps that if it is sealed.
    pub(super) fn seal_aside<T>(
        &self,
        file: &I::File,
        seal: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(T, StorePath), StoreError> {
        let aside = self.name_aside(file)?;
        match seal() {
            Ok(sealed) => Ok((sealed, aside)),
            Err(error) => {
                // What stays is cleared away by the next transaction.
                let _ = self.drop_aside(&aside);
                Err(error)
            }
        }
    }
}
