// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mode `integrity`: every object of a release hashed before the release is mounted, because
//! nothing will check it afterwards.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::{EntryKind, Pack, Visit};

use crate::hash::digest_of;
use crate::refusal::{Code, OrRefuse as _, Refusal};

/// Hashes all objects that a pack names, in the layers they will be read from.
pub(crate) fn check(pack: &File, layers: &[BorrowedFd<'_>]) -> Result<(), Refusal> {
    let malformed = |error| Refusal::of(Code::Pack, &error);
    let pack = Pack::open(pack).map_err(malformed)?;
    let mut seen = HashSet::new();
    let mut walk = pack.walk();
    while let Some(step) = walk.next().map_err(malformed)? {
        if let Visit::Entry(entry) = step.visit
            && let EntryKind::External { digest, size_bytes } = entry.kind
            && seen.insert(digest)
        {
            check_object(digest, size_bytes, layers)?;
        }
    }
    Ok(())
}

fn check_object(
    expected: VerityDigest,
    size_bytes: u64,
    layers: &[BorrowedFd<'_>],
) -> Result<(), Refusal> {
    let hex = expected.to_hex();
    let (prefix, rest) = hex.split_at_checked(2).unwrap_or_default();
    let path = format!("{prefix}/{rest}.file");
    let file = open(&path, layers)?;
    let stat = rustix::fs::fstat(&file).or_refuse(Code::Object, &path, "a regular file")?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || u64::try_from(stat.st_size) != Ok(size_bytes) {
        let wanted = format!("a regular file of {size_bytes} bytes");
        let found = format!("mode {:o} and {} bytes", stat.st_mode, stat.st_size);
        return Err(Refusal::new(Code::Object, path, wanted, found));
    }
    let digest = digest_of(&File::from(file), size_bytes).or_refuse(
        Code::Object,
        &path,
        "a readable file",
    )?;
    if digest == expected {
        return Ok(());
    }
    let wanted = format!("the fs-verity digest {expected}");
    Err(Refusal::new(Code::Object, path, wanted, digest))
}

/// The object in the first layer that has it: the one overlayfs takes.
fn open(path: &str, layers: &[BorrowedFd<'_>]) -> Result<OwnedFd, Refusal> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut result = Err(Errno::NOENT);
    for layer in layers {
        let flags = flags | OFlags::CLOEXEC;
        result = rustix::fs::openat2(layer, path, flags, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::NOENT)) {
            break;
        }
    }
    result.or_refuse(Code::Object, path, "a regular file")
}
