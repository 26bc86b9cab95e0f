// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content objects: regular files and symlinks, verified while they are read, unless a digest of the
//! whole tree does that.

use std::io::{self, Read};
use std::os::fd::AsFd as _;

use sealroot_format::digest::{Sha256Digest, VerityDigest, VerityHasher, compute_verity_digest};
use sealroot_format::tree::{FileContent, Kind, Metadata};
use sha2::{Digest, Sha256};

use super::error::ObjectError;
use super::format::FileHeader;
use super::open::{Opened, Payload};
use super::repository::{Mode, Repository};
use super::{FileCheck, ReadOptions};
use crate::object::{ObjectContent, ObjectSink};
use crate::spool::Spool;

/// The most bytes of one file held in memory; a larger one is read again if the sink wants it.
const MAX_HELD_BYTES: usize = 4 << 20;

/// The most bytes of files held in memory by all threads together.
const MAX_HELD_BYTES_TOTAL: usize = 24 << 20;

/// How much of a larger file is read and hashed at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Reads content objects into inodes of a tree, and offers the large ones to a sink.
pub(super) struct ContentReader<'a> {
    pub(super) repository: &'a Repository,
    pub(super) options: ReadOptions,
    pub(super) spool: &'a Spool<'a>,
    pub(super) sink: &'a dyn ObjectSink,
}

impl ContentReader<'_> {
    /// Reads one object and verifies what is to be verified. `buffer` is only memory to use again.
    pub(super) fn read(
        &self,
        checksum: &Sha256Digest,
        buffer: &mut Vec<u8>,
    ) -> Result<(Metadata, Kind), ObjectError> {
        match self.read_verified(checksum, buffer) {
            Err(ObjectError::Checksum { found })
                if self.repository.mode() == Mode::BareUserOnly =>
            {
                Err(ObjectError::NotCanonical { found })
            }
            result => result,
        }
    }

    fn read_verified(
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
        let mut hasher = ContentHasher::new(header, alternative, self.options.files);
        if !hasher.compares
            && let Some(content) = self.take_unread(&payload)?
        {
            let (attributes, _) = hasher.verify(checksum)?.into_parts();
            return Ok((attributes.into_metadata()?, Kind::Regular(content)));
        }
        if is_symlink {
            let (attributes, target) = hasher.verify(checksum)?.into_parts();
            let kind = Kind::Symlink(target.unwrap_or_default());
            return Ok((attributes.into_metadata()?, kind));
        }
        let most = (MAX_HELD_BYTES_TOTAL / rayon::current_num_threads())
            .clamp(self.options.threshold_bytes as usize, MAX_HELD_BYTES);
        read_up_to(&mut payload, most.saturating_add(1), buffer)?;
        hasher.update(buffer);
        let (header, content) = if buffer.len() > most {
            self.read_large(checksum, payload, hasher, buffer)?
        } else {
            let header = hasher.verify(checksum)?;
            (header, self.keep(checksum, &payload, buffer)?)
        };
        let (attributes, _) = header.into_parts();
        Ok((attributes.into_metadata()?, Kind::Regular(content)))
    }

    /// Gives the sink a large file as it is, of which nobody has read anything.
    fn take_unread(&self, payload: &Payload) -> Result<Option<FileContent>, ObjectError> {
        let Payload::Plain(file) = payload else {
            return Ok(None);
        };
        if file.metadata()?.len() <= u64::from(self.options.threshold_bytes) {
            return Ok(None);
        }
        let taken = self.sink.take_unread(file.as_fd());
        let external = |(digest, size_bytes)| FileContent::External { digest, size_bytes };
        Ok(taken.map_err(ObjectError::Take)?.map(external))
    }

    /// What becomes of a file that is in memory and verified.
    fn keep(
        &self,
        checksum: &Sha256Digest,
        payload: &Payload,
        bytes: &[u8],
    ) -> Result<FileContent, ObjectError> {
        if bytes.len() <= self.options.threshold_bytes as usize {
            let kept = self.spool.keep(&mut bytes.to_vec());
            let kept = kept.map_err(ObjectError::Spool)?;
            return Ok(FileContent::Inline(kept.part(0..bytes.len())));
        }
        let digest = compute_verity_digest(bytes);
        self.offer(checksum, payload, (digest, bytes.len() as u64), Some(bytes))
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
        let content = self.offer(checksum, &payload, (verity.finish(), size_bytes), None)?;
        Ok((header, content))
    }

    /// Gives the sink a verified file that it does not have: the file itself, if that is what the
    /// sink wants, or its content. What is not in memory is then read again, and it is the sink
    /// that compares the digest.
    fn offer(
        &self,
        checksum: &Sha256Digest,
        payload: &Payload,
        (digest, size_bytes): (VerityDigest, u64),
        held: Option<&[u8]>,
    ) -> Result<FileContent, ObjectError> {
        let sink_error = |source| ObjectError::Sink { digest, source };
        let is_there = self.sink.has(&digest, size_bytes).map_err(sink_error)?
            || match payload {
                Payload::Plain(file) => self
                    .sink
                    .take(&digest, size_bytes, file.as_fd())
                    .map_err(sink_error)?,
                Payload::None | Payload::Deflated(_) => false,
            };
        if !is_there {
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
    /// Whether the checksum is asked.
    compares: bool,
}

impl ContentHasher {
    /// Where only the checksum tells which header was committed, it is asked whatever `check` says.
    fn new(header: FileHeader, alternative: Option<FileHeader>, check: FileCheck) -> Self {
        let compares = check == FileCheck::Checksums || alternative.is_some();
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
            compares,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        if self.compares {
            for (_, hasher) in &mut self.candidates {
                hasher.update(bytes);
            }
        }
    }

    /// The header that was hashed; the only one there is, if the checksum is not asked.
    fn verify(self, checksum: &Sha256Digest) -> Result<FileHeader, ObjectError> {
        let mut first = None;
        for (header, hasher) in self.candidates {
            let found = Sha256Digest::from_bytes(hasher.finalize().into());
            if found == *checksum || !self.compares {
                return Ok(header);
            }
            first.get_or_insert(found);
        }
        let found = first.expect("there is at least one candidate");
        Err(ObjectError::Checksum { found })
    }
}
