// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file on its way: what has come of it is kept, is checked while it comes and again when it is gone
//! on with, and is fetched once.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

use sealroot::monitor::Monitor;
use sealroot::store::{Store, StoreIo as _};
use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits;
use sealroot_format::sign::RemoteFile;
use sha2::{Digest as _, Sha256};

use crate::error::RemoteError;
use crate::fetch::{self, Fetcher};
use crate::layout::Kind;

/// How often what is not what was signed is fetched again: it may have been damaged on its way,
/// and there may be other sources.
pub(crate) const MAX_MISMATCHES: u32 = 3;

/// How much of what is there is read at a time, bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// A piece of a file behind its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256Digest,
    /// Whether it is to come.
    pub is_wanted: bool,
}

/// Reads the head of a file: what it says, and the pieces behind it.
type ReadHead<'h, H> = dyn Fn(&[u8]) -> Result<(H, Vec<Piece>), RemoteError> + 'h;

/// What is fetched, and from where.
#[derive(Debug)]
pub struct Fetch<'f> {
    /// Where it is kept.
    pub store: &'f Store,
    /// What fetches.
    pub fetcher: &'f Fetcher,
    /// What kind of file it is.
    pub kind: Kind,
    /// Which.
    pub file: RemoteFile,
    /// Whether all of it is wanted, and asked for at once. Else the head is, and then what is wanted behind it.
    pub is_whole: bool,
    /// What is written beside it before it is used up, bytes, as far as it is known.
    pub beside_bytes: u64,
}

/// A head and the pieces behind it that were wanted, complete and checked.
#[derive(Debug)]
pub struct Complete<H> {
    /// What the head says.
    pub head: H,
    /// The head, and the pieces one behind another.
    pub content: File,
}

impl Fetch<'_> {
    /// Fetches a head and the wanted of the pieces that it names, which are the whole file, or, for a bundle, what
    /// comes before its objects. What was kept of them before is not fetched again, as long as no other pieces before it
    /// are wanted.
    pub fn complete<H>(
        &self,
        read_head: &ReadHead<'_, H>,
        monitor: &dyn Monitor,
    ) -> Result<Complete<H>, RemoteError> {
        if !(1..=limits::MAX_HEAD_BYTES).contains(&self.file.head_bytes) {
            let expected = format!("1 to {} bytes", limits::MAX_HEAD_BYTES);
            return Err(self.mismatch("length of its head", &expected, &self.file.head_bytes));
        }
        let mut part = self.store.open_part(&self.file.head)?;
        let mut checker = Checker::new(self, read_head);
        checker.take_present(&mut part, monitor)?;
        let mut mismatches = 0;
        let path = self.kind.path(&self.file);
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(Range { start, end }) = checker.next() {
            let needed_bytes = (end - start).saturating_add(self.beside_bytes);
            check_space(self.store, needed_bytes)?;
            let mut reader = self.fetcher.reader(&path, start, end);
            let mut left_bytes = end - start;
            while left_bytes > 0 {
                let read = reader.read(&mut buffer);
                let read = read.map_err(|error| fetch::cause(error, "fetch"))?;
                let bytes = &buffer[..read];
                let keep = RemoteError::io("keep what was fetched");
                let kept = part.write_all(bytes).map_err(keep);
                kept.map_err(|error| error.needing(self.store, needed_bytes))?;
                left_bytes -= read as u64;
                monitor.advance(read as u64);
                if let Err(mismatch) = checker.take(bytes) {
                    cut(&mut part, checker.back_to_good())?;
                    self.fetcher.blame();
                    mismatches += 1;
                    if mismatches >= MAX_MISMATCHES {
                        return Err(mismatch);
                    }
                    break;
                }
            }
        }
        let rewind = RemoteError::io("read what was fetched");
        part.seek(SeekFrom::Start(0)).map_err(rewind)?;
        let (head, _) = checker
            .known
            .expect("before the head has come, there is more");
        let content = part;
        Ok(Complete { head, content })
    }

    /// Forgets what was kept, which is not needed any more.
    pub fn forget(&self) -> Result<(), RemoteError> {
        Ok(self.store.remove_part(&self.file.head)?)
    }

    pub(crate) fn mismatch(
        &self,
        what: &'static str,
        expected: &dyn ToString,
        found: &dyn ToString,
    ) -> RemoteError {
        let path = self.kind.path(&self.file);
        RemoteError::mismatch((self.fetcher.location(), &path), what, expected, found)
    }
}

/// That there is room for what is to come.
pub(crate) fn check_space(store: &Store, needed_bytes: u64) -> Result<(), RemoteError> {
    let available = store.io().available_bytes();
    let available_bytes = available.map_err(RemoteError::io("look for free space"))?;
    if available_bytes < needed_bytes {
        return Err(RemoteError::NoSpace {
            location: store.location().display().to_string(),
            needed_bytes,
            available_bytes,
        });
    }
    Ok(())
}

fn cut(part: &mut File, len: u64) -> Result<(), RemoteError> {
    let failed = || RemoteError::io("keep what was fetched");
    part.set_len(len).map_err(failed())?;
    part.seek(SeekFrom::Start(len)).map_err(failed())?;
    Ok(())
}

/// Compares bytes, as they come, with what was signed: the head, then what the head says.
struct Checker<'c, H> {
    fetch: &'c Fetch<'c>,
    read_head: &'c ReadHead<'c, H>,
    /// As much of the head as has come.
    head: Vec<u8>,
    /// What it says, and the wanted pieces that have not come, with where they begin; `None` before it has.
    known: Option<(H, VecDeque<(u64, Piece)>)>,
    hasher: Sha256,
    /// How much of the present piece has come.
    come_bytes: u64,
    /// How much was compared and is right.
    good_bytes: u64,
}

impl<'c, H> Checker<'c, H> {
    fn new(fetch: &'c Fetch<'c>, read_head: &'c ReadHead<'c, H>) -> Self {
        Self {
            fetch,
            read_head,
            head: Vec::new(),
            known: None,
            hasher: Sha256::new(),
            come_bytes: 0,
            good_bytes: 0,
        }
    }

    /// Takes what is there and right; all else is cut off.
    fn take_present(&mut self, part: &mut File, monitor: &dyn Monitor) -> Result<(), RemoteError> {
        let failed = || RemoteError::io("read what was fetched before");
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let len = self.next().map_or(0, |range| range.end - range.start);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let read = part.read(&mut buffer[..len]).map_err(failed())?;
            if read == 0 {
                break;
            }
            monitor.advance(read as u64);
            if self.take(&buffer[..read]).is_err() {
                at = self.back_to_good();
                break;
            }
            at += read as u64;
        }
        cut(part, at)
    }

    /// Which bytes of the file are to come next; `None` if none are.
    fn next(&self) -> Option<Range<u64>> {
        let file = &self.fetch.file;
        let Some((_, pieces)) = &self.known else {
            let end = if self.fetch.is_whole {
                file.size_bytes
            } else {
                file.head_bytes
            };
            return Some(self.come_bytes..end);
        };
        let (first, _) = pieces.front()?;
        let mut end = *first;
        for (start, piece) in pieces {
            if *start != end {
                break;
            }
            end += piece.size_bytes;
        }
        Some(first + self.come_bytes..end)
    }

    /// Goes back to the end of the last piece that was right; where that is.
    fn back_to_good(&mut self) -> u64 {
        self.hasher = Sha256::new();
        self.come_bytes = 0;
        if self.known.is_none() {
            self.head.clear();
        }
        self.good_bytes
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), RemoteError> {
        while !bytes.is_empty() {
            let file = &self.fetch.file;
            let piece = match &self.known {
                None => Piece {
                    size_bytes: file.head_bytes,
                    sha256: file.head,
                    is_wanted: true,
                },
                Some((_, pieces)) => match pieces.front() {
                    Some((_, piece)) => *piece,
                    None => return Err(self.fetch.mismatch("its end", &self.good_bytes, &"more")),
                },
            };
            let left = piece.size_bytes - self.come_bytes;
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(len);
            bytes = later;
            self.hasher.update(now);
            self.come_bytes += len as u64;
            if self.known.is_none() {
                self.head.extend(now);
            }
            if self.come_bytes == piece.size_bytes {
                self.end_piece(&piece)?;
            }
        }
        Ok(())
    }

    fn end_piece(&mut self, piece: &Piece) -> Result<(), RemoteError> {
        let found = Sha256Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        if found != piece.sha256 {
            let what = match self.known {
                None => "SHA-256 of its head",
                Some(_) => "SHA-256 of a piece",
            };
            return Err(self.fetch.mismatch(what, &piece.sha256, &found));
        }
        match &mut self.known {
            Some((_, pieces)) => {
                pieces.pop_front();
            }
            None => self.known = Some(self.read_head()?),
        }
        self.good_bytes += piece.size_bytes;
        self.come_bytes = 0;
        Ok(())
    }

    fn read_head(&mut self) -> Result<(H, VecDeque<(u64, Piece)>), RemoteError> {
        let (head, pieces) = (self.read_head)(&std::mem::take(&mut self.head))?;
        let file = &self.fetch.file;
        let mut end = file.head_bytes;
        let mut wanted = VecDeque::new();
        for piece in pieces {
            let start = end;
            end = end.saturating_add(piece.size_bytes);
            // One that is empty would never end.
            if piece.is_wanted && piece.size_bytes > 0 {
                wanted.push_back((start, piece));
            }
        }
        let fits = match self.fetch.kind {
            Kind::Bundle => end <= file.size_bytes,
            Kind::Statement | Kind::Delta | Kind::Image | Kind::Signatures => {
                end == file.size_bytes
            }
        };
        if fits {
            Ok((head, wanted))
        } else {
            Err(self.fetch.mismatch("length", &file.size_bytes, &end))
        }
    }
}
