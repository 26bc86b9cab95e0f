// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forms that are changed in place, piece by piece.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use sealroot_format::erofs::ReadAt;

/// Length of a word.
pub(super) const WORD_BYTES: usize = 4;

/// How much of a form is in memory at a time.
const WINDOW_BYTES: u64 = 256 * 1024;

/// What can be read and changed at any place.
pub trait Edit: ReadAt {
    /// Replaces bytes that are there.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
}

impl Edit for Vec<u8> {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let start = usize::try_from(at).ok();
        let end = start.and_then(|start| start.checked_add(bytes.len()));
        let place = start
            .zip(end)
            .and_then(|(start, end)| self.get_mut(start..end));
        let place = place.ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

impl Edit for File {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }
}

/// A range of a form that is known to be short.
pub(super) fn read(form: &dyn ReadAt, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let len = range.end.saturating_sub(range.start);
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    form.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// A piece of a form, in which words are changed.
pub(super) struct Words<'f> {
    form: &'f mut dyn Edit,
    /// Where the form ends.
    end: u64,
    start: u64,
    window: Vec<u8>,
    is_changed: bool,
}

impl<'f> Words<'f> {
    pub(super) fn of(form: &'f mut dyn Edit) -> io::Result<Self> {
        Ok(Self {
            end: form.size_bytes()?,
            form,
            start: 0,
            window: Vec::new(),
            is_changed: false,
        })
    }

    /// Changes the word at a place. Places are best ascending: each piece is then read once.
    pub(super) fn change(&mut self, place: u64, change: impl FnOnce(u32) -> u32) -> io::Result<()> {
        if self.word(place).is_none() {
            self.write()?;
            let end = place.saturating_add(WINDOW_BYTES).min(self.end);
            self.window = read(self.form, &(place..end))?;
            self.start = place;
        }
        let word = self.word(place).ok_or(io::ErrorKind::UnexpectedEof)?;
        let old = u32::from_le_bytes(*word);
        let new = change(old);
        *word = new.to_le_bytes();
        self.is_changed |= new != old;
        Ok(())
    }

    fn word(&mut self, place: u64) -> Option<&mut [u8; WORD_BYTES]> {
        let at = usize::try_from(place.checked_sub(self.start)?).ok()?;
        let end = at.checked_add(WORD_BYTES)?;
        self.window.get_mut(at..end)?.try_into().ok()
    }

    /// Writes back what was changed last.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_changed) {
            self.form.write_at(&self.window, self.start)?;
        }
        Ok(())
    }
}
