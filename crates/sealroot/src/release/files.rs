// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single files of a release, and its kernel.

use std::{fmt, io};

use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::{Entry, EntryKind, Pack, PackError};

use super::{ReleaseError, open_verified_object};
use crate::initramfs::ModuleFiles;
use crate::store::{Store, StoredFile};

/// Where a tree has its kernels, one directory for each version.
const KERNELS: &str = "usr/lib/modules";

/// The kernel in such a directory, and what its initramfs may be called there.
const LINUX: &str = "vmlinuz";
const INITRAMFS: [&str; 2] = ["initramfs.img", "initramfs"];

/// Most bytes of a list of modules, or of a module, that is read into memory.
const MAX_MODULE_BYTES: u64 = 256 << 20;

/// A release's files: the small ones are in its pack, the large ones in the store.
#[derive(Clone, Copy)]
pub struct ReleaseFiles<'r> {
    store: &'r Store,
    pack: &'r Pack<&'r dyn ReadAt>,
}

impl fmt::Debug for ReleaseFiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("ReleaseFiles");
        fields.field("store", self.store).finish_non_exhaustive()
    }
}

/// A regular file of a release, open. What is read is verified, by the kernel or when it was
/// opened.
pub struct ReleaseFile<'r>(Content<'r>);

impl fmt::Debug for ReleaseFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::Small { size_bytes, .. } => f.debug_tuple("Small").field(size_bytes).finish(),
            Content::Object(file) => f.debug_tuple("Object").field(file).finish(),
        }
    }
}

enum Content<'r> {
    Small {
        pack: &'r Pack<&'r dyn ReadAt>,
        entry: Box<Entry>,
        size_bytes: u64,
    },
    Object(StoredFile<'r>),
}

/// The kernel of a release.
#[derive(Debug)]
pub struct ReleaseKernel<'r> {
    /// Its version, as `uname -r` has it.
    pub version: String,
    /// The kernel image.
    pub linux: ReleaseFile<'r>,
    /// The initramfs that the tree brings, if it does.
    pub initramfs: Option<ReleaseFile<'r>>,
    files: ReleaseFiles<'r>,
}

impl<'r> ReleaseFiles<'r> {
    /// The files that a pack names, which was opened from verified bytes
    /// ([`super::open_pack_bytes`]).
    pub fn new(store: &'r Store, pack: &'r Pack<&'r dyn ReadAt>) -> Self {
        Self { store, pack }
    }

    /// Opens a regular file; `None` if there is none at that path. Symbolic links are not
    /// followed.
    pub fn open(&self, path: &str) -> Result<Option<ReleaseFile<'r>>, ReleaseError> {
        let Some(entry) = self.lookup(path)? else {
            return Ok(None);
        };
        Ok(match entry.kind {
            EntryKind::Inline { size_bytes } => Some(ReleaseFile(Content::Small {
                pack: self.pack,
                size_bytes,
                entry: Box::new(entry),
            })),
            EntryKind::External { digest, size_bytes } => Some(ReleaseFile(Content::Object(
                open_verified_object(self.store, &digest, size_bytes)?,
            ))),
            _ => None,
        })
    }

    /// The names in a directory; none if there is no such directory.
    pub fn names(&self, path: &str) -> Result<Vec<Box<[u8]>>, ReleaseError> {
        let Some(entry) = self.lookup(path)? else {
            return Ok(Vec::new());
        };
        let names = self.pack.names(&entry).map(|name| Ok(name?.name));
        names.collect::<Result<_, _>>().map_err(ReleaseError::Tree)
    }

    /// The kernel of that version, which a release's statement may name, or the only one there
    /// is.
    pub fn kernel(&self, version: Option<&str>) -> Result<ReleaseKernel<'r>, ReleaseError> {
        let mut versions = match version {
            Some(version) => vec![version.to_owned()],
            None => self.kernel_versions()?,
        };
        let no_kernel = |version: &str| ReleaseError::NoKernel {
            path: format!("{KERNELS}/{version}/{LINUX}"),
        };
        let only = versions.pop().ok_or_else(|| no_kernel("*"))?;
        if !versions.is_empty() {
            versions.push(only);
            return Err(ReleaseError::SeveralKernels { versions });
        }
        let directory = format!("{KERNELS}/{only}");
        let linux = self.open(&format!("{directory}/{LINUX}"))?;
        let mut initramfs = None;
        for name in INITRAMFS {
            if initramfs.is_none() {
                initramfs = self.open(&format!("{directory}/{name}"))?;
            }
        }
        Ok(ReleaseKernel {
            linux: linux.ok_or_else(|| no_kernel(&only))?,
            initramfs,
            version: only,
            files: *self,
        })
    }

    fn kernel_versions(&self) -> Result<Vec<String>, ReleaseError> {
        let mut versions = Vec::new();
        for name in self.names(KERNELS)? {
            if let Ok(version) = std::str::from_utf8(&name)
                && self
                    .lookup(&format!("{KERNELS}/{version}/{LINUX}"))?
                    .is_some()
            {
                versions.push(version.to_owned());
            }
        }
        Ok(versions)
    }

    fn lookup(&self, path: &str) -> Result<Option<Entry>, ReleaseError> {
        let components = path.split('/').filter(|name| !name.is_empty());
        let found = self.pack.lookup(components.map(str::as_bytes));
        found.map_err(ReleaseError::Tree)
    }
}

impl ReadAt for ReleaseFile<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        match &self.0 {
            Content::Object(file) => file.read_exact_at(buf, offset_bytes),
            Content::Small { pack, entry, .. } => {
                let mut filled = 0;
                while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                    let invalid =
                        |error: PackError| io::Error::new(io::ErrorKind::InvalidData, error);
                    let at = offset_bytes.saturating_add(filled as u64);
                    match pack.read(entry, at, rest).map_err(invalid)? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        read => filled = filled.saturating_add(read),
                    }
                }
                Ok(())
            }
        }
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(match &self.0 {
            Content::Object(file) => file.size_bytes(),
            Content::Small { size_bytes, .. } => *size_bytes,
        })
    }
}

impl ReleaseFile<'_> {
    /// All of it.
    ///
    /// # Errors
    ///
    /// Besides those of reading it, [`io::ErrorKind::FileTooLarge`] if it has more than
    /// `max_bytes`.
    pub fn read(&self, max_bytes: u64) -> io::Result<Vec<u8>> {
        let size_bytes = self.size_bytes()?;
        if size_bytes > max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = vec![0; usize::try_from(size_bytes).unwrap_or_default()];
        self.read_exact_at(&mut content, 0)?;
        Ok(content)
    }

    /// Reads it from its beginning.
    pub fn reader(&self) -> impl io::Read + '_ {
        Sequential {
            file: self,
            offset_bytes: 0,
        }
    }
}

struct Sequential<'f, 'r> {
    file: &'f ReleaseFile<'r>,
    offset_bytes: u64,
}

impl io::Read for Sequential<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest_bytes = self.file.size_bytes()?.saturating_sub(self.offset_bytes);
        let len = buffer
            .len()
            .min(usize::try_from(rest_bytes).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..len).unwrap_or_default();
        self.file.read_exact_at(part, self.offset_bytes)?;
        self.offset_bytes = self.offset_bytes.saturating_add(len as u64);
        Ok(len)
    }
}

/// The modules of the kernel, with their lists.
impl ModuleFiles for ReleaseKernel<'_> {
    fn location(&self) -> std::path::PathBuf {
        format!("<release>/{KERNELS}/{}", self.version).into()
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = format!("{KERNELS}/{}/{path}", self.version);
        let file = self.files.open(&path).map_err(io::Error::other)?;
        file.ok_or(io::ErrorKind::NotFound)?.read(MAX_MODULE_BYTES)
    }
}
