// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that are started without an entry, by their path alone: each is none before it is whole.

use super::read::known;
use super::{Boot, BootIo, EntryError};
use crate::store::{StorePath, again};

/// How a program begins that firmware and boot loaders start. It is written last: before, the file is
/// nobody's.
const FIRST_BYTE: u8 = b'M';
const UNFINISHED: u8 = 0;

/// Whether a file is one that was finished.
pub(super) fn is_program(content: &[u8]) -> bool {
    content.first() == Some(&FIRST_BYTE)
}

impl<I: BootIo> Boot<I> {
    /// Writes a program where nothing is, in directories of which each is in the one before it.
    pub(super) fn write_program(
        &self,
        directories: [&str; 2],
        path: &StorePath,
        program: &[u8],
    ) -> Result<(), EntryError> {
        let [upper, directory] = directories.map(known);
        self.make_directory(&upper)?;
        self.make_directory(&directory)?;
        let file = again(|| self.io.create(path)).map_err(self.failed("create", path))?;
        let rest = program.get(1..).unwrap_or_default();
        for part in [&[UNFINISHED][..], rest] {
            self.write_all(&file, part)
                .map_err(self.failed("write", path))?;
        }
        again(|| self.io.sync_file(&file)).map_err(self.failed("sync", path))?;
        for path in [&directory, &upper, &StorePath::root()] {
            again(|| self.io.sync_directory(path)).map_err(self.failed("sync", path))?;
        }
        self.settle()?;
        let finished = again(|| self.io.overwrite(&file, FIRST_BYTE, 0));
        finished.map_err(self.failed("write", path))?;
        again(|| self.io.sync_file(&file)).map_err(self.failed("sync", path))?;
        self.settle()
    }
}
