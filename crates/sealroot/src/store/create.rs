// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a store, and opening one (docs/format/store.md 3).

use std::io;
use std::sync::atomic::AtomicU64;

use sealroot_format::digest::compute_verity_digest;
use sealroot_format::limits::MAX_STORE_CONFIG_BYTES;
use sealroot_sys::verity::MeasureVerityError;

use super::config::{self, ConfigFault, VeritySupport};
use super::error::StoreError;
use super::files::{again, failed, failed_needing, full_path, measure, read_small_on, write_all};
use super::io::{LockKind, StoreIo};
use super::path::{CONFIG_NAME, LOCK_NAME, StoreDir, StorePath, known};
use super::remote::REMOTE_NAME;
use super::staged::{enable_patiently, give_up_writing, unnamed_file};
use super::transaction::marker_path;
use super::unswept::UNSWEPT_NAME;
use super::{Store, Waiting, lock_on};

/// What the probe for fs-verity is made of.
const PROBE: &[u8] = b"Does this filesystem have fs-verity?\n";

impl<I: StoreIo> Store<I> {
    /// Opens the store in a directory.
    pub fn open_on(io: I) -> Result<Self, StoreError> {
        match read_config(&io)? {
            Some(verity) => Ok(Self::with(io, verity, false)),
            None => Err(StoreError::NotAStore {
                location: io.location().into(),
            }),
        }
    }

    /// Opens the store in a directory, making it first if there is none.
    ///
    /// Whether the filesystem has fs-verity is found out by enabling it on a file.
    pub fn open_or_create_on(io: I) -> Result<Self, StoreError> {
        if let Some(verity) = read_config(&io)? {
            return Ok(Self::with(io, verity, false));
        }
        if let Err(error) = check_room(&io) {
            // What was in the way may be a store that somebody else has made meanwhile.
            let verity = read_config(&io)?.ok_or(error)?;
            return Ok(Self::with(io, verity, false));
        }
        let lock = lock_on(&io, LockKind::Exclusive, &Waiting::default())?;
        let (verity, is_new) = match read_config(&io)? {
            // Somebody else was first.
            Some(verity) => (verity, false),
            None => (create(&io)?, true),
        };
        drop(lock);
        Ok(Self::with(io, verity, is_new))
    }

    fn with(io: I, verity: VeritySupport, is_new: bool) -> Self {
        Self {
            io,
            verity,
            is_new,
            waiting: Waiting::default(),
            asides: AtomicU64::new(0),
        }
    }
}

/// What `store.toml` says; `None` if there is none.
fn read_config<I: StoreIo>(io: &I) -> Result<Option<VeritySupport>, StoreError> {
    let path = known(CONFIG_NAME);
    let Some(bytes) = read_small_on(io, &path, MAX_STORE_CONFIG_BYTES)? else {
        return Ok(None);
    };
    let verity = config::parse(&bytes).map_err(|fault| {
        let path = full_path(io, &path);
        match fault {
            ConfigFault::Version(found) => StoreError::Version { path, found },
            ConfigFault::Invalid(reason) => StoreError::Config { path, reason },
        }
    })?;
    if verity == VeritySupport::Kernel {
        check_verity(io, &path)?;
    }
    Ok(Some(verity))
}

/// That a store which promises fs-verity is still on a filesystem that has it: asking for the
/// digest of any file tells.
fn check_verity<I: StoreIo>(io: &I, path: &StorePath) -> Result<(), StoreError> {
    let (file, _) = again(|| io.open(path)).map_err(failed(io, "open", path))?;
    match measure(io, &file) {
        Ok(_) | Err(MeasureVerityError::NotEnabled) => Ok(()),
        Err(error) if error.is_unsupported() => Err(StoreError::VerityLost {
            location: io.location().into(),
        }),
        Err(source) => Err(StoreError::MeasureVerity {
            path: full_path(io, path),
            source,
        }),
    }
}

/// That there is nothing in the directory but what is part of a store.
fn check_room<I: StoreIo>(io: &I) -> Result<(), StoreError> {
    let root = StorePath::root();
    let entries = again(|| io.list(&root)).map_err(failed(io, "list", &root))?;
    // The last two are of a store that has lost its `store.toml`.
    let files = [LOCK_NAME, REMOTE_NAME, UNSWEPT_NAME];
    let ours = |name: &[u8]| {
        let names = StoreDir::ALL.map(StoreDir::name).into_iter().chain(files);
        names.map(str::as_bytes).any(|known| known == name)
    };
    match entries.iter().find(|entry| !ours(&entry.name)) {
        None => Ok(()),
        Some(entry) => Err(StoreError::NotEmpty {
            location: io.location().into(),
            found: entry.name.escape_ascii().to_string(),
        }),
    }
}

/// Makes the directories, then the file that makes them a store.
fn create<I: StoreIo>(io: &I) -> Result<VeritySupport, StoreError> {
    let root = StorePath::root();
    let marker = marker_path();
    for path in StoreDir::ALL.map(StoreDir::path).iter().chain([&marker]) {
        match again(|| io.create_directory(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(failed(io, "create", path))?,
        }
    }
    let verity = probe_verity(io)?;

    let path = known(CONFIG_NAME);
    let file = write_unnamed(io, &path, config::render(verity).as_bytes())?;
    again(|| io.sync_filesystem()).map_err(failed(io, "sync", &root))?;
    again(|| io.link(&file, &path)).map_err(failed(io, "create", &path))?;
    again(|| io.sync_directory(&root)).map_err(failed(io, "sync", &root))?;
    again(|| io.remove_directory(&marker)).map_err(failed(io, "remove", &marker))?;
    Ok(verity)
}

/// Enables fs-verity on a file that nobody will miss.
fn probe_verity<I: StoreIo>(io: &I) -> Result<VeritySupport, StoreError> {
    let path = known("tmp/probe");
    let file = write_unnamed(io, &path, PROBE)?;
    let file = give_up_writing(io, &path, file)?;
    // An interrupted creation may have left its own.
    match again(|| io.remove_file(&path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(failed(io, "remove", &path))?,
    }
    again(|| io.link(&file, &path)).map_err(failed(io, "create", &path))?;
    let probed = enable_probe(io, &path, &file);
    again(|| io.remove_file(&path)).map_err(failed(io, "remove", &path))?;
    probed
}

fn enable_probe<I: StoreIo>(
    io: &I,
    path: &StorePath,
    file: &I::File,
) -> Result<VeritySupport, StoreError> {
    match enable_patiently(io, file) {
        Ok(()) => {}
        Err(error) if error.is_unsupported() => return Ok(VeritySupport::None),
        Err(source) => {
            return Err(StoreError::EnableVerity {
                path: full_path(io, path),
                source,
            });
        }
    }
    let expected = compute_verity_digest(PROBE);
    match measure(io, file) {
        Ok(Some(found)) if found == expected => Ok(VeritySupport::Kernel),
        Ok(found) => Err(StoreError::Damaged {
            path: full_path(io, path),
            reason: format!("the kernel measures {found:?}, expected {expected}"),
        }),
        Err(source) => Err(StoreError::MeasureVerity {
            path: full_path(io, path),
            source,
        }),
    }
}

/// A small new file without a name, not durable yet. `path` is for messages.
pub(crate) fn write_unnamed<I: StoreIo>(
    io: &I,
    path: &StorePath,
    bytes: &[u8],
) -> Result<I::File, StoreError> {
    let file = unnamed_file(io, StoreDir::Tmp)?;
    let needed = Some(bytes.len() as u64);
    let written = write_all(bytes, |rest| io.write(&file, rest));
    written.map_err(failed_needing(io, "write", path, needed))?;
    Ok(file)
}
