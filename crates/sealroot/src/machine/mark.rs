// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which objects live packs name, and which of those that are there they do not.

use std::collections::{BTreeMap, BTreeSet};

use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_format::pack::{EntryKind, Pack, PackError, Visit};
use sealroot_format::policy::DeploymentName;

use super::MachineError;
use super::scan::Scan;
use crate::deploy::LAYER_NAME;
use crate::store::{
    DirEntry, FileKind, Store, StoreDir, StoreError, StoreIo, StorePath, StoredFile, VeritySupport,
    again, deployment_path, failed, object_path, object_path_in, parse_object_name,
    parse_object_signature_name,
};

/// How much of a pack is in memory while it is hashed, bytes.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Objects that no live pack names.
#[derive(Debug, Default)]
pub(super) struct Dead {
    /// The objects.
    pub(super) objects: Vec<VerityDigest>,
    /// Their signatures for the kernel's keyring, and those without an object.
    pub(super) signatures: Vec<VerityDigest>,
    /// What will be free when the objects, packs, images and deployments that go are deleted, bytes.
    pub(super) freed_bytes: u64,
    /// How many of the objects have other names elsewhere: their space stays in use.
    pub(super) linked_elsewhere: u64,
}

/// The distinct objects of all these packs, ascending: 32 bytes each, and while a pack is read, those
/// of that pack.
pub(super) fn live_objects<I: StoreIo>(
    store: &Store<I>,
    scan: &Scan,
    packs: &BTreeMap<VerityDigest, String>,
) -> Result<Vec<VerityDigest>, MachineError> {
    if let Some(mount) = scan.mounts.iter().find(|mount| mount.pack.is_none()) {
        let place = mount.place.clone();
        return Err(MachineError::ForeignMount { place });
    }
    let mut live = Vec::new();
    for (pack, user) in packs {
        let file = match store.open_pack(pack) {
            Err(StoreError::NotFound { .. }) => {
                return Err(MachineError::MissingPack {
                    pack: *pack,
                    user: user.clone(),
                });
            }
            file => file?,
        };
        if store.verity() == VeritySupport::None {
            verify(&file, pack)?;
        }
        let read = add_objects(&file, &mut live);
        read.map_err(|source| MachineError::BadPack {
            pack: *pack,
            source,
        })?;
        live.sort_unstable();
        live.dedup();
    }
    Ok(live)
}

fn add_objects<I: StoreIo>(
    file: &StoredFile<'_, I>,
    objects: &mut Vec<VerityDigest>,
) -> Result<(), PackError> {
    let pack = Pack::open(file)?;
    let mut walk = pack.walk();
    while let Some(step) = walk.next()? {
        if let Visit::Entry(entry) = step.visit
            && let EntryKind::External { digest, .. } = entry.kind
        {
            objects.push(digest);
        }
    }
    Ok(())
}

/// Where no kernel measures: whether the content has the digest of the name.
fn verify<I: StoreIo>(file: &StoredFile<'_, I>, expected: &VerityDigest) -> Result<(), StoreError> {
    use std::io::Read as _;
    let mut reader = file.reader();
    let mut hasher = VerityHasher::new();
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    loop {
        match reader
            .read(&mut buffer)
            .map_err(|error| file.unreadable(error))?
        {
            0 => break,
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let found = hasher.finish();
    if found == *expected {
        return Ok(());
    }
    Err(file.with_other_content(*expected, found))
}

fn list<I: StoreIo>(store: &Store<I>, path: &StorePath) -> Result<Vec<DirEntry>, StoreError> {
    let io = store.io();
    again(|| io.list(path)).map_err(failed(io, "list", path))
}

impl Dead {
    /// Compares what is there with what is live. `condemned` deployments, and packs and images with these `paths`, go
    /// as well.
    pub(super) fn find<I: StoreIo>(
        store: &Store<I>,
        live: &[VerityDigest],
        condemned: &[DeploymentName],
        paths: impl Iterator<Item = StorePath>,
    ) -> Result<Self, MachineError> {
        let objects = StoreDir::Objects.path();
        let mut dead = Self::default();
        for path in paths {
            let usage = again(|| store.io().usage(&path));
            let usage = usage.map_err(failed(store.io(), "look at", &path))?;
            dead.freed_bytes += usage.allocated_bytes;
        }
        for prefix in list(store, &objects)? {
            if prefix.kind != FileKind::Directory {
                continue;
            }
            let directory = objects.join(&prefix.name).expect("it was listed");
            for entry in list(store, &directory)? {
                let is_dead = |digest: &VerityDigest| live.binary_search(digest).is_err();
                if let Some(digest) = parse_object_name(&prefix.name, &entry.name) {
                    if is_dead(&digest) {
                        dead.add(store, digest, condemned)?;
                    }
                } else {
                    let signature = parse_object_signature_name(&prefix.name, &entry.name);
                    dead.signatures.extend(signature.filter(is_dead));
                }
            }
        }
        Ok(dead)
    }

    fn add<I: StoreIo>(
        &mut self,
        store: &Store<I>,
        digest: VerityDigest,
        condemned: &[DeploymentName],
    ) -> Result<(), MachineError> {
        let io = store.io();
        let path = object_path(&digest);
        let usage = again(|| io.usage(&path)).map_err(failed(io, "look at", &path))?;
        let mut names = 1;
        for name in condemned {
            let layer = deployment_path(name)
                .join(LAYER_NAME)
                .expect("a short name");
            let linked = object_path_in(&layer, &digest);
            names += u64::from(again(|| io.usage(&linked)).is_ok());
        }
        if usage.links > names {
            self.linked_elsewhere += 1;
        } else {
            self.freed_bytes += usage.allocated_bytes;
        }
        self.objects.push(digest);
        Ok(())
    }

    /// The parts of the store that objects are named by: the first two digits.
    pub(super) fn prefixes(&self) -> BTreeSet<String> {
        let all = self.objects.iter().chain(&self.signatures);
        all.map(|digest| digest.to_hex()[..2].to_owned()).collect()
    }
}
