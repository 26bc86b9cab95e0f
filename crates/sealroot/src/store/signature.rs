// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures of objects for the kernel's keyring `.fs-verity` (docs/format/store.md 12): kept beside
//! the objects, and handed to the kernel when a new object gets its fs-verity, which is the only
//! moment there is.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use sealroot_format::digest::VerityDigest;
use sealroot_format::limits::MAX_OBJECT_SIGNATURE_BYTES;
use sealroot_sys::verity::EnableVerityError;

use super::create::write_unnamed;
use super::durable::FEW;
use super::error::StoreError;
use super::files::{again, failed, full_path};
use super::io::{SignatureKeyring, StoreIo};
use super::path::{StorePath, object_path, object_signature_path};
use super::staged::{Target, patiently};
use super::{Store, Transaction};
use crate::monitor::Monitor;

impl<I: StoreIo> Store<I> {
    /// The signature that is kept of an object; `None` if there is none. It is not verified.
    pub fn read_object_signature(
        &self,
        digest: &VerityDigest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let path = object_signature_path(digest);
        self.read_small(&path, MAX_OBJECT_SIGNATURE_BYTES)
    }

    /// What the kernel would do with signatures of new objects.
    pub fn signature_keyring(&self) -> SignatureKeyring {
        self.io().signature_keyring()
    }
}

impl<I: StoreIo> Transaction<'_, I> {
    /// Keeps signatures of objects, in place of those that are there. They are durable with the
    /// transaction; the objects need not be there yet.
    pub fn write_object_signatures(
        &self,
        signatures: &[(VerityDigest, Vec<u8>)],
    ) -> Result<(), StoreError> {
        self.attempt(|| {
            let (store, io) = (self.store(), self.store().io());
            let mut files = Vec::new();
            for (digest, bytes) in signatures {
                let path = object_signature_path(digest);
                let found_bytes = bytes.len() as u64;
                if found_bytes > MAX_OBJECT_SIGNATURE_BYTES {
                    return Err(StoreError::TooLarge {
                        path: full_path(io, &path),
                        found_bytes,
                        max_bytes: MAX_OBJECT_SIGNATURE_BYTES,
                    });
                }
                if matches!(store.read_object_signature(digest), Ok(Some(found)) if found == *bytes)
                {
                    continue;
                }
                files.push((write_unnamed(io, &path, bytes)?, path));
            }
            if files.is_empty() {
                return Ok(());
            }
            self.mark()?;
            if files.len() > FEW {
                store.sync_all()?;
            } else {
                for (file, path) in &files {
                    again(|| io.sync_file(file)).map_err(failed(io, "sync", path))?;
                }
            }
            let mut named = files.iter();
            named.try_for_each(|(file, path)| self.name_signature(file, path))
        })
    }

    /// Gives a signature its name. Nothing relies on there being one at every moment.
    fn name_signature(&self, file: &I::File, path: &StorePath) -> Result<(), StoreError> {
        let io = self.store().io();
        let (directory, _) = path.split().expect("it is in a directory");
        // Once for a missing directory, once for one that is there.
        let mut attempts = 2;
        loop {
            match again(|| io.link(file, path)) {
                Ok(()) => {
                    self.dirty.add(directory);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts > 0 => {
                    self.store().create_directory(&directory, &self.dirty)?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {
                    self.remove_small(path)?;
                }
                Err(error) => return Err(failed(io, "create", path)(error)),
            }
            attempts -= 1;
        }
    }
}

/// How the new objects of a transaction get their signatures.
pub(super) struct Signing<'m> {
    monitor: &'m dyn Monitor,
    /// Whether the kernel has certificates; asked for at the first object.
    is_of_use: OnceLock<bool>,
    /// Whether it refused one: then no more are tried.
    is_refused: AtomicBool,
}

impl<'m> Signing<'m> {
    pub(super) fn new(monitor: &'m dyn Monitor) -> Self {
        Self {
            monitor,
            is_of_use: OnceLock::new(),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Whether signatures are looked for: then a digest must be known before fs-verity is enabled.
    pub(super) fn is_of_use<I: StoreIo>(&self, store: &Store<I>) -> bool {
        let ask = || store.signature_keyring() == SignatureKeyring::Filled;
        !self.is_refused.load(Ordering::Relaxed) && *self.is_of_use.get_or_init(ask)
    }

    /// Enables fs-verity on a new file, with the signature that is kept of it if it is an object and
    /// the kernel takes that. Where it does not, the object has none, and a warning says so.
    pub(super) fn enable<I: StoreIo>(
        &self,
        store: &Store<I>,
        file: &I::File,
        target: &Target,
    ) -> Result<(), StoreError> {
        let io = store.io();
        let not_enabled = |error| store.not_enabled(&target.path, target.size_bytes, error);
        if let Some(signature) = self.signature_of(store, target)? {
            match patiently(|| io.enable_signed_verity(file, &signature)) {
                Err(error) if error.is_about_signature() => {
                    self.warn_of_refusal(store, &target.digest, error);
                }
                enabled => return enabled.map_err(not_enabled),
            }
        }
        patiently(|| io.enable_verity(file)).map_err(not_enabled)
    }

    /// The signature that is to be tried. What cannot be one is none; what cannot be read is an
    /// error, since there is no second time.
    fn signature_of<I: StoreIo>(
        &self,
        store: &Store<I>,
        target: &Target,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.is_of_use(store) || target.path != object_path(&target.digest) {
            return Ok(None);
        }
        match store.read_object_signature(&target.digest) {
            Err(error @ (StoreError::TooLarge { .. } | StoreError::NotRegular { .. })) => {
                self.monitor.warn(format!(
                    "an object gets fs-verity without a signature, for its file is none: {error}"
                ));
                Ok(None)
            }
            read => read,
        }
    }

    fn warn_of_refusal<I: StoreIo>(
        &self,
        store: &Store<I>,
        digest: &VerityDigest,
        error: EnableVerityError,
    ) {
        self.is_refused.store(true, Ordering::Relaxed);
        let path = full_path(store.io(), &object_signature_path(digest));
        self.monitor.warn(format!(
            "the kernel refuses the signature {}: {error}; this object and those that follow get fs-verity \
             without theirs",
            path.display()
        ));
    }
}
