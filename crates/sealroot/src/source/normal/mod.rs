// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree made easy to update: kernel modules and documentation, which distributions ship compressed,
//! as what they are. One changed letter then changes little, not all that follows.
//!
//! * here: which files that concerns, and what becomes of them while they are read;
//! * `depmod`: the lists of modules, which name them;
//! * `names`: names without the ending, and the symlinks to them, once the tree is there.

mod depmod;
mod names;

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use sealroot_format::tree::XattrSet;

use super::error::Fault;

pub(super) use names::rename;

/// Longest file that is decompressed, and longest that it may become, bytes: it is in memory.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The most memory that reading xz takes, KiB: the dictionary of `xz -9`, and tables.
const MAX_XZ_KIB: u32 = 68 * 1024;

/// Where modules are, and documentation.
const MODULES: [&[u8]; 2] = [b"usr/lib/modules/", b"lib/modules/"];
const DOCUMENTATION: [&[u8]; 3] = [b"usr/share/doc/", b"usr/share/info/", b"usr/share/man/"];

/// The signature of a file by the kernel's integrity subsystem.
const IMA: &[u8] = b"security.ima";

/// Why a file stays compressed that ought not to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NormalizeError {
    /// It is no such file, or damaged.
    #[error("it cannot be decompressed")]
    Decompress(#[source] io::Error),
    /// It is too long.
    #[error("decompressed it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// Its content is signed as it is.
    #[error("its xattr security.ima is a signature over what is compressed")]
    Signed,
    /// Another of its names says something else of it.
    #[error(
        "it is {:?} as well, where it would stay as it is",
        name.escape_ascii().to_string()
    )]
    OtherName {
        /// The other name, from the root.
        name: Box<[u8]>,
    },
    /// Something else has the name that it would get, or would get it too.
    #[error("{:?} is there too, and both would have one name", name.escape_ascii().to_string())]
    Taken {
        /// What that is called, in the same directory.
        name: Box<[u8]>,
    },
    /// It is not as `depmod` writes it.
    #[error("it is no index of modules as depmod writes them, version 2.1")]
    Index,
}

/// How something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Xz,
    Zstd,
}

impl Codec {
    const ALL: [Self; 3] = [Self::Gzip, Self::Xz, Self::Zstd];

    const fn ending(self) -> &'static [u8] {
        match self {
            Self::Gzip => b".gz",
            Self::Xz => b".xz",
            Self::Zstd => b".zst",
        }
    }

    fn decompress(self, bytes: &[u8]) -> Result<Vec<u8>, NormalizeError> {
        let (mut rest, mut content) = (bytes, Vec::new());
        if bytes.is_empty() {
            let error = io::ErrorKind::UnexpectedEof.into();
            return Err(NormalizeError::Decompress(error));
        }
        match self {
            Self::Gzip => append_all(&mut MultiGzDecoder::new(rest), &mut content)?,
            Self::Xz => {
                let mut reader = XzReader::new_mem_limit(rest, true, MAX_XZ_KIB);
                append_all(&mut reader, &mut content)?;
            }
            Self::Zstd => {
                while !rest.is_empty() {
                    let frame = StreamingDecoder::new(&mut rest).map_err(io::Error::other);
                    let mut frame = frame.map_err(NormalizeError::Decompress)?;
                    append_all(&mut frame, &mut content)?;
                }
            }
        }
        Ok(content)
    }
}

fn append_all(reader: &mut dyn Read, content: &mut Vec<u8>) -> Result<(), NormalizeError> {
    let room = MAX_BYTES - content.len() as u64;
    let read = reader.take(room + 1).read_to_end(content);
    if read.map_err(NormalizeError::Decompress)? as u64 > room {
        return Err(NormalizeError::TooLong);
    }
    Ok(())
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A module is decompressed, or the tree refused: lists name it as if it were.
    Module(Codec),
    /// Documentation is decompressed where that can be.
    Documentation(Codec),
    /// A list of modules names them by their new names.
    List,
    /// So does an index for programs.
    Index,
}

/// What becomes of the file at a path from the root, without a leading slash; `None` if nothing.
pub(super) fn change_of(path: &[u8]) -> Option<Change> {
    let below = |directories: &[&[u8]]| {
        let mut all = directories.iter();
        all.find_map(|directory| path.strip_prefix(*directory))
    };
    if let Some(below) = below(&MODULES) {
        let (_release, path) = split_at_slash(below)?;
        return match path {
            b"modules.dep" | b"modules.order" => Some(Change::List),
            b"modules.dep.bin" => Some(Change::Index),
            path => {
                let (without, codec) = split_ending(path)?;
                without.ends_with(b".ko").then_some(Change::Module(codec))
            }
        };
    }
    below(&DOCUMENTATION)?;
    let (_, codec) = split_ending(path)?;
    Some(Change::Documentation(codec))
}

fn split_at_slash(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().position(|byte| *byte == b'/')?;
    Some((&path[..at], &path[at + 1..]))
}

/// The path or name, which says that it is compressed, without saying so, and how it is. `None` if nothing would
/// be left of the name.
fn split_ending(path: &[u8]) -> Option<(&[u8], Codec)> {
    let mut all = Codec::ALL.into_iter();
    let (without, codec) =
        all.find_map(|codec| Some((path.strip_suffix(codec.ending())?, codec)))?;
    let name = without.rsplit(|byte| *byte == b'/').next()?;
    (!matches!(name, b"" | b"." | b"..")).then_some((without, codec))
}

/// Which other name in the directory of a compressed file leaves it no name without its ending.
pub(super) fn rival(path: &[u8], is_there: impl Fn(&[u8]) -> bool) -> Option<Box<[u8]>> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let (without, own) = split_ending(name)?;
    let others = Codec::ALL.into_iter().filter(|codec| *codec != own);
    let endings = others.map(Codec::ending).chain([&b""[..]]);
    let mut names = endings.map(|ending| [without, ending].concat());
    names.find(|name| is_there(name)).map(Vec::into_boxed_slice)
}

fn without_ending(path: &[u8]) -> Option<&[u8]> {
    split_ending(path).map(|(without, _)| without)
}

impl Change {
    /// Whether the name changes with the content.
    pub(super) const fn is_opened(self) -> bool {
        matches!(self, Self::Module(_) | Self::Documentation(_))
    }

    /// The new content; an error if the file stays as it is, which is for [`Self::is_needed`] to
    /// judge.
    pub(super) fn apply(self, bytes: &[u8], xattrs: &XattrSet) -> Result<Vec<u8>, NormalizeError> {
        if xattrs.iter().any(|xattr| *xattr.name == *IMA) {
            return Err(NormalizeError::Signed);
        }
        match self {
            Self::Module(codec) | Self::Documentation(codec) => codec.decompress(bytes),
            Self::List => Ok(depmod::list(bytes)),
            Self::Index => depmod::index(bytes).ok_or(NormalizeError::Index),
        }
    }

    /// Whether the tree is wrong without it.
    pub(super) const fn is_needed(self) -> bool {
        !matches!(self, Self::Documentation(_))
    }
}

impl From<NormalizeError> for Fault {
    fn from(error: NormalizeError) -> Self {
        Self::Normalize(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_becomes_of_a_file() {
        for (path, expected) in [
            (
                "usr/lib/modules/6.12/kernel/fs/ext4.ko.xz",
                Some(Change::Module(Codec::Xz)),
            ),
            (
                "lib/modules/6.12/updates/a.ko.zst",
                Some(Change::Module(Codec::Zstd)),
            ),
            ("usr/lib/modules/6.12/kernel/fs/ext4.ko", None),
            ("usr/lib/modules/6.12/vmlinux.xz", None),
            ("usr/lib/modules/6.12/modules.dep", Some(Change::List)),
            ("usr/lib/modules/6.12/modules.dep.bin", Some(Change::Index)),
            ("usr/lib/modules/6.12/modules.alias", None),
            ("usr/lib/modules/modules.dep", None),
            ("usr/lib/firmware/a.bin.xz", None),
            (
                "usr/share/man/de/man1/ls.1.gz",
                Some(Change::Documentation(Codec::Gzip)),
            ),
            ("usr/share/doc/.gz", None),
            ("usr/share/doc/...gz", None),
            ("usr/share/manual/ls.1.gz", None),
            ("srv/usr/share/doc/a.gz", None),
        ] {
            assert_eq!(change_of(path.as_bytes()), expected, "{path}");
        }
    }
}
