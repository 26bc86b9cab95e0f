// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content objects as each mode of repository keeps them on disk: a header and the bytes.

use std::fs::File;
use std::io::{self, Read};

use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits;
use sealroot_format::tree::Xattr;

use super::error::ObjectError;
use super::format::{ArchiveHeader, Attributes, FileHeader, parse_xattrs};
use super::inflate::Inflate;
use super::repository::{Mode, Repository};
use super::xattrs;

/// Deflate makes at most this many bytes of one; more is a lie that need not be read to the end.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// A content object that is open, not verified.
pub(super) struct Opened {
    pub(super) header: FileHeader,
    /// What may have been hashed instead of the header.
    ///
    /// OSTree hashed xattrs in the order of the object until 2025.1, and sorted since, while an
    /// object's own header may still have them in another order. And of a file on disk it does
    /// not see xattrs with an empty value, so they count only if another program made the object.
    pub(super) alternative: Option<FileHeader>,
    pub(super) payload: Payload,
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
pub(super) enum Payload {
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
    /// Opens a content object. Nothing is verified: only what is hashed can be.
    pub(super) fn open_content(&self, checksum: &Sha256Digest) -> Result<Opened, ObjectError> {
        match self.mode() {
            Mode::Bare | Mode::BareUserOnly | Mode::BareSplitXattrs => self.open_bare(checksum),
            Mode::BareUser => self.open_bare_user(checksum),
            Mode::Archive => self.open_archive(checksum),
        }
    }

    fn open_bare(&self, checksum: &Sha256Digest) -> Result<Opened, ObjectError> {
        if let Some((link, stat)) = self.open_symlink(checksum, "file")? {
            let target = rustix::fs::readlinkat(&link, "", Vec::new())?.into_bytes();
            let attributes =
                self.attributes_of_inode(checksum, &stat, || xattrs::of_symlink(&link))?;
            let header = FileHeader::new(attributes, Some(target.into()))?;
            return Ok(self.opened_inode(header, Payload::None));
        }
        let (file, stat) = self.open_regular(checksum, "file")?;
        let attributes = self.attributes_of_inode(checksum, &stat, || xattrs::of_file(&file))?;
        let header = FileHeader::new(attributes, None)?;
        Ok(self.opened_inode(header, Payload::Plain(file)))
    }

    /// What an inode that is an object says of the file: all of it, or what the mode keeps there.
    fn attributes_of_inode(
        &self,
        checksum: &Sha256Digest,
        stat: &rustix::fs::Stat,
        xattrs: impl FnOnce() -> rustix::io::Result<Vec<Xattr>>,
    ) -> Result<Attributes, ObjectError> {
        let mode = stat.st_mode;
        if self.mode() == Mode::BareUserOnly {
            // Owner, group and xattrs are not kept: the object is the committer's only if these
            // were the canonical ones, which the checksum then says.
            return Ok(Attributes {
                uid: 0,
                gid: 0,
                mode,
                xattrs: Vec::new(),
            });
        }
        Ok(Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode,
            xattrs: match self.mode() {
                Mode::BareSplitXattrs => self.read_split_xattrs(checksum)?,
                _ if self.config.ignore_xattrs => Vec::new(),
                _ => xattrs()?,
            },
        })
    }

    /// The xattrs that stand beside an object. The object's own checksum covers them.
    fn read_split_xattrs(&self, checksum: &Sha256Digest) -> Result<Vec<Xattr>, ObjectError> {
        const MAX: u64 = limits::MAX_OSTREE_HEADER_BYTES as u64;
        let (file, _) = match self.open_regular(checksum, "file-xattrs-link") {
            Err(ObjectError::Missing) => return Err(ObjectError::MissingXattrs),
            result => result?,
        };
        let mut bytes = Vec::new();
        file.take(MAX.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX {
            return Err(ObjectError::File {
                field: "size of its xattrs",
                expected: format!("at most {MAX} bytes"),
                found: "more".into(),
            });
        }
        Ok(parse_xattrs(&bytes)?)
    }

    fn opened_inode(&self, header: FileHeader, payload: Payload) -> Opened {
        match self.mode() {
            Mode::BareSplitXattrs => Opened::with_header(header, payload),
            _ => Opened::with_inode(header, payload),
        }
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
