// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file on its way: what has come of it is kept, is checked while it comes and again when it is gone
//! on with, and is fetched once.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

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
    /// What is written beside it before it is used up, bytes, as far as it is known.
    pub beside_bytes: u64,
}

/// A head and the pieces behind it, complete and checked.
#[derive(Debug)]
pub struct Complete<H> {
    /// What the head says.
    pub head: H,
    /// The whole, from its beginning.
    pub content: File,
}

impl Fetch<'_> {
    /// Fetches a head and all pieces that it names. They are the whole file, or, for a bundle, what
    /// comes before its objects.
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
        let mut at = self.check_present(&mut part, &mut checker, monitor)?;
        let mut mismatches = 0;
        let path = self.kind.path(&self.file);
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(end) = checker.end(self.kind) {
            check_space(self.store, self.needed_bytes(at, end))?;
            let mut reader = self.fetcher.reader(&path, at, end);
            while at < end {
                let read = reader.read(&mut buffer);
                let read = read.map_err(|error| fetch::cause(error, "fetch"))?;
                let bytes = &buffer[..read];
                let keep = RemoteError::io("keep what was fetched");
                let kept = part.write_all(bytes).map_err(keep);
                kept.map_err(|error| error.needing(self.store, self.needed_bytes(at, end)))?;
                at += read as u64;
                monitor.advance(read as u64);
                if let Err(mismatch) = checker.take(bytes) {
                    at = checker.back_to_good();
                    cut(&mut part, at)?;
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

    /// What is still to be written.
    fn needed_bytes(&self, at: u64, end: u64) -> u64 {
        (end - at).saturating_add(self.beside_bytes)
    }

    /// Forgets what was kept, which is not needed any more.
    pub fn forget(&self) -> Result<(), RemoteError> {
        Ok(self.store.remove_part(&self.file.head)?)
    }

    /// How much of what is there is right; all else is cut off.
    fn check_present<H>(
        &self,
        part: &mut File,
        checker: &mut Checker<'_, H>,
        monitor: &dyn Monitor,
    ) -> Result<u64, RemoteError> {
        let failed = || RemoteError::io("read what was fetched before");
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let len = checker.end(self.kind).map_or(0, |end| end - at);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let read = part.read(&mut buffer[..len]).map_err(failed())?;
            if read == 0 {
                break;
            }
            monitor.advance(read as u64);
            if checker.take(&buffer[..read]).is_err() {
                at = checker.back_to_good();
                break;
            }
            at += read as u64;
        }
        cut(part, at)?;
        Ok(at)
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
    /// What it says, and the pieces that have not come; `None` before it has.
    known: Option<(H, VecDeque<Piece>)>,
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

    /// Up to where bytes are still to come; `None` if nothing is. Of a file that is wanted whole all is
    /// asked for at once.
    fn end(&self, kind: Kind) -> Option<u64> {
        match &self.known {
            None if kind == Kind::Bundle => Some(self.fetch.file.head_bytes),
            None => Some(self.fetch.file.size_bytes),
            Some((_, pieces)) if pieces.is_empty() => None,
            Some((_, pieces)) => {
                let left: u64 = pieces.iter().map(|piece| piece.size_bytes).sum();
                Some(self.good_bytes + left)
            }
        }
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
                },
                Some((_, pieces)) => match pieces.front() {
                    Some(piece) => *piece,
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

    fn read_head(&mut self) -> Result<(H, VecDeque<Piece>), RemoteError> {
        let (head, pieces) = (self.read_head)(&std::mem::take(&mut self.head))?;
        let add = |sum: u64, piece: &Piece| sum.checked_add(piece.size_bytes);
        let total = pieces.iter().try_fold(self.fetch.file.head_bytes, add);
        let (signed, total) = (self.fetch.file.size_bytes, total.unwrap_or(u64::MAX));
        let fits = match self.fetch.kind {
            Kind::Bundle => total <= signed,
            Kind::Statement | Kind::Delta => total == signed,
        };
        if fits {
            // One that is empty would never end.
            let pieces = pieces.into_iter().filter(|piece| piece.size_bytes > 0);
            Ok((head, pieces.collect()))
        } else {
            Err(self.fetch.mismatch("length", &signed, &total))
        }
    }
}
