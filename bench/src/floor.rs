// SPDX-License-Identifier: MIT OR Apache-2.0
//! The least that any tool must do on the way to a digest: walk, read, hash.
//!
//! On one thread, with no metadata kept, nothing checked and nothing built. Files that would lie
//! inside the image are read but not hashed, as in ours.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, openat, statx};
use sealroot_format::digest::{VerityBatch, VerityHasher};
use sealroot_format::limits::DEFAULT_THRESHOLD_BYTES;
use sealroot_sha::Engine;

/// Bytes that are hashed together, and the piece in which larger files are read.
const BATCH_BYTES: usize = 512 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory
    directory: PathBuf,
    /// How far to go
    work: Work,
    /// With what to hash
    engine: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Work {
    /// List all directories and look at each entry
    Walk,
    /// Also read all files
    Read,
    /// Also hash those above the threshold
    Hash,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let engine = options.engine.as_ref().map_or_else(
        || Some(Engine::best()),
        |name| Engine::available().find(|engine| engine.to_string() == *name),
    );
    let engine = engine.context("no such engine here")?;
    let root = open(CWD, options.directory.as_os_str(), OFlags::DIRECTORY)?;
    let mut floor = Floor {
        work: options.work,
        engine,
        batch: VerityBatch::with_engine(engine),
        piece: vec![0; BATCH_BYTES],
    };
    floor.walk(&root)?;
    floor.hash_batch();
    Ok(())
}

struct Floor {
    work: Work,
    engine: Engine,
    batch: VerityBatch,
    piece: Vec<u8>,
}

impl Floor {
    fn walk(&mut self, directory: &OwnedFd) -> Result<()> {
        let mut buffer = Box::new_uninit_slice(32 * 1024);
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut below: Vec<CString> = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = statx(directory, name, flags, StatxFlags::BASIC_STATS)?;
            match FileType::from_raw_mode(stat.stx_mode.into()) {
                FileType::Directory => below.push(name.into()),
                FileType::RegularFile if self.work >= Work::Read => {
                    let file = open(directory.as_fd(), name, OFlags::empty())?;
                    self.read(&file, usize::try_from(stat.stx_size)?)?;
                }
                _ => {}
            }
        }
        for name in below {
            let directory = open(directory.as_fd(), &*name, OFlags::DIRECTORY)?;
            self.walk(&directory)?;
        }
        Ok(())
    }

    fn hash_batch(&mut self) {
        drop(self.batch.finish());
    }

    fn read(&mut self, file: &OwnedFd, len_bytes: usize) -> Result<()> {
        let is_hashed = self.work == Work::Hash && len_bytes > DEFAULT_THRESHOLD_BYTES as usize;
        if is_hashed && len_bytes <= BATCH_BYTES {
            self.batch
                .push_with(len_bytes, |place| read_exact(file, place))?;
            if self.batch.used_bytes() >= BATCH_BYTES {
                self.hash_batch();
            }
            return Ok(());
        }
        let mut hasher = VerityHasher::with_engine(self.engine);
        let mut left_bytes = len_bytes;
        while left_bytes > 0 {
            let piece = &mut self.piece[..left_bytes.min(BATCH_BYTES)];
            read_exact(file, piece)?;
            if is_hashed {
                hasher.update(piece);
            }
            left_bytes -= piece.len();
        }
        if is_hashed {
            hasher.finish();
        }
        Ok(())
    }
}

fn open(directory: BorrowedFd<'_>, name: impl rustix::path::Arg, flags: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | flags;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

fn read_exact(file: &OwnedFd, mut place: &mut [u8]) -> Result<()> {
    while !place.is_empty() {
        let len_bytes = rustix::io::read(file, &mut *place)?;
        ensure!(len_bytes > 0, "a file became shorter");
        place = &mut place[len_bytes..];
    }
    Ok(())
}
