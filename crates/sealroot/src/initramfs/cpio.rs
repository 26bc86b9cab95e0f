// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cpio archives in the `newc` format, which the kernel unpacks as its first root filesystem
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of Linux).
//!
//! Owned by root, all times 0, inode numbers counted from 1, entries in the order of their paths:
//! the same entries give the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// What an entry is, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File { mode: u16, content: Vec<u8> },
    CharDevice { mode: u16, major: u32, minor: u32 },
}

/// An archive being put together: paths without a leading slash, and entries.
#[derive(Debug, Default)]
pub(super) struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds an entry and the directories above it. A second entry for a path replaces the first.
    pub(super) fn insert(&mut self, path: impl Into<String>, entry: Entry) {
        let path = path.into();
        for (at, _) in path.match_indices('/') {
            self.entries
                .entry(path[..at].to_owned())
                .or_insert(Entry::Directory);
        }
        self.entries.insert(path, entry);
    }

    /// Writes the archive and gives its length in bytes.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<u64> {
        let mut written_bytes = 0;
        for ((path, entry), inode) in self.entries.iter().zip(1..) {
            written_bytes += write_entry(out, path, inode, entry)?;
        }
        Ok(written_bytes + write_member(out, "TRAILER!!!", [0, 0, 1, 0, 0], &[])?)
    }
}

fn write_entry(out: &mut dyn Write, path: &str, inode: u32, entry: &Entry) -> io::Result<u64> {
    match entry {
        Entry::Directory => write_member(out, path, [inode, 0o040_755, 2, 0, 0], &[]),
        Entry::File { mode, content } => {
            let mode = 0o100_000 | u32::from(*mode);
            write_member(out, path, [inode, mode, 1, 0, 0], content)
        }
        Entry::CharDevice { mode, major, minor } => {
            let mode = 0o020_000 | u32::from(*mode);
            write_member(out, path, [inode, mode, 1, *major, *minor], &[])
        }
    }
}

/// One member: `fields` are inode, mode, links and the device number it stands for.
fn write_member(
    out: &mut dyn Write,
    path: &str,
    [inode, mode, links, major, minor]: [u32; 5],
    content: &[u8],
) -> io::Result<u64> {
    let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, format!("{path} for cpio"));
    let size_bytes = u32::try_from(content.len()).map_err(too_large)?;
    let name_bytes = u32::try_from(path.len() + 1).map_err(too_large)?;
    let mut header = b"070701".to_vec();
    let (owner, time, device, checksum) = (0, 0, 0, 0);
    for field in [
        inode, mode, owner, owner, links, time, size_bytes, device, device, major, minor,
        name_bytes, checksum,
    ] {
        write!(header, "{field:08X}")?;
    }
    header.extend_from_slice(path.as_bytes());
    header.push(0);
    Ok(write_padded(out, &header)? + write_padded(out, content)?)
}

/// Writes `bytes` and zeros up to the next multiple of 4.
fn write_padded(out: &mut dyn Write, bytes: &[u8]) -> io::Result<u64> {
    let padding = bytes.len().next_multiple_of(4) - bytes.len();
    out.write_all(bytes)?;
    out.write_all(&[0; 3][..padding])?;
    Ok((bytes.len() + padding) as u64)
}

/// The contents of the members of an archive, as far as it is one.
pub(crate) fn files(archive: &[u8]) -> Vec<&[u8]> {
    const HEADER_BYTES: usize = 110;
    let mut files = Vec::new();
    let mut rest = archive;
    loop {
        let header = rest
            .get(..HEADER_BYTES)
            .filter(|header| header.starts_with(b"070701"));
        let field = |index: usize| -> Option<usize> {
            let digits = header?.get(6 + 8 * index..14 + 8 * index)?;
            usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let next = || -> Option<(&[u8], &[u8])> {
            let start = (HEADER_BYTES + field(11)?).next_multiple_of(4);
            let end = start + field(6)?;
            Some((rest.get(start..end)?, rest.get(end.next_multiple_of(4)..)?))
        };
        let Some((content, behind)) = next() else {
            return files;
        };
        files.push(content);
        rest = behind;
    }
}
