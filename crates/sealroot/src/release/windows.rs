// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many short reads of a file, near one another, from a few long ones.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use sealroot_format::erofs::ReadAt;

/// What is read at once, bytes.
const WINDOW_BYTES: u64 = 64 * 1024;

/// How many of them are remembered. Metadata lies in few places at a time: inodes, names, xattrs.
const MAX_WINDOWS: usize = 16;

/// Bytes that do not change, read in windows.
#[derive(Debug)]
pub struct Windows<R> {
    source: R,
    size_bytes: u64,
    /// Those read last, newest first, by number.
    recent: Mutex<VecDeque<(u64, Box<[u8]>)>>,
}

impl<R: ReadAt> Windows<R> {
    pub(super) fn new(source: R) -> io::Result<Self> {
        Ok(Self {
            size_bytes: source.size_bytes()?,
            source,
            recent: Mutex::default(),
        })
    }

    /// Fills `buf`, all of which is in one window, from `start` in it.
    fn read_in_window(&self, buf: &mut [u8], number: u64, start: usize) -> io::Result<()> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent.iter().position(|(known, _)| *known == number);
        let window = match known.and_then(|at| recent.remove(at)) {
            Some((_, window)) => window,
            None => self.read_window(number)?,
        };
        let found = window.get(start..).and_then(|rest| rest.get(..buf.len()));
        let result = match found {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        recent.push_front((number, window));
        recent.truncate(MAX_WINDOWS);
        result
    }

    fn read_window(&self, number: u64) -> io::Result<Box<[u8]>> {
        let start = number.saturating_mul(WINDOW_BYTES);
        let len = self.size_bytes.saturating_sub(start).min(WINDOW_BYTES);
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut window = vec![0; len].into_boxed_slice();
        self.source.read_exact_at(&mut window, start)?;
        Ok(window)
    }
}

impl<R: ReadAt> ReadAt for Windows<R> {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        if buf.len() as u64 >= WINDOW_BYTES {
            return self.source.read_exact_at(buf, offset_bytes);
        }
        let (mut at, mut rest) = (offset_bytes, buf);
        while !rest.is_empty() {
            let start = at % WINDOW_BYTES;
            let len = (WINDOW_BYTES - start).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(usize::try_from(len).map_err(io::Error::other)?);
            let start = usize::try_from(start).map_err(io::Error::other)?;
            self.read_in_window(part, at / WINDOW_BYTES, start)?;
            at = at.saturating_add(len);
            rest = after;
        }
        Ok(())
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_source_has_wherever_and_however_much() {
        let size = usize::try_from(WINDOW_BYTES).unwrap() * 20 + 17;
        let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
        let windows = Windows::new(bytes.clone()).unwrap();
        let mut at = 1;
        for round in 0..2000_usize {
            at = (at * 7919 + round) % size;
            let len = (round * 97 % 150_000).min(size - at);
            let mut found = vec![0; len];
            windows.read_exact_at(&mut found, at as u64).unwrap();
            assert_eq!(found, bytes[at..at + len], "{len} bytes at {at}");
        }
    }

    #[test]
    fn what_ends_too_early_is_an_error_and_spoils_nothing() {
        let windows = Windows::new(vec![7; 100]).unwrap();
        let mut found = [0; 10];
        for at in [91, 100, 1 << 20, u64::MAX] {
            let error = windows.read_exact_at(&mut found, at).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "at {at}");
        }
        windows.read_exact_at(&mut found, 90).unwrap();
        assert_eq!(found, [7; 10]);
    }
}
