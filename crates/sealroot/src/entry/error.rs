// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with boot entries.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use sealroot_format::ErrorClass;
use sealroot_format::digest::Sha256Digest;

use crate::boot_manager::BootManagerError;
use crate::store::FileKind;

/// Why what boots could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The filesystem refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The boot partition has no room; nothing was written.
    #[error(
        "{} is too full: {needed_bytes} bytes are needed, {available_bytes} are available and \
         {freeable_bytes} more could be freed; everything else there is needed to boot or not ours",
        location.display()
    )]
    NoSpace {
        /// The boot partition.
        location: PathBuf,
        /// What the new kernel, initramfs and entry take.
        needed_bytes: u64,
        /// What is free.
        available_bytes: u64,
        /// What removing kernels that no kept entry names would free.
        freeable_bytes: u64,
    },
    /// There is no boot partition.
    #[error("no boot loader below {}: looked in efi, boot/efi and boot", sysroot.display())]
    NoBootLoader {
        /// The sysroot.
        sysroot: PathBuf,
    },
    /// The boot loader does not read boot entries.
    #[error("{found} does not read boot entries (Boot Loader Specification, type 1): {advice}")]
    UnsupportedLoader {
        /// The loader and where it was found.
        found: String,
        /// The way out.
        advice: &'static str,
    },
    /// There are several boot loaders, and nothing says which of them starts.
    #[error("several boot loaders were found: {}; say which one starts this machine", found.join(", "))]
    SeveralLoaders {
        /// Which, and where.
        found: Vec<String>,
    },
    /// The loader does not count tries.
    #[error(
        "{loader} does not count how often it tries an entry; systemd-boot does, and the firmware up to 1"
    )]
    NoCounting {
        /// The loader.
        loader: &'static str,
    },
    /// The loader starts no images by entries.
    #[error(
        "{loader} starts no unified kernel image by a boot entry; systemd-boot and the firmware do"
    )]
    NoImages {
        /// The loader.
        loader: &'static str,
    },
    /// The firmware starts no kernel with an initramfs.
    #[error(
        "the firmware starts unified kernel images only, and this is a kernel with its initramfs"
    )]
    NoKernels,
    /// The firmware tries an entry once.
    #[error("the firmware tries a new entry once and then goes back; found {found} tries")]
    OneTry {
        /// How often it was to be tried.
        found: u32,
    },
    /// The firmware's boot manager could not be read or changed.
    #[error(transparent)]
    BootManager(#[from] BootManagerError),
    /// A kernel argument cannot be used.
    #[error("kernel argument {argument:?}: {reason}")]
    Argument {
        /// The argument.
        argument: String,
        /// Why not.
        reason: String,
    },
    /// A title cannot be used.
    #[error("title {title:?}: expected one line of 1 to 200 bytes without control characters")]
    Title {
        /// The title.
        title: String,
    },
    /// A name that must be a regular file is something else.
    #[error("{} is {}, expected a regular file", path.display(), found.name())]
    NotRegular {
        /// The name.
        path: PathBuf,
        /// What it is.
        found: FileKind,
    },
    /// A file is larger than it may be.
    #[error("{} has {found_bytes} bytes, expected at most {max_bytes}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found_bytes: u64,
        /// What it may have.
        max_bytes: u64,
    },
    /// A directory has more names than may be looked at.
    #[error("{} has {found} names, expected at most {max}", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// How many.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// The files of an entry are not there as they were.
    #[error("what boots in {} is {found}, expected the digest {expected}", path.display())]
    DamagedFiles {
        /// Their directory.
        path: PathBuf,
        /// What they should be.
        expected: Sha256Digest,
        /// What they are.
        found: String,
    },
    /// A kernel or initramfs could not be read, or changed while it was.
    #[error("cannot read the {what} to boot")]
    Source {
        /// Which.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// There is no such entry.
    #[error("there is no boot entry {name}")]
    NoEntry {
        /// What was looked for.
        name: String,
    },
    /// Nothing would be left to boot.
    #[error("without the entries {} nothing would be left to boot", names.join(", "))]
    NothingLeft {
        /// What was to be removed.
        names: Vec<String>,
    },
    /// An entry cannot be read, so what it uses is not known.
    #[error("what the boot entry {} uses is not known: {reason}", path.display())]
    Unreadable {
        /// The entry.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
    /// All generations were used.
    #[error("the boot entry {name} has the highest generation there is")]
    NoGenerationLeft {
        /// The entry.
        name: String,
    },
}

impl EntryError {
    /// Whether it says that something is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it says that a name is no regular file of a size that is read, but something that is
    /// there and stays so.
    pub(super) fn is_no_small_file(&self) -> bool {
        match self {
            Self::NotRegular { .. } | Self::TooLarge { .. } => true,
            Self::Io { source, .. } => Errno::from_io_error(source) == Some(Errno::LOOP),
            _ => false,
        }
    }

    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Io { .. } | Self::NoSpace { .. } | Self::Source { .. } => ErrorClass::Io,
            Self::NoBootLoader { .. } | Self::NoEntry { .. } => ErrorClass::NotFound,
            Self::UnsupportedLoader { .. }
            | Self::NoCounting { .. }
            | Self::NoImages { .. }
            | Self::NoKernels
            | Self::NoGenerationLeft { .. } => ErrorClass::Unsupported,
            Self::SeveralLoaders { .. }
            | Self::OneTry { .. }
            | Self::Argument { .. }
            | Self::Title { .. }
            | Self::NothingLeft { .. } => ErrorClass::Usage,
            Self::BootManager(error) => error.class(),
            Self::NotRegular { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Unreadable { .. }
            | Self::DamagedFiles { .. } => ErrorClass::Corrupt,
        }
    }
}
