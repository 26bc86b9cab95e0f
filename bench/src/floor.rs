// SPDX-License-Identifier: MIT OR Apache-2.0
//! The least that any tool must do on the way to a digest: walk, read, hash. And on the way to a
//! store: also keep.
//!
//! On one thread, with no metadata kept, nothing checked and nothing built. Files that would lie
//! inside the image are read but not hashed, as in ours.

use std::collections::HashSet;
use std::ffi::CString;
use std::hint::black_box;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, linkat, openat, statx, syncfs,
};
use sealroot_format::digest::{VerityBatch, VerityDigest, VerityHasher};
use sealroot_format::limits::DEFAULT_THRESHOLD_BYTES;
use sealroot_sha::Engine;
use sha2::{Digest as _, Sha256};

/// Bytes that are hashed together, and the piece in which larger files are read.
const BATCH_BYTES: usize = 512 * 1024;

/// Files that are synced together.
const SYNC_FILES: usize = 256;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory
    directory: PathBuf,
    /// How far to go
    work: Work,
    /// With what to hash
    engine: Option<String>,
    /// Where to keep; is made
    #[arg(long, required_if_eq("work", "keep"))]
    into: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Work {
    /// List all directories and look at each entry
    Walk,
    /// Also read all files
    Read,
    /// Also hash those above the threshold
    Hash,
    /// Also write these, each once, into unnamed files, sync many together and name them then
    Keep,
    /// Read all files, and make the SHA-256 of each
    Checksum,
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
        keep: None,
    };
    if let (Work::Keep, Some(into)) = (options.work, &options.into) {
        floor.keep = Some(Keep::new(into)?);
    }
    floor.walk(&root)?;
    floor.hash_batch()?;
    floor.keep.map_or(Ok(()), |mut keep| keep.name_all())
}

struct Floor {
    work: Work,
    engine: Engine,
    batch: VerityBatch,
    piece: Vec<u8>,
    keep: Option<Keep>,
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

    fn hash_batch(&mut self) -> Result<()> {
        for (digest, content) in self.batch.finish() {
            if let Some(keep) = &mut self.keep {
                keep.add(digest, content)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, file: &OwnedFd, len_bytes: usize) -> Result<()> {
        if self.work == Work::Checksum {
            return self.checksum(file, len_bytes);
        }
        let is_hashed = self.work >= Work::Hash && len_bytes > DEFAULT_THRESHOLD_BYTES as usize;
        // What is kept must be in memory, or be read twice.
        if is_hashed && (len_bytes <= BATCH_BYTES || self.keep.is_some()) {
            self.batch
                .push_with(len_bytes, |place| read_exact(file, place))?;
            if self.batch.used_bytes() >= BATCH_BYTES {
                self.hash_batch()?;
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

    fn checksum(&mut self, file: &OwnedFd, len_bytes: usize) -> Result<()> {
        let mut hasher = Sha256::new();
        let mut left_bytes = len_bytes;
        while left_bytes > 0 {
            let piece = &mut self.piece[..left_bytes.min(BATCH_BYTES)];
            read_exact(file, piece)?;
            hasher.update(&*piece);
            left_bytes -= piece.len();
        }
        black_box(hasher.finalize());
        Ok(())
    }
}

/// Files on their way into a directory.
struct Keep {
    directory: OwnedFd,
    known: HashSet<VerityDigest>,
    waiting: Vec<(OwnedFd, VerityDigest)>,
}

impl Keep {
    fn new(directory: &Path) -> Result<Self> {
        std::fs::create_dir(directory)?;
        Ok(Self {
            directory: open(CWD, directory, OFlags::DIRECTORY)?,
            known: HashSet::new(),
            waiting: Vec::new(),
        })
    }

    fn add(&mut self, digest: VerityDigest, mut content: &[u8]) -> Result<()> {
        if !self.known.insert(digest) {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = openat(&self.directory, ".", flags, Mode::RUSR | Mode::WUSR)?;
        while !content.is_empty() {
            content = &content[rustix::io::write(&file, content)?..];
        }
        self.waiting.push((file, digest));
        if self.waiting.len() >= SYNC_FILES {
            self.name_all()?;
        }
        Ok(())
    }

    fn name_all(&mut self) -> Result<()> {
        syncfs(&self.directory)?;
        for (file, digest) in self.waiting.drain(..) {
            let name = digest.to_hex();
            linkat(&file, "", &self.directory, name, AtFlags::EMPTY_PATH)?;
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
