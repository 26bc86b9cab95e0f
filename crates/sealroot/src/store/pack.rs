// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packs, the images that boot them, and release statements: what lies in `pack/`. All are only bytes here.

use std::io::{self, BufWriter, Write};

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::limits::MAX_SIGN_FILE_BYTES;
use sealroot_format::sign::Name;

use super::error::StoreError;
use super::files::{again, failed, full_path};
use super::io::StoreIo;
use super::path::{
    ImageName, StoreDir, image_path, pack_path, parse_image_name, parse_pack_name,
    parse_statement_name, statement_path,
};
use super::presence::Presence;
use super::staged::{Known, Target};
use super::{Store, Transaction};

/// How much of a pack is collected before it is written, bytes.
const PACK_BUFFER_BYTES: usize = 256 * 1024;

impl<I: StoreIo> Store<I> {
    /// The statement of a commit in a stream and its signatures; `None` if there is none.
    ///
    /// The bytes are not verified.
    pub fn read_statement(
        &self,
        commit: &CommitId,
        stream: &Name,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_small(&statement_path(commit, stream), MAX_SIGN_FILE_BYTES as u64)
    }

    /// The commits and streams there are statements of, sorted.
    pub fn list_statements(&self) -> Result<Vec<(CommitId, Name)>, StoreError> {
        self.list_names(StoreDir::Pack, parse_statement_name)
    }

    /// The packs there are, sorted.
    pub fn list_packs(&self) -> Result<Vec<VerityDigest>, StoreError> {
        self.list_names(StoreDir::Pack, parse_pack_name)
    }

    /// The images there are, sorted.
    pub fn list_images(&self) -> Result<Vec<ImageName>, StoreError> {
        self.list_names(StoreDir::Pack, parse_image_name)
    }

    /// The names in a directory that mean something, sorted by what they mean.
    pub(crate) fn list_names<T: Ord>(
        &self,
        directory: StoreDir,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let path = directory.path();
        let entries = again(|| self.io.list(&path)).map_err(failed(&self.io, "list", &path))?;
        let mut parsed: Vec<T> = entries.iter().filter_map(|e| parse(&e.name)).collect();
        parsed.sort_unstable();
        Ok(parsed)
    }
}

impl<I: StoreIo> Transaction<'_, I> {
    /// Whether a pack is there and can be trusted.
    pub fn has_pack(&self, digest: &VerityDigest, size_bytes: u64) -> Result<bool, StoreError> {
        self.has_target(&Target {
            path: pack_path(digest),
            digest: *digest,
            size_bytes,
        })
    }

    fn has_target(&self, target: &Target) -> Result<bool, StoreError> {
        if self.is_distrusted(&target.path) {
            return Ok(false);
        }
        let size_bytes = Some(target.size_bytes);
        let look = || (self.store()).presence(&target.path, &target.digest, size_bytes);
        Ok(matches!(self.attempt(look)?, Presence::Trusted(_)))
    }

    /// Adds the pack that `write` writes, unless it is there already: then `write` is not called.
    /// All objects added before are durable first. Whether it was new.
    pub fn add_pack(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<bool, StoreError> {
        let target = Target {
            path: pack_path(digest),
            digest: *digest,
            size_bytes,
        };
        self.add_target(target, write)
    }

    /// Adds the image that `write` writes, unless it is there already: then `write` is not called. Everything added
    /// before, its pack above all, is durable first. Whether it was new.
    pub fn add_image(
        &self,
        name: &ImageName,
        size_bytes: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<bool, StoreError> {
        let target = Target {
            path: image_path(name),
            digest: name.image,
            size_bytes,
        };
        self.add_target(target, write)
    }

    fn add_target(
        &self,
        target: Target,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<bool, StoreError> {
        if self.has_target(&target)? {
            return Ok(false);
        }
        let staged = self.attempt(|| {
            let file = self.unnamed_file(StoreDir::Pack)?;
            self.store()
                .stage(file, target, Known::Claimed, &self.signing, |out| {
                    let mut out = BufWriter::with_capacity(PACK_BUFFER_BYTES, out);
                    write(&mut out)?;
                    out.flush()
                })
        })?;
        self.barrier()?;
        self.attempt(|| {
            self.mark()?;
            self.make_durable_and_link(&[staged])
        })?;
        Ok(true)
    }

    /// Writes the statement of a commit in a stream, replacing an earlier one at once and whole.
    /// Everything added before is durable first. Whether it was new or changed.
    pub fn write_statement(
        &self,
        commit: &CommitId,
        stream: &Name,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        let path = statement_path(commit, stream);
        if bytes.len() > MAX_SIGN_FILE_BYTES {
            return Err(StoreError::TooLarge {
                path: full_path(self.store().io(), &path),
                found_bytes: bytes.len() as u64,
                max_bytes: MAX_SIGN_FILE_BYTES as u64,
            });
        }
        self.barrier()?;
        self.attempt(|| {
            if self.store().read_statement(commit, stream)?.as_deref() == Some(bytes) {
                return Ok(false);
            }
            self.mark()?;
            self.replace_small(&path, bytes)?;
            Ok(true)
        })
    }
}
