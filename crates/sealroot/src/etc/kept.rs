// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single files of `/etc` kept under `/var` for the next boot (docs/format/kept.md).
//!
//! What is kept here is checked by the code with which the boot program checks it.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sealroot_format::ErrorClass;
use sealroot_format::kept::{self, KEPT_DIRECTORY, KeptFile, Kind};
use sealroot_format::limits::{MAX_ACCOUNTS_BYTES, MAX_KEPT_FILE_BYTES};
use sealroot_format::tree::Metadata;

use super::error::{EtcError, text_of};
use crate::store::{FileKind, KernelIo, OnTaken, StoreIo, StorePath, again, failed, write_all};

/// What a new file is called until it is complete.
const UNDER_CONSTRUCTION: &str = ".sealroot-keep";

const ONLY_ROOTS_DIRECTORY: u16 = 0o700;
const ONLY_ROOTS_FILE: u16 = 0o600;

/// What the `/etc` below `root` has of a file, in the form in which it is kept.
pub fn read_present(root: &Path, file: &KeptFile) -> Result<Vec<u8>, EtcError> {
    let location = root.join("etc");
    let etc = KernelIo::open(&location).map_err(|source| EtcError::Content {
        path: String::new(),
        source,
    })?;
    let bytes = match file.kind {
        Kind::ZoneLink => read_zone(root, file)?,
        Kind::Shadow => {
            let shadow = read_bounded(&etc, &path_of(file.path_in_etc())?, MAX_ACCOUNTS_BYTES)?;
            let passwd = read_bounded(&etc, &path_of("passwd")?, MAX_ACCOUNTS_BYTES)?;
            kept::select_shadow(&shadow, &passwd)?
        }
        _ => read_bounded(&etc, &path_of(file.path_in_etc())?, MAX_KEPT_FILE_BYTES)?,
    };
    file.parse(&bytes)?;
    Ok(bytes)
}

/// What is kept of a file, as it is; `None` if nothing is. `var` is the machine's `/var`.
pub fn read_kept<I: StoreIo>(var: &I, file: &KeptFile) -> Result<Option<Vec<u8>>, EtcError> {
    let path = kept_path(file.name())?;
    match read_bounded(var, &path, MAX_KEPT_FILE_BYTES) {
        Err(EtcError::Store(error)) if error.class() == ErrorClass::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Keeps `bytes` as a file: whole and durable, or what was kept before.
pub fn keep<I: StoreIo>(var: &I, file: &KeptFile, bytes: &[u8]) -> Result<(), EtcError> {
    file.parse(bytes)?;
    let directory = make_directories(var)?;
    let aside = kept_path(UNDER_CONSTRUCTION)?;
    let path = kept_path(file.name())?;
    match again(|| var.remove_file(&aside)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(failed(var, "remove", &aside))?,
    }
    let new = again(|| var.create_unnamed(&directory)).map_err(failed(var, "create", &path))?;
    write_all(bytes, |part| var.write(&new, part)).map_err(failed(var, "write", &path))?;
    again(|| var.link(&new, &aside)).map_err(failed(var, "create", &aside))?;
    set_permissions(var, &aside, ONLY_ROOTS_FILE)?;
    again(|| var.sync_file(&new)).map_err(failed(var, "sync", &path))?;
    let renamed = again(|| var.rename(&aside, &path, OnTaken::Replace));
    renamed.map_err(failed(var, "replace", &path))?;
    Ok(again(|| var.sync_directory(&directory)).map_err(failed(var, "sync", &directory))?)
}

/// Keeps a file no more; whether it was kept.
pub fn forget<I: StoreIo>(var: &I, file: &KeptFile) -> Result<bool, EtcError> {
    let path = kept_path(file.name())?;
    match again(|| var.remove_file(&path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result.map_err(failed(var, "remove", &path))?,
    }
    let directory = path_of(KEPT_DIRECTORY)?;
    again(|| var.sync_directory(&directory)).map_err(failed(var, "sync", &directory))?;
    Ok(true)
}

fn path_of(path: &str) -> Result<StorePath, EtcError> {
    StorePath::new(path).ok_or_else(|| EtcError::TooLong { path: path.into() })
}

fn kept_path(name: &str) -> Result<StorePath, EtcError> {
    path_of(&format!("{KEPT_DIRECTORY}/{name}"))
}

fn set_permissions<I: StoreIo>(var: &I, path: &StorePath, mode: u16) -> Result<(), EtcError> {
    let metadata = Metadata {
        permissions: mode,
        ..Metadata::default()
    };
    let set = again(|| var.set_attributes(path, &metadata));
    Ok(set.map_err(failed(var, "set the attributes of", path))?)
}

/// The directory where files are kept, made where it is missing; the last one is root's alone.
fn make_directories<I: StoreIo>(var: &I) -> Result<StorePath, EtcError> {
    let mut parent = StorePath::root();
    for name in KEPT_DIRECTORY.split('/') {
        let path = parent
            .join(name)
            .ok_or_else(|| EtcError::TooLong { path: name.into() })?;
        match again(|| var.create_directory(&path)) {
            Ok(()) => {
                set_permissions(
                    var,
                    &path,
                    if name == "lib" {
                        0o755
                    } else {
                        ONLY_ROOTS_DIRECTORY
                    },
                )?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(var, "create", &path)(error).into()),
        }
        // Also of one that was there: its maker may have been stopped before this.
        again(|| var.sync_directory(&parent)).map_err(failed(var, "sync", &parent))?;
        parent = path;
    }
    Ok(parent)
}

/// A regular file, of which no more is read than is allowed.
fn read_bounded<I: StoreIo>(
    io: &I,
    path: &StorePath,
    limit_bytes: usize,
) -> Result<Vec<u8>, EtcError> {
    let (file, stat) = again(|| io.open(path)).map_err(failed(io, "open", path))?;
    if stat.kind != FileKind::Regular {
        return Err(EtcError::NotKeepable {
            path: shown(io, path),
            expected: "a regular file".to_owned(),
            found: stat.kind.name().to_owned(),
        });
    }
    // One more than allowed, so that it shows.
    let mut bytes = vec![0; limit_bytes + 1];
    let mut len = 0;
    while len < bytes.len() {
        let offset = len as u64;
        let read = again(|| io.read_at(&file, &mut bytes[len..], offset));
        match read.map_err(failed(io, "read", path))? {
            0 => break,
            more => len += more,
        }
    }
    if len > limit_bytes {
        return Err(EtcError::NotKeepable {
            path: shown(io, path),
            expected: format!("at most {limit_bytes} bytes"),
            found: "more".to_owned(),
        });
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn shown<I: StoreIo>(io: &I, path: &StorePath) -> String {
    format!("{}/{}", io.location().display(), text_of(path.as_bytes()))
}

/// The name of the time zone that a symlink leads to.
fn read_zone(root: &Path, file: &KeptFile) -> Result<Vec<u8>, EtcError> {
    let path = root.join("etc").join(file.path_in_etc());
    let refuse = |found: String| EtcError::NotKeepable {
        path: path.display().to_string(),
        expected: format!("a symlink to a file in /{}", kept::ZONES),
        found,
    };
    let target = match std::fs::read_link(&path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(refuse("a file of another kind".to_owned()));
        }
        result => result.map_err(|source| EtcError::Content {
            path: format!("/{}", file.path_in_etc()),
            source,
        })?,
    };
    let bytes = target.as_os_str().as_bytes();
    let zone = [b"/".as_slice(), b"../"].into_iter().find_map(|start| {
        let rest = bytes
            .strip_prefix(start)?
            .strip_prefix(kept::ZONES.as_bytes())?;
        rest.strip_prefix(b"/")
    });
    let zone = zone.ok_or_else(|| refuse(format!("one to {}", text_of(bytes))))?;
    Ok([zone, b"\n"].concat())
}
