// SPDX-License-Identifier: MIT OR Apache-2.0
//! One entry of an `/etc` made the release's default again.

use std::io;

use sealroot_format::tree::{FileContent, Inode, Kind, Tree};

use super::error::{EtcError, text_of};
use crate::release::open_verified_object;
use crate::store::{FileKind, KernelIo, Store, StoreIo, StorePath, again, failed, write_all};

/// What a new file is called until it is complete.
const UNDER_CONSTRUCTION: &str = ".sealroot-reset";

/// Makes the entry at `path`, below `/etc`, what it is in `default`: a file or symlink as a whole,
/// of a directory only owner, permissions and the like. `etc` is the directory to change; large
/// files come from `store`. The old file is there until the new one is, durable.
pub fn reset(
    etc: &KernelIo,
    default: &Tree,
    store: &Store,
    path: &StorePath,
) -> Result<(), EtcError> {
    let shown = || text_of(path.as_bytes());
    let names = path.as_bytes().split(|byte| *byte == b'/');
    let id = default.lookup(names);
    let id = id.ok_or_else(|| EtcError::NotInDefault { path: shown() })?;
    let inode = default.inode(id);
    let (parent, name) = path.split().ok_or(EtcError::NoDefault)?;
    let entries = again(|| etc.list(&parent)).map_err(failed(etc, "list", &parent))?;
    let found = entries.iter().find(|entry| *entry.name == *name);
    let is_directory = inode.as_directory().is_some();
    match found.map(|entry| entry.kind) {
        Some(FileKind::Directory) if is_directory => {}
        None if is_directory => {
            again(|| etc.create_directory(path)).map_err(failed(etc, "create", path))?;
        }
        Some(kind) if is_directory || kind == FileKind::Directory => {
            return Err(EtcError::InTheWay {
                path: shown(),
                found: kind.name(),
            });
        }
        _ => return replace(etc, store, &parent, path, inode),
    }
    set_attributes(etc, path, inode)?;
    Ok(again(|| etc.sync_directory(&parent)).map_err(failed(etc, "sync", &parent))?)
}

fn replace(
    etc: &KernelIo,
    store: &Store,
    parent: &StorePath,
    path: &StorePath,
    inode: &Inode,
) -> Result<(), EtcError> {
    let aside = parent
        .join(UNDER_CONSTRUCTION)
        .ok_or_else(|| EtcError::TooLong {
            path: text_of(path.as_bytes()),
        })?;
    match again(|| etc.remove_file(&aside)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(failed(etc, "remove", &aside))?,
    }
    match &inode.kind {
        Kind::Regular(content) => {
            let bytes = read(store, path, content)?;
            let file = again(|| etc.create_unnamed(parent));
            let file = file.map_err(failed(etc, "create", path))?;
            write_all(&bytes, |part| etc.write(&file, part)).map_err(failed(etc, "write", path))?;
            again(|| etc.link(&file, &aside)).map_err(failed(etc, "create", &aside))?;
            set_attributes(etc, &aside, inode)?;
            again(|| etc.sync_file(&file)).map_err(failed(etc, "sync", path))?;
        }
        Kind::Symlink(target) => {
            let made = again(|| etc.create_symlink(&aside, target));
            made.map_err(failed(etc, "create", &aside))?;
            set_attributes(etc, &aside, inode)?;
        }
        _ => {
            let path = text_of(path.as_bytes());
            return Err(EtcError::NotInDefault { path });
        }
    }
    let renamed = again(|| etc.rename(&aside, path, crate::store::OnTaken::Replace));
    renamed.map_err(failed(etc, "replace", path))?;
    Ok(again(|| etc.sync_directory(parent)).map_err(failed(etc, "sync", parent))?)
}

fn set_attributes(etc: &KernelIo, path: &StorePath, inode: &Inode) -> Result<(), EtcError> {
    let set = again(|| etc.set_attributes(path, &inode.metadata));
    Ok(set.map_err(failed(etc, "set the attributes of", path))?)
}

fn read(store: &Store, path: &StorePath, content: &FileContent) -> Result<Vec<u8>, EtcError> {
    match content {
        FileContent::Inline(content) => content.read().map_err(|source| EtcError::Content {
            path: text_of(path.as_bytes()),
            source,
        }),
        FileContent::External { digest, size_bytes } => {
            let object = open_verified_object(store, digest, *size_bytes)?;
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut object.reader(), &mut bytes)
                .map_err(|error| object.unreadable(error))?;
            Ok(bytes)
        }
    }
}
