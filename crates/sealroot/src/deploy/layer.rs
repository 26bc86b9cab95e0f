// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects of a release, and the layer of hardlinks to them.

use std::collections::BTreeMap;

use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_format::sign::Statement;

use super::{DeployError, LAYER_NAME, in_directory};
use crate::monitor::Monitor;
use crate::store::{
    FileStat, Presence, Store, StoreError, StoreIo, StorePath, Transaction, VeritySupport, again,
    failed, full_path, measure, object_path, object_path_in,
};

/// The distinct objects of a release and their sizes.
#[derive(Debug)]
pub(super) struct Objects(BTreeMap<VerityDigest, u64>);

/// How much of a release a layer has.
#[derive(Debug)]
pub(super) enum Completeness {
    /// All but that many, which the shared objects have.
    Missing(u64),
    /// A name in it is not what it says.
    Wrong,
}

impl Objects {
    /// Collects what a pack names and compares it with what the statement says of it.
    pub(super) fn collect(
        objects: impl IntoIterator<Item = (VerityDigest, u64)>,
        statement: &Statement,
    ) -> Result<Self, DeployError> {
        let mut distinct = BTreeMap::new();
        let mut found_bytes = 0_u64;
        for (digest, size_bytes) in objects {
            match distinct.insert(digest, size_bytes) {
                None => found_bytes = found_bytes.saturating_add(size_bytes),
                Some(first_bytes) if first_bytes != size_bytes => {
                    return Err(DeployError::TwoSizes {
                        digest,
                        first_bytes,
                        second_bytes: size_bytes,
                    });
                }
                Some(_) => {}
            }
        }
        let found_objects = distinct.len() as u64;
        if (found_objects, found_bytes) != (statement.objects, statement.object_bytes) {
            return Err(DeployError::OtherObjects {
                expected_objects: statement.objects,
                expected_bytes: statement.object_bytes,
                found_objects,
                found_bytes,
            });
        }
        Ok(Self(distinct))
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// How complete an existing layer is. What it lacks, the shared objects must have. Without
    /// fs-verity its files must be the shared ones: those may have been replaced because of
    /// damage, which neither name nor size tells (store.md D4).
    pub(super) fn completeness<I: StoreIo>(
        &self,
        store: &Store<I>,
        layer: &StorePath,
    ) -> Result<Completeness, DeployError> {
        let mut missing = 0;
        for (digest, size_bytes) in &self.0 {
            let path = object_path_in(layer, digest);
            match store.presence(&path, digest, Some(*size_bytes))? {
                Presence::Trusted((_, linked)) => {
                    if store.verity() == VeritySupport::None
                        && shared(store, digest, *size_bytes)?.1.inode != linked.inode
                    {
                        return Ok(Completeness::Wrong);
                    }
                }
                Presence::Absent => {
                    store.open_object(digest, *size_bytes)?;
                    missing += 1;
                }
                Presence::Wrong(_) => return Ok(Completeness::Wrong),
            }
        }
        Ok(Completeness::Missing(missing))
    }

    /// Makes a directory with a layer of links to all objects, each measured (store.md D2).
    /// How many could not be linked, because the filesystem allows no more links to them.
    pub(super) fn link_all<I: StoreIo>(
        &self,
        transaction: &Transaction<'_, I>,
        directory: &StorePath,
        monitor: &dyn Monitor,
    ) -> Result<u64, DeployError> {
        let store = transaction.store();
        let layer = in_directory(directory, LAYER_NAME);
        create_directory(store, directory)?;
        create_directory(store, &layer)?;
        let mut unlinked = 0;
        let mut shard: Option<Shard<I>> = None;
        for (digest, size_bytes) in &self.0 {
            let path = object_path_in(&layer, digest);
            let (parent, name) = path.split().expect("it has a name");
            let shard = match &mut shard {
                Some(shard) if shard.path == parent => shard,
                place => place.insert(Shard::create(store, parent, digest)?),
            };
            if !shard.link(store, digest, *size_bytes, name)? {
                unlinked += 1;
            }
            monitor.advance(1);
        }
        if unlinked > 0 {
            monitor.warn(format!(
                "{unlinked} objects have as many hardlinks as the filesystem allows and were \
                 not linked into the deployment; they are found among the shared objects"
            ));
        }
        Ok(unlinked)
    }
}

/// The shared object, measured where there is fs-verity.
fn shared<I: StoreIo>(
    store: &Store<I>,
    digest: &VerityDigest,
    size_bytes: u64,
) -> Result<(I::File, FileStat), StoreError> {
    let place = object_path(digest);
    let path = || full_path(store.io(), &place);
    match store.presence(&place, digest, Some(size_bytes))? {
        Presence::Trusted(opened) => Ok(opened),
        Presence::Absent => Err(StoreError::NotFound { path: path() }),
        Presence::Wrong(fault) => Err(StoreError::Damaged {
            path: path(),
            reason: fault.to_string(),
        }),
    }
}

/// The directory of a layer that is being filled, and the one of the shared objects beside it.
struct Shard<I: StoreIo> {
    path: StorePath,
    own: I::Directory,
    /// `None` where it could not be opened: who looks for an object there says why.
    shared: Option<I::Directory>,
}

impl<I: StoreIo> Shard<I> {
    fn create(store: &Store<I>, path: StorePath, first: &VerityDigest) -> Result<Self, StoreError> {
        let io = store.io();
        create_directory(store, &path)?;
        let (shared, _) = (object_path(first).split()).expect("it has a name");
        Ok(Self {
            own: again(|| io.hold(&path)).map_err(failed(io, "open", &path))?,
            shared: again(|| io.hold(&shared)).ok(),
            path,
        })
    }

    /// Links an object that is there and measures; whether the filesystem allowed one more link.
    fn link(
        &self,
        store: &Store<I>,
        digest: &VerityDigest,
        size_bytes: u64,
        name: &[u8],
    ) -> Result<bool, DeployError> {
        let io = store.io();
        let file = match self.measured(store, digest, name) {
            Some(file) => file,
            None => shared(store, digest, size_bytes)?.0,
        };
        // The link is to the very file that was measured, whatever its name names by now.
        match again(|| io.link_in(&file, &self.own, name)) {
            Ok(()) => Ok(true),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MLINK) => Ok(false),
            Err(error) => {
                let path = self.path.join(name).expect("the name of an object");
                Err(failed(io, "link", &path)(error).into())
            }
        }
    }

    /// The shared object if the kernel says that it is the right one: the digest covers its length,
    /// and nothing but a regular file has one.
    fn measured(&self, store: &Store<I>, digest: &VerityDigest, name: &[u8]) -> Option<I::File> {
        if store.verity() == VeritySupport::None {
            return None;
        }
        let directory = self.shared.as_ref()?;
        let file = again(|| store.io().open_in(directory, name)).ok()?;
        let found = measure(store.io(), &file).ok()?;
        (found == Some(*digest)).then_some(file)
    }
}

fn create_directory<I: StoreIo>(store: &Store<I>, path: &StorePath) -> Result<(), StoreError> {
    again(|| store.io().create_directory(path)).map_err(failed(store.io(), "create", path))
}
