// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking at what is needed: which names are of nothing, or of something wrong?

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_format::policy::DeploymentName;
use sealroot_format::tree::{FileContent, Kind, Tree};

use super::damage::{Damage, MAX_FILES, Place, Report, What};
use super::needed::{Needed, NeededPack};
use crate::check::{Depth, FindingCode};
use crate::deploy::LAYER_NAME;
use crate::monitor::{Monitor, Unit};
use crate::release;
use crate::store::{
    Fault, Presence, Store, StoreDir, StoreError, StoreIo, StorePath, StoredFile, again,
    deployment_path, failed, object_path, object_path_in, pack_path, parse_deployment_name,
};

/// How much of a file is in memory at a time, bytes.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// What a look at a name gave.
pub(super) enum Seen<F> {
    /// The right file, as far as was looked.
    Good(F),
    /// Nothing, or something wrong.
    Bad(Place),
}

/// The names of an object that were not known to be bad.
pub(super) struct Copies<F> {
    /// One that is of the right content, and that.
    pub(super) good: Option<(StorePath, F)>,
    /// Those that are not.
    pub(super) bad: Vec<Place>,
}

/// Objects by digest: the length of each.
pub(super) type Sizes = BTreeMap<VerityDigest, u64>;

/// Looks at a store.
pub(super) struct Looker<'l, I: StoreIo> {
    pub(super) store: &'l Store<I>,
    depth: Depth,
    monitor: &'l dyn Monitor,
    /// Files that were read and are right, by digest and inode: most have several names.
    good: Mutex<HashSet<(VerityDigest, u64)>>,
    hashed_bytes: AtomicU64,
    packs: AtomicU64,
    objects: Mutex<HashSet<VerityDigest>>,
}

impl<'l, I: StoreIo> Looker<'l, I> {
    pub(super) fn new(store: &'l Store<I>, depth: Depth, monitor: &'l dyn Monitor) -> Self {
        Self {
            store,
            depth,
            monitor,
            good: Mutex::default(),
            hashed_bytes: AtomicU64::new(0),
            packs: AtomicU64::new(0),
            objects: Mutex::default(),
        }
    }

    pub(super) fn report(&self, damage: Vec<Damage>) -> Report {
        Report {
            damage,
            packs: self.packs.load(Ordering::Relaxed),
            objects: held(&self.objects).len() as u64,
            hashed_bytes: self.hashed_bytes.load(Ordering::Relaxed),
        }
    }

    /// Packs that are not as they should be. Each is read whole: it says what else is needed.
    pub(super) fn packs(&self, needed: &Needed) -> Result<Vec<Damage>, StoreError> {
        let mut damage = Vec::new();
        for (digest, pack) in &needed.packs {
            self.packs.fetch_add(1, Ordering::Relaxed);
            let size_bytes = pack.size_bytes();
            let path = pack_path(digest);
            if let Seen::Bad(place) = self.look(path, digest, size_bytes, Depth::Full)? {
                damage.push(Damage::new(What::Pack(*digest), size_bytes, vec![place]));
            }
        }
        Ok(damage)
    }

    /// Objects that are not as they should be, of all packs that can be read.
    pub(super) fn objects(&self, needed: &Needed) -> Result<Vec<Damage>, StoreError> {
        let mut found: BTreeMap<VerityDigest, Damage> = BTreeMap::new();
        for (digest, pack) in &needed.packs {
            let Some(tree) = self.tree(digest)? else {
                continue;
            };
            let sizes = release::objects(&tree);
            let mut bad: BTreeMap<VerityDigest, Vec<Place>> = BTreeMap::new();
            for (object, place) in self.layers(pack, &sizes)? {
                bad.entry(object).or_default().push(place);
            }
            let mut files = files_of(&tree, &bad);
            for (object, places) in bad {
                let damage = found.entry(object).or_insert_with(|| {
                    let size_bytes = sizes.get(&object).copied();
                    Damage::new(What::Object(object), size_bytes, Vec::new())
                });
                damage.places.extend(places);
                damage.places.sort_unstable();
                damage.places.dedup();
                if damage.files.is_empty() {
                    damage.files = files.remove(&object).unwrap_or_default();
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// The tree of a pack; `None` if it cannot be read.
    pub(super) fn tree(&self, pack: &VerityDigest) -> Result<Option<Tree>, StoreError> {
        release::tree_of_pack(self.store, pack)
    }

    /// Bad names of the objects of a pack: the shared ones, and those in its deployments.
    fn layers(
        &self,
        pack: &NeededPack,
        sizes: &Sizes,
    ) -> Result<Vec<(VerityDigest, Place)>, StoreError> {
        held(&self.objects).extend(sizes.keys());
        let shared = |digest: &VerityDigest| object_path(digest);
        let mut bad = self.layer(&shared, sizes)?;
        for (name, unlinked) in &pack.deployments {
            let own = |digest: &VerityDigest| layer_path(name, digest);
            let mut of_layer = self.layer(&own, sizes)?;
            let is_missing =
                |(_, place): &(VerityDigest, Place)| place.code == FindingCode::MissingObject;
            let missing = of_layer.iter().filter(|one| is_missing(one)).count() as u64;
            if missing <= *unlinked {
                of_layer.retain(|one| !is_missing(one));
            }
            bad.extend(of_layer);
        }
        Ok(bad)
    }

    fn layer(
        &self,
        path: &(dyn Fn(&VerityDigest) -> StorePath + Sync),
        sizes: &Sizes,
    ) -> Result<Vec<(VerityDigest, Place)>, StoreError> {
        let unit = match self.depth {
            Depth::Quick => Unit::Items,
            Depth::Full => Unit::Bytes,
        };
        let total = match self.depth {
            Depth::Quick => sizes.len() as u64,
            Depth::Full => sizes.values().sum(),
        };
        self.monitor.start("looking at objects", unit, Some(total));
        let look = |(digest, size_bytes): (&VerityDigest, &u64)| {
            let seen = self.look(path(digest), digest, Some(*size_bytes), self.depth);
            self.monitor.advance(match self.depth {
                Depth::Quick => 1,
                Depth::Full => *size_bytes,
            });
            match seen {
                Ok(Seen::Good(_)) => None,
                Ok(Seen::Bad(place)) => Some(Ok((*digest, place))),
                Err(error) => Some(Err(error)),
            }
        };
        sizes.par_iter().filter_map(look).collect()
    }

    /// Looks at a name of an object or pack.
    pub(super) fn look(
        &self,
        path: StorePath,
        digest: &VerityDigest,
        size_bytes: Option<u64>,
        depth: Depth,
    ) -> Result<Seen<I::File>, StoreError> {
        let missing = if path.as_bytes().ends_with(b".pack") {
            FindingCode::MissingPack
        } else {
            FindingCode::MissingObject
        };
        let fault = match self.store.presence(&path, digest, size_bytes)? {
            Presence::Absent => {
                return Ok(Seen::Bad(Place {
                    path,
                    code: missing,
                    detail: "it is not there".into(),
                }));
            }
            Presence::Wrong(fault) => fault,
            Presence::Trusted((file, stat)) => {
                let identity = (*digest, stat.inode);
                // An empty file costs nothing to hash, and a crash may leave one.
                let is_read = depth == Depth::Full || stat.size_bytes == 0;
                if !is_read || held(&self.good).contains(&identity) {
                    return Ok(Seen::Good(file));
                }
                let stored = StoredFile::new(self.store.io(), path.clone(), (file, stat));
                match self.fault_read(&stored, &path, digest)? {
                    None => {
                        held(&self.good).insert(identity);
                        return Ok(Seen::Good(stored.into_file()));
                    }
                    Some(fault) => fault,
                }
            }
        };
        Ok(Seen::Bad(Place {
            path,
            code: FindingCode::from(&fault),
            detail: fault.to_string(),
        }))
    }

    /// The fault that reading a file to its end shows.
    fn fault_read(
        &self,
        file: &StoredFile<'_, I>,
        path: &StorePath,
        expected: &VerityDigest,
    ) -> Result<Option<Fault>, StoreError> {
        let mut hasher = VerityHasher::new();
        let len = usize::try_from(file.size_bytes()).unwrap_or(READ_BUFFER_BYTES);
        let mut buffer = vec![0; len.clamp(1, READ_BUFFER_BYTES)];
        let mut reader = file.reader();
        loop {
            match again(|| std::io::Read::read(&mut reader, &mut buffer)) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    self.hashed_bytes.fetch_add(read as u64, Ordering::Relaxed);
                }
                // fs-verity's answer to a damaged block is EIO. That memory or descriptors have run out
                // says nothing of the file.
                Err(error) => {
                    let fault = Fault::of_opening(error);
                    return fault
                        .map(Some)
                        .map_err(failed(self.store.io(), "read", path));
                }
            }
        }
        let found = hasher.finish();
        Ok((found != *expected).then_some(Fault::Digest {
            expected: *expected,
            found,
        }))
    }

    /// A good copy of an object under any name that it may have in the store: it is read to its end. What
    /// turns out to be bad is said as well.
    pub(super) fn copy(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        known_bad: &[Place],
    ) -> Result<Copies<I::File>, StoreError> {
        let mut bad = Vec::new();
        let names = (self.store).list_names(StoreDir::Deploy, parse_deployment_name)?;
        let layers = names.iter().map(|name| layer_path(name, digest));
        for path in std::iter::once(object_path(digest)).chain(layers) {
            if known_bad.iter().any(|place| place.path == path) {
                continue;
            }
            match self.look(path.clone(), digest, Some(size_bytes), Depth::Full)? {
                Seen::Good(file) => {
                    let good = Some((path, file));
                    return Ok(Copies { good, bad });
                }
                Seen::Bad(place) if place.code == FindingCode::MissingObject => {}
                Seen::Bad(place) => bad.push(place),
            }
        }
        Ok(Copies { good: None, bad })
    }
}

/// The name of an object in a deployment.
fn layer_path(name: &DeploymentName, digest: &VerityDigest) -> StorePath {
    let layer = deployment_path(name).join(LAYER_NAME);
    object_path_in(&layer.expect("a valid name, not deep"), digest)
}

/// The first files of a tree that have the content of each object.
fn files_of(
    tree: &Tree,
    objects: &BTreeMap<VerityDigest, Vec<Place>>,
) -> BTreeMap<VerityDigest, Vec<Box<[u8]>>> {
    let mut files: BTreeMap<VerityDigest, Vec<Box<[u8]>>> = BTreeMap::new();
    if objects.is_empty() {
        return files;
    }
    let mut walk = tree.walk();
    while let Some((path, inode)) = walk.next() {
        if let Kind::Regular(FileContent::External { digest, .. }) = &tree.inode(inode).kind
            && objects.contains_key(digest)
        {
            let of_object = files.entry(*digest).or_default();
            if of_object.len() < MAX_FILES {
                of_object.push(path.into());
            }
        }
    }
    files
}

/// Locks what no panic can leave half-changed.
fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
