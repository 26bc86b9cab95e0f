// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of others that become objects as they are: fs-verity is enabled on them in place and they
//! get a further name. Their content is never written (docs/format/store.md O7).

use std::os::fd::BorrowedFd;

use rustix::fs::FileType;
use sealroot_format::digest::VerityDigest;
use sealroot_sys::verity::{EnableVerityError, MeasureVerityError};

use super::config::VeritySupport;
use super::durable::held;
use super::error::StoreError;
use super::files::{again, failed, full_path, measure};
use super::io::{FileKind, StoreIo};
use super::path::{StoreDir, StorePath, known};
use super::presence::Fault;
use super::staged::{Staged, Target, enable_patiently};
use super::{Store, Transaction};

/// Files with as many names as this are not given more: ext4 stops at 65,000, and each deployment
/// wants one.
pub(crate) const MAX_LINKS_TO_TAKE: u64 = 60_000;

/// What became of a file that was offered as an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the object, or another that is there already is.
    Linked,
    /// It cannot be. Nothing was done to it.
    Left(Untakable),
}

/// Why a file cannot become an object as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Untakable {
    /// A file has one fs-verity digest, for ever, and this one's is another kind.
    #[error("it has fs-verity already, of another kind than SHA-256 with 4096-byte blocks")]
    OtherVerity,
    /// The filesystem soon allows no more names.
    #[error("it has nearly as many hardlinks as the filesystem allows")]
    ManyLinks,
}

impl<I: StoreIo> Transaction<'_, I> {
    /// Makes a file the object that its content is: gives it fs-verity, where the store has that,
    /// and once that is durable the object's name. `file` is open for reading, on the store's
    /// filesystem, and was just hashed by the caller.
    ///
    /// In a store with fs-verity the kernel measures the file; in one without, the caller's word
    /// counts.
    pub fn take_object(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        file: BorrowedFd<'_>,
    ) -> Result<Taken, StoreError> {
        self.attempt(|| self.offer_object(digest, size_bytes, file))
    }

    /// Like [`Transaction::take_object`], of a file for which something else may stand in: where it
    /// cannot be taken the transaction can go on.
    pub fn offer_object(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        file: BorrowedFd<'_>,
    ) -> Result<Taken, StoreError> {
        if !held(self.shard(digest)).insert(*digest) {
            return Ok(Taken::Linked);
        }
        let target = Target::object(*digest, size_bytes);
        let prepared = self.store().prepare_foreign(file, &target);
        if !matches!(prepared, Ok(Ok(_))) {
            held(self.shard(digest)).remove(digest);
        }
        let file = match prepared? {
            Ok(file) => file,
            Err(reason) => return Ok(Taken::Left(reason)),
        };
        let staged = Staged {
            file,
            aside: None,
            target,
        };
        self.attempt(|| self.enqueue(staged, &self.linked))?;
        Ok(Taken::Linked)
    }

    /// Adds an object that shares the content of a file, open for reading, which was just hashed by the
    /// caller; whether the filesystem can do that. If not, or on an error, nothing has happened.
    pub fn share_object(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        file: BorrowedFd<'_>,
    ) -> Result<bool, StoreError> {
        let new = self.unnamed_file(StoreDir::Objects)?;
        if again(|| self.store().io().share(&new, file)).is_err() {
            return Ok(false);
        }
        if !held(self.shard(digest)).insert(*digest) {
            return Ok(true);
        }
        let target = Target::object(*digest, size_bytes);
        let staged = self.store().complete(new, target, &self.signing);
        let staged = staged.inspect_err(|_| {
            held(self.shard(digest)).remove(digest);
        })?;
        self.attempt(|| self.enqueue(staged, &self.linked))?;
        Ok(true)
    }

    /// Makes a file, open for reading, the object that its content is, by the kernel's word: its
    /// digest and size in bytes.
    ///
    /// `None` if that word is not to be had; nothing was done to the file then. A store without
    /// fs-verity has no such word. A file that has fs-verity already may have one of another kind,
    /// so it is only told from an object that is there. And see [`Untakable::ManyLinks`].
    pub fn take_unread(
        &self,
        file: BorrowedFd<'_>,
    ) -> Result<Option<(VerityDigest, u64)>, StoreError> {
        if self.store().verity() == VeritySupport::None {
            return Ok(None);
        }
        self.attempt(|| {
            let (store, io) = (self.store(), self.store().io());
            let nameless = known("objects");
            let look = store.look_at_foreign(file, &nameless)?;
            if !look.has_room_for_names {
                return Ok(None);
            }
            let imported = store.import(file, &nameless)?;
            match measure(io, &imported) {
                Ok(Some(digest)) => {
                    let is_there = self.has_object(&digest, look.size_bytes)?;
                    return Ok(is_there.then_some((digest, look.size_bytes)));
                }
                Ok(None) | Err(MeasureVerityError::DigestTooLong) => return Ok(None),
                // Anything else is a fault that enabling, or measuring again, tells.
                Err(_) => {}
            }
            match store.enable_foreign(&imported)? {
                Ok(()) => {}
                // Somebody else has just done it.
                Err(EnableVerityError::AlreadyEnabled) => return Ok(None),
                Err(error) => return Err(store.not_enabled(&nameless, look.size_bytes, error)),
            }
            let digest = store.measured(&nameless, &imported)?;
            // From now on it cannot change.
            let Look { size_bytes, .. } = store.look_at_foreign(file, &nameless)?;
            let staged = Staged {
                file: imported,
                aside: None,
                target: Target::object(digest, size_bytes),
            };
            self.enqueue_new(staged, &self.linked)?;
            Ok(Some((digest, size_bytes)))
        })
    }
}

/// A file of others, as it is at the moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    size_bytes: u64,
    has_room_for_names: bool,
}

impl<I: StoreIo> Store<I> {
    fn look_at_foreign(&self, file: BorrowedFd<'_>, path: &StorePath) -> Result<Look, StoreError> {
        let io = self.io();
        let look = || Ok(rustix::fs::fstat(file)?);
        let stat = again(look).map_err(failed(io, "look at the file for", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreError::NotRegular {
                path: full_path(io, path),
                found: FileKind::Special,
            });
        }
        Ok(Look {
            size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            has_room_for_names: stat.st_nlink < MAX_LINKS_TO_TAKE,
        })
    }

    fn import(&self, file: BorrowedFd<'_>, path: &StorePath) -> Result<I::File, StoreError> {
        let io = self.io();
        again(|| io.import(file)).map_err(failed(io, "use the file for", path))
    }

    /// Gives a file what it needs to be an object, but for the name.
    fn prepare_foreign(
        &self,
        file: BorrowedFd<'_>,
        target: &Target,
    ) -> Result<Result<I::File, Untakable>, StoreError> {
        let look = self.look_at_foreign(file, &target.path)?;
        if look.size_bytes != target.size_bytes {
            return Err(StoreError::SizeMismatch {
                path: full_path(self.io(), &target.path),
                expected_bytes: target.size_bytes,
                found: format!("{} bytes", look.size_bytes),
            });
        }
        if !look.has_room_for_names {
            return Ok(Err(Untakable::ManyLinks));
        }
        let file = self.import(file, &target.path)?;
        let is_ours = match self.verity() {
            VeritySupport::None => true,
            VeritySupport::Kernel => self.seal_foreign(&file, target)?,
        };
        Ok(is_ours.then_some(file).ok_or(Untakable::OtherVerity))
    }

    /// Enables fs-verity on a file whose own names may go meanwhile.
    fn enable_foreign(&self, file: &I::File) -> Result<Result<(), EnableVerityError>, StoreError> {
        let (enabled, aside) = self.seal_aside(file, || Ok(enable_patiently(self.io(), file)))?;
        self.drop_aside(&aside)?;
        Ok(enabled)
    }

    /// Enables fs-verity on a file, unless it has it; whether it is ours then.
    fn seal_foreign(&self, file: &I::File, target: &Target) -> Result<bool, StoreError> {
        match measure(self.io(), file) {
            Ok(found) => return Ok(found == Some(target.digest)),
            Err(MeasureVerityError::DigestTooLong) => return Ok(false),
            // Anything else is a fault that enabling, or measuring again, tells.
            Err(_) => {}
        }
        let was_first = match self.enable_foreign(file)? {
            Ok(()) => true,
            // Somebody else has just done it.
            Err(EnableVerityError::AlreadyEnabled) => false,
            Err(error) => return Err(self.not_enabled(&target.path, target.size_bytes, error)),
        };
        match self.fault_measured(&target.path, file, &target.digest)? {
            None => Ok(true),
            Some(_) if !was_first => Ok(false),
            Some(Fault::Digest { found, .. }) => {
                self.compare(target, found)?;
                Ok(true)
            }
            Some(fault) => Err(StoreError::Damaged {
                path: full_path(self.io(), &target.path),
                reason: fault.to_string(),
            }),
        }
    }
}
