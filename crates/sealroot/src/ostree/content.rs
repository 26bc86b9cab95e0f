// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content objects: regular files and symlinks, verified while they are read.

use std::fs::File;
use std::io::{self, Read};

use sealroot_format::digest::{Sha256Digest, VerityDigest, VerityHasher, compute_verity_digest};
use sealroot_format::limits;
use sealroot_format::tree::{FileContent, Kind, Metadata};
use sha2::{Digest, Sha256};

use super::error::ObjectError;
use super::format::{ArchiveHeader, Attributes, FileHeader};
use super::inflate::Inflate;
use super::repository::{Mode, Repository};
use super::xattrs;
use crate::object::{ObjectContent, ObjectSink};
use crate::spool::Spool;

/// Deflate makes at most this many bytes of one; more is a lie that need not be read to the end.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// The most bytes of one file held in memory; a larger one is read again if the sink wants it.
const MAX_HELD_BYTES: usize = 4 << 20;

/// The most bytes of files held in memory by all threads together.
const MAX_HELD_BYTES_TOTAL: usize = 24 << 20;

/// How much of a larger file is read and hashed at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A content object that is open, not verified.
struct Opened {
    header: FileHeader,
    /// What may have been hashed instead of the header.
    ///
    /// OSTree hashed xattrs in the order of the object until 2025.1, and sorted since, while an
    /// object's own header may still have them in another order. And of a file on disk it does
    /// not see xattrs with an empty value, so they count only if another program made the object.
    alternative: Option<FileHeader>,
    payload: Payload,
}

impl Opened {
    /// An object whose header says its xattrs.
    fn with_header(header: FileHeader, payload: Payload) -> Self {
        Self {
            alternative: header.with_sorted_xattrs(),
            header,
            payload,
        }
    }

    /// An object that has its xattrs on disk.
    fn with_inode(header: FileHeader, payload: Payload) -> Self {
        Self {
            alternative: header.without_empty_xattrs(),
            header,
            payload,
        }
    }
}

/// The bytes of a file.
enum Payload {
    /// Those of a symlink.
    None,
    Plain(File),
    Deflated(Box<Inflate<File>>),
}

impl Read for Payload {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None => Ok(0),
            Self::Plain(file) => file.read(out),
            Self::Deflated(inflate) => inflate.read(out),
        }
    }
}

impl Repository {
    fn open_content(&self, checksum: &Sha256Digest) -> Result<Opened, ObjectError> {
        match self.mode {
            Mode::Bare => self.open_bare(checksum),
            Mode::BareUser => self.open_bare_user(checksum),
            Mode::Archive => self.open_archive(checksum),
        }
    }

    fn open_bare(&self, checksum: &Sha256Digest) -> Result<Opened, ObjectError> {
        let attributes = |stat: &rustix::fs::Stat, xattrs| Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
            xattrs,
        };
        if let Some((link, stat)) = self.open_symlink(checksum, "file")? {
            let target = rustix::fs::readlinkat(&link, "", Vec::new())?.into_bytes();
            let xattrs = if self.ignore_xattrs {
                Vec::new()
            } else {
                xattrs::of_symlink(&link)?
            };
            let header = FileHeader::new(attributes(&stat, xattrs), Some(target.into()))?;
            return Ok(Opened::with_inode(header, Payload::None));
        }
        let (file, stat) = self.open_regular(checksum, "file")?;
        let xattrs = if self.ignore_xattrs {
            Vec::new()
        } else {
            xattrs::of_file(&file)?
        };
        let header = FileHeader::new(attributes(&stat, xattrs), None)?;
        Ok(Opened::with_inode(header, Payload::Plain(file)))
    }

    fn open_bare_user(&self, checksum: &Sha256Digest) -> Result<Opened, ObjectError> {
        const XATTR: &str = "user.ostreemeta";
        let (file, _) = self.open_regular(checksum, "file")?;
        let attributes = xattrs::one_of_file(&file, XATTR)?.ok_or(ObjectError::File {
            field: "metadata",
            expected: format!("an xattr {XATTR}"),
            found: "none".into(),
        })?;
        let attributes = Attributes::parse(&attributes)?;
        if !attributes.is_symlink() {
            let header = FileHeader::new(attributes, None)?;
            return Ok(Opened::with_header(header, Payload::Plain(file)));
        }
        // The target's terminating NUL is in the file, but not in the checksum.
        let max = limits::MAX_SYMLINK_BYTES as u64 + 2;
        let mut target = Vec::new();
        file.take(max).read_to_end(&mut target)?;
        let target = target.strip_suffix(b"\0").unwrap_or(&target);
        let header = FileHeader::new(attributes, Some(target.into()))?;
        Ok(Opened::with_header(header, Payload::None))
    }

    fn open_archive(&self, checksum: &Sha256Digest) -> Result<Opened, ObjectError> {
        let (mut file, stat) = self.open_regular(checksum, "filez")?;
        let mut prefix = [0; ArchiveHeader::PREFIX_BYTES];
        read_header(&mut file, &mut prefix)?;
        let mut header = vec![0; ArchiveHeader::parse_prefix(prefix)?];
        read_header(&mut file, &mut header)?;
        let ArchiveHeader {
            file: header,
            claimed_size_bytes,
        } = ArchiveHeader::parse(&header)?;
        let file_bytes = u64::try_from(stat.st_size).unwrap_or_default();
        let most = file_bytes.saturating_mul(MAX_DEFLATE_RATIO);
        if claimed_size_bytes > most {
            return Err(ObjectError::File {
                field: "size in the header",
                expected: format!("at most {most}, which deflate makes of {file_bytes} bytes"),
                found: claimed_size_bytes.to_string(),
            });
        }
        let payload = if header.is_symlink() {
            // Nothing follows a symlink's header.
            if file.read(&mut [0])? != 0 {
                return Err(ObjectError::File {
                    field: "content of a symlink",
                    expected: "none".into(),
                    found: "some".into(),
                });
            }
            Payload::None
        } else {
            Payload::Deflated(Box::new(Inflate::new(file, claimed_size_bytes)))
        };
        Ok(Opened::with_header(header, payload))
    }
}

fn read_header(file: &mut File, out: &mut [u8]) -> Result<(), ObjectError> {
    file.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ObjectError::File {
            field: "length of the object",
            expected: "a whole header".into(),
            found: "less".into(),
        },
        _ => error.into(),
    })
}

/// Reads content objects into inodes of a tree, and offers the large ones to a sink.
pub(super) struct ContentReader<'a> {
    pub(super) repository: &'a Repository,
    pub(super) threshold_bytes: u32,
    pub(super) spool: &'a Spool<'a>,
    pub(super) sink: &'a dyn ObjectSink,
}

impl ContentReader<'_> {
    /// Reads and verifies one object. `buffer` is only memory to use again.
    pub(super) fn read(
        &self,
        checksum: &Sha256Digest,
        buffer: &mut Vec<u8>,
    ) -> Result<(Metadata, Kind), ObjectError> {
        let Opened {
            header,
            alternative,
            mut payload,
        } = self.repository.open_content(checksum)?;
        let is_symlink = header.is_symlink();
        let mut hasher = ContentHasher::new(header, alternative);
        if is_symlink {
            let (attributes, target) = hasher.verify(checksum)?.into_parts();
            let kind = Kind::Symlink(target.unwrap_or_default());
            return Ok((attributes.into_metadata()?, kind));
        }
        let most = (MAX_HELD_BYTES_TOTAL / rayon::current_num_threads())
            .clamp(self.threshold_bytes as usize, MAX_HELD_BYTES);
        read_up_to(&mut payload, most.saturating_add(1), buffer)?;
        hasher.update(buffer);
        let (header, content) = if buffer.len() > most {
            self.read_large(checksum, payload, hasher, buffer)?
        } else {
            let header = hasher.verify(checksum)?;
            (header, self.keep(checksum, buffer)?)
        };
        let (attributes, _) = header.into_parts();
        Ok((attributes.into_metadata()?, Kind::Regular(content)))
    }

    /// What becomes of a file that is in memory and verified.
    fn keep(&self, checksum: &Sha256Digest, bytes: &[u8]) -> Result<FileContent, ObjectError> {
        if bytes.len() <= self.threshold_bytes as usize {
            let kept = self.spool.keep(&mut bytes.to_vec());
            let kept = kept.map_err(ObjectError::Spool)?;
            return Ok(FileContent::Inline(kept.part(0..bytes.len())));
        }
        let digest = compute_verity_digest(bytes);
        self.offer(checksum, digest, bytes.len() as u64, Some(bytes))
    }

    /// Reads the rest of a file of which the beginning is in `buffer` and hashed.
    fn read_large(
        &self,
        checksum: &Sha256Digest,
        mut payload: Payload,
        mut hasher: ContentHasher,
        buffer: &mut Vec<u8>,
    ) -> Result<(FileHeader, FileContent), ObjectError> {
        let mut verity = VerityHasher::new();
        verity.update(buffer);
        let mut size_bytes = buffer.len() as u64;
        loop {
            read_up_to(&mut payload, CHUNK_BYTES, buffer)?;
            if buffer.is_empty() {
                break;
            }
            hasher.update(buffer);
            verity.update(buffer);
            size_bytes = size_bytes.saturating_add(buffer.len() as u64);
        }
        let header = hasher.verify(checksum)?;
        let content = self.offer(checksum, verity.finish(), size_bytes, None)?;
        Ok((header, content))
    }

    /// Gives the sink a verified file that it does not have; one that is not in memory is read
    /// again, and then it is the sink that compares the digest.
    fn offer(
        &self,
        checksum: &Sha256Digest,
        digest: VerityDigest,
        size_bytes: u64,
        held: Option<&[u8]>,
    ) -> Result<FileContent, ObjectError> {
        let sink_error = |source| ObjectError::Sink { digest, source };
        if !self.sink.has(&digest, size_bytes).map_err(sink_error)? {
            let mut again;
            let content = if let Some(bytes) = held {
                ObjectContent::Hashed(bytes)
            } else {
                again = self.repository.open_content(checksum)?.payload;
                ObjectContent::Stream(&mut again)
            };
            self.sink
                .add(&digest, size_bytes, content)
                .map_err(sink_error)?;
        }
        Ok(FileContent::External { digest, size_bytes })
    }
}

fn read_up_to(payload: &mut Payload, max: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    payload.take(max as u64).read_to_end(buffer)?;
    Ok(())
}

/// The content checksum: the header, then the bytes.
struct ContentHasher {
    candidates: Vec<(FileHeader, Sha256)>,
}

impl ContentHasher {
    fn new(header: FileHeader, alternative: Option<FileHeader>) -> Self {
        let start = |header: FileHeader| {
            let hasher = Sha256::new_with_prefix(header.encode());
            (header, hasher)
        };
        Self {
            candidates: [Some(header), alternative]
                .into_iter()
                .flatten()
                .map(start)
                .collect(),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        for (_, hasher) in &mut self.candidates {
            hasher.update(bytes);
        }
    }

    /// The header that was hashed.
    fn verify(self, checksum: &Sha256Digest) -> Result<FileHeader, ObjectError> {
        let mut first = None;
        for (header, hasher) in self.candidates {
            let found = Sha256Digest::from_bytes(hasher.finalize().into());
            if found == *checksum {
                return Ok(header);
            }
            first.get_or_insert(found);
        }
        let found = first.expect("there is at least one candidate");
        Err(ObjectError::Checksum { found })
    }
}
