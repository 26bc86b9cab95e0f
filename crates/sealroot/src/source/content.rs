// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the content of files, hashes it and offers it to the sink.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, SeekFrom, openat2, seek};
use rustix::io::{Errno, read, retry_on_intr};
use sealroot_format::digest::{VERITY_BLOCK_BYTES, VerityBatch, VerityDigest, VerityHasher};
use sealroot_format::tree::{FileContent, XattrSet};

use super::error::{Failure, Fault};
use super::listing::{Directory, Lister};
use super::normal::{self, Change, NormalizeError};
use super::small::SmallFiles;
use super::stat::{Version, check_unchanged};
use super::xattrs::XattrReader;
use super::{BUFFER_BYTES, CONFINED, Compressed, DirectoryOptions, TOTAL_BUFFER_BYTES};
use crate::monitor::Monitor;
use crate::object::{ObjectContent, ObjectSink};
use crate::spool::Spool;

/// Bytes of files that are hashed together: little enough to be still in the processor's second
/// cache. Each batch leaves lanes of the widest engine empty at its end, on all levels of its trees;
/// a quarter of this has to hash an eighth more often.
const BATCH_BYTES: usize = 512 * 1024;

/// The piece in which large files are read: it fills all lanes, and is in the nearest caches when
/// it is hashed.
const PIECE_BYTES: usize = 128 * 1024;

/// Memory for content that a thread has at least.
const MIN_BUFFER_BYTES: usize = 512 * 1024;

/// Bytes read between two reports of progress.
const REPORT_BYTES: u64 = 1024 * 1024;

/// What reading a file gave.
#[derive(Debug)]
pub(super) struct FileRecord {
    pub(super) content: FileContent,
    pub(super) xattrs: XattrSet,
}

/// Where what was read goes to.
pub(super) struct Output<'a> {
    pub(super) root: &'a Path,
    threshold_bytes: u64,
    compressed: Compressed,
    spool: &'a Spool<'a>,
    sink: &'a dyn ObjectSink,
    monitor: &'a dyn Monitor,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        root: &'a Path,
        options: DirectoryOptions,
        spool: &'a Spool<'a>,
        sink: &'a dyn ObjectSink,
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self {
            root,
            threshold_bytes: options.threshold_bytes.into(),
            compressed: options.compressed,
            spool,
            sink,
            monitor,
        }
    }
}

/// The buffers of a task, and what was read with them. One task at a time has it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) lister: Lister,
    pub(super) xattrs: XattrReader,
    batch: VerityBatch,
    buffer_bytes: usize,
    /// The files of `batch`.
    waiting: Vec<Waiting>,
    small: SmallFiles,
    piece: Vec<u8>,
    records: Vec<(usize, FileRecord)>,
    /// Those that are compressed no more.
    opened: Vec<usize>,
    /// Bytes read since the monitor was last told.
    unreported_bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    id: usize,
    directory: Arc<Directory>,
    entry: usize,
    xattrs: XattrSet,
}

impl Worker {
    pub(super) fn new(output: &Output<'_>) -> Self {
        let most = if output.sink.has_everything() {
            MIN_BUFFER_BYTES
        } else {
            BUFFER_BYTES
        };
        let share = TOTAL_BUFFER_BYTES / rayon::current_num_threads();
        Self {
            lister: Lister::new(),
            xattrs: XattrReader::default(),
            batch: VerityBatch::new(),
            buffer_bytes: share.clamp(MIN_BUFFER_BYTES, most),
            waiting: Vec::new(),
            small: SmallFiles::default(),
            piece: Vec::new(),
            records: Vec::new(),
            opened: Vec::new(),
            unreported_bytes: 0,
        }
    }

    /// Reads one file; hashes and offers it now or later.
    pub(super) fn read_file(
        &mut self,
        output: &Output<'_>,
        source: &FileSource<'_>,
    ) -> Result<(), Failure> {
        let size_bytes = source.version().size_bytes;
        if !self.normalize(output, source)? {
            self.read_as_it_is(output, source)?;
        }
        self.unreported_bytes += size_bytes;
        if self.unreported_bytes >= REPORT_BYTES {
            self.report(output);
        }
        Ok(())
    }

    fn read_as_it_is(
        &mut self,
        output: &Output<'_>,
        source: &FileSource<'_>,
    ) -> Result<(), Failure> {
        let size_bytes = source.version().size_bytes;
        let small = usize::try_from(size_bytes);
        match small {
            Ok(len_bytes) if size_bytes <= output.threshold_bytes => {
                self.read_small(output, source, len_bytes)
                    .map_err(|fault| source.failure(fault))?;
            }
            Ok(len_bytes) if len_bytes <= self.buffer_bytes => {
                let padded_bytes = len_bytes.next_multiple_of(VERITY_BLOCK_BYTES);
                if self.batch.used_bytes() + padded_bytes > self.buffer_bytes {
                    self.hash(output)?;
                }
                self.read_buffered(source, len_bytes)
                    .map_err(|fault| source.failure(fault))?;
                if self.batch.used_bytes() >= BATCH_BYTES {
                    self.hash(output)?;
                }
            }
            _ => self
                .read_streamed(output, source)
                .map_err(|fault| source.failure(fault))?,
        }
        Ok(())
    }

    /// Reads a file that gets other content, if it is to and does: whether it was read.
    fn normalize(&mut self, output: &Output<'_>, source: &FileSource<'_>) -> Result<bool, Failure> {
        if output.compressed == Compressed::Keep {
            return Ok(false);
        }
        let path = source.directory.path_of(source.entry);
        let Some(change) = normal::change_of(&path) else {
            return Ok(false);
        };
        let fail = |fault: Fault| source.failure(fault);
        let names = &source.directory.names;
        let rival = normal::rival(&path, |name| names.contains(name));
        let changed = match rival.filter(|_| change.is_opened()) {
            Some(name) => Err(NormalizeError::Taken { name }),
            None => self.read_changed(source, change).map_err(fail)?,
        };
        match changed {
            Ok((content, xattrs)) => {
                if change.is_opened() {
                    self.opened.push(source.id);
                }
                self.push(output, source, &content, xattrs)?;
                Ok(true)
            }
            Err(error) if change.is_needed() => Err(fail(error.into())),
            Err(error) => {
                let path = path.escape_ascii();
                let cause = error
                    .source()
                    .map_or_else(String::new, |cause| format!(": {cause}"));
                let message = format!("{path} stays compressed: {error}{cause}");
                output.monitor.warn(message);
                Ok(false)
            }
        }
    }

    /// The new content of a file, and its xattrs.
    fn read_changed(
        &mut self,
        source: &FileSource<'_>,
        change: Change,
    ) -> Result<Result<(Vec<u8>, XattrSet), NormalizeError>, Fault> {
        let file = source.open()?;
        let xattrs = self.xattrs.of_open(file.as_fd())?;
        let size_bytes = source.version().size_bytes;
        let len_bytes = match usize::try_from(size_bytes) {
            Ok(len_bytes) if size_bytes <= normal::MAX_BYTES => len_bytes,
            _ => return Ok(Err(NormalizeError::TooLong)),
        };
        let mut bytes = vec![0; len_bytes];
        read_exact(&file, &mut bytes)?;
        check_unchanged(source.version(), file.as_fd())?;
        let content = change.apply(&bytes, &xattrs);
        Ok(content.map(|content| (content, xattrs)))
    }

    /// Takes content from memory; hashes and offers it now or later.
    fn push(
        &mut self,
        output: &Output<'_>,
        source: &FileSource<'_>,
        content: &[u8],
        xattrs: XattrSet,
    ) -> Result<(), Failure> {
        if content.len() as u64 <= output.threshold_bytes {
            self.make_room(output, content.len())
                .map_err(|fault| source.failure(fault))?;
            let copy = |place: &mut [u8]| {
                place.copy_from_slice(content);
                Ok(())
            };
            let pushed = self.small.push(source.id, xattrs, content.len(), copy);
            return pushed.map_err(|fault| source.failure(fault));
        }
        let mut hasher = VerityHasher::new();
        hasher.update(content);
        let digest = hasher.finish();
        offer(output.sink, &digest, content).map_err(|error| source.failure(Fault::Sink(error)))?;
        let size_bytes = content.len() as u64;
        let content = FileContent::External { digest, size_bytes };
        self.records
            .push((source.id, FileRecord { content, xattrs }));
        Ok(())
    }

    fn make_room(&mut self, output: &Output<'_>, len_bytes: usize) -> Result<(), Fault> {
        if !self.small.has_room(len_bytes) {
            let put_away = self.small.flush(output.spool, &mut self.records);
            put_away.map_err(Fault::Spool)?;
        }
        Ok(())
    }

    fn read_small(
        &mut self,
        output: &Output<'_>,
        source: &FileSource<'_>,
        len_bytes: usize,
    ) -> Result<(), Fault> {
        self.make_room(output, len_bytes)?;
        let file = source.open()?;
        let xattrs = self.xattrs.of_open(file.as_fd())?;
        self.small.push(source.id, xattrs, len_bytes, |place| {
            read_exact(&file, place)?;
            check_unchanged(source.version(), file.as_fd())
        })
    }

    fn read_buffered(&mut self, source: &FileSource<'_>, len_bytes: usize) -> Result<(), Fault> {
        let file = source.open()?;
        let xattrs = self.xattrs.of_open(file.as_fd())?;
        self.batch.reserve(self.buffer_bytes);
        self.batch
            .push_with(len_bytes, |place| read_exact(&file, place))?;
        self.waiting.push(Waiting {
            id: source.id,
            directory: Arc::clone(source.directory),
            entry: source.entry,
            xattrs,
        });
        check_unchanged(source.version(), file.as_fd())
    }

    fn read_streamed(&mut self, output: &Output<'_>, source: &FileSource<'_>) -> Result<(), Fault> {
        let file = source.open()?;
        let xattrs = self.xattrs.of_open(file.as_fd())?;
        let size_bytes = source.version().size_bytes;
        let digest = self.hash_stream(&file, size_bytes)?;
        check_unchanged(source.version(), file.as_fd())?;
        if !output.sink.has(&digest, size_bytes).map_err(Fault::Sink)? {
            seek(&file, SeekFrom::Start(0)).map_err(Fault::os("read"))?;
            let mut reader = File::from(file).take(size_bytes);
            let content = ObjectContent::Stream(&mut reader);
            if let Err(error) = output.sink.add(&digest, size_bytes, content) {
                // A better reason than that the digest is another now.
                check_unchanged(source.version(), reader.get_ref().as_fd())?;
                return Err(Fault::Sink(error));
            }
        }
        let content = FileContent::External { digest, size_bytes };
        self.records
            .push((source.id, FileRecord { content, xattrs }));
        Ok(())
    }

    fn hash_stream(&mut self, file: &OwnedFd, size_bytes: u64) -> Result<VerityDigest, Fault> {
        self.piece.resize(PIECE_BYTES, 0);
        let mut hasher = VerityHasher::new();
        let mut left_bytes = size_bytes;
        while left_bytes > 0 {
            let len_bytes =
                usize::try_from(left_bytes).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            let piece = &mut self.piece[..len_bytes];
            read_exact(file, piece)?;
            hasher.update(piece);
            left_bytes -= len_bytes as u64;
        }
        Ok(hasher.finish())
    }

    /// Finishes what waits for more of its kind.
    pub(super) fn flush(&mut self, output: &Output<'_>) -> Result<(), Failure> {
        let put_away = self.small.flush(output.spool, &mut self.records);
        put_away.map_err(|error| Fault::Spool(error).at(Vec::new()))?;
        self.hash(output)
    }

    /// Hashes the files in memory and offers them.
    fn hash(&mut self, output: &Output<'_>) -> Result<(), Failure> {
        let hashed = self.batch.finish();
        for (file, (digest, content)) in self.waiting.drain(..).zip(hashed) {
            let size_bytes = content.len() as u64;
            offer(output.sink, &digest, content)
                .map_err(|error| Fault::Sink(error).at(file.directory.path_of(file.entry)))?;
            let record = FileRecord {
                content: FileContent::External { digest, size_bytes },
                xattrs: file.xattrs,
            };
            self.records.push((file.id, record));
        }
        Ok(())
    }

    /// Tells the monitor what was read.
    pub(super) fn report(&mut self, output: &Output<'_>) {
        output.monitor.advance(self.unreported_bytes);
        self.unreported_bytes = 0;
    }

    /// The records of all files, by their ids, and the ids of those that are compressed no more.
    pub(super) fn into_records(self) -> (Vec<(usize, FileRecord)>, Vec<usize>) {
        (self.records, self.opened)
    }
}

/// A regular file to be read.
pub(super) struct FileSource<'a> {
    /// The position among all files.
    pub(super) id: usize,
    /// The open directory it is in.
    pub(super) fd: BorrowedFd<'a>,
    pub(super) directory: &'a Arc<Directory>,
    /// Its position there.
    pub(super) entry: usize,
}

impl FileSource<'_> {
    /// What it was when its directory was listed.
    fn version(&self) -> &Version {
        &self.directory.entries[self.entry].stat.version
    }

    fn open(&self) -> Result<OwnedFd, Fault> {
        let name = self.directory.names.get(self.entry);
        // Should it be a fifo by now, opening must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        retry_on_intr(|| openat2(self.fd, name, flags, Mode::empty(), CONFINED))
            .map_err(Fault::open("open"))
    }

    fn failure(&self, fault: Fault) -> Failure {
        fault.at(self.directory.path_of(self.entry))
    }
}

fn offer(sink: &dyn ObjectSink, digest: &VerityDigest, content: &[u8]) -> io::Result<()> {
    let size_bytes = content.len() as u64;
    if sink.has(digest, size_bytes)? {
        return Ok(());
    }
    sink.add(digest, size_bytes, ObjectContent::Hashed(content))
}

fn read_exact(file: &OwnedFd, mut place: &mut [u8]) -> Result<(), Fault> {
    while !place.is_empty() {
        let len_bytes = read_some(|| read(file, &mut *place))?;
        place = &mut place[len_bytes..];
    }
    Ok(())
}

/// Reads at least one byte.
fn read_some(read: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Fault> {
    match retry_on_intr(read) {
        Ok(0) => Err(Fault::Changed("it is shorter than it was")),
        Ok(len_bytes) => Ok(len_bytes),
        Err(errno) => Err(Fault::Os("read", errno)),
    }
}
