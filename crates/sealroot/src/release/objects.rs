// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects that a release names: which they are, and whether the store has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::Pack;
use sealroot_format::tree::{FileContent, Kind, Tree};

use super::{ReleaseError, hash};
use crate::monitor::{Monitor, Unit};
use crate::store::{Store, StoreError, StoreIo, VeritySupport, full_path, object_path};

/// The distinct objects a tree names, with their sizes, ascending.
pub fn objects(tree: &Tree) -> BTreeMap<VerityDigest, u64> {
    let external = |kind: &Kind| match kind {
        Kind::Regular(FileContent::External { digest, size_bytes }) => Some((*digest, *size_bytes)),
        _ => None,
    };
    tree.inodes()
        .filter_map(|(_, inode)| external(&inode.kind))
        .collect()
}

/// The tree of a pack, by which nothing is decided but what to look at; `None` if it cannot be read.
pub(crate) fn tree_of_pack<I: StoreIo>(
    store: &Store<I>,
    pack: &VerityDigest,
) -> Result<Option<Tree>, StoreError> {
    let file = match store.open_pack(pack) {
        Ok(file) => file,
        Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Pack::open(&file).and_then(|pack| pack.tree()).ok())
}

/// How objects are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectCheck {
    /// The kernel measures each: short, whatever the size.
    Measured,
    /// Each is read to its end and hashed as well.
    Hashed,
}

/// What looking at the objects of a release gave.
#[derive(Clone, Debug)]
pub struct ObjectVerdict {
    /// How they were looked at.
    pub check: ObjectCheck,
    /// Those that cannot be used.
    pub findings: Vec<ObjectFinding>,
}

/// What is wrong with an object of a release.
#[derive(Clone, Debug)]
pub struct ObjectFinding {
    /// The object.
    pub digest: VerityDigest,
    /// Its file, or where it should be.
    pub path: PathBuf,
    /// Why it cannot be used.
    pub reason: String,
}

/// Looks at every object that a release's tree names. A store without fs-verity has nothing that
/// measures: there every object is hashed, whatever was wanted. Only an error of the store itself
/// ends it early.
pub fn verify_objects(
    store: &Store,
    tree: &Tree,
    wanted: ObjectCheck,
    monitor: &dyn Monitor,
) -> Result<ObjectVerdict, ReleaseError> {
    let check = match store.verity() {
        VeritySupport::Kernel => wanted,
        VeritySupport::None => ObjectCheck::Hashed,
    };
    let objects = objects(tree);
    let total_bytes: u64 = objects.values().sum();
    monitor.start("verifying objects", Unit::Bytes, Some(total_bytes));
    let mut findings = Vec::new();
    for (digest, size_bytes) in objects {
        if let Some(reason) = verify_object(store, &digest, size_bytes, check)? {
            findings.push(ObjectFinding {
                digest,
                path: full_path(store.io(), &object_path(&digest)),
                reason,
            });
        }
        monitor.advance(size_bytes);
    }
    Ok(ObjectVerdict { check, findings })
}

fn verify_object(
    store: &Store,
    digest: &VerityDigest,
    size_bytes: u64,
    check: ObjectCheck,
) -> Result<Option<String>, ReleaseError> {
    let file = match store.open_object(digest, size_bytes) {
        Ok(file) => file,
        Err(StoreError::NotFound { .. }) => return Ok(Some("it is missing".into())),
        Err(StoreError::Damaged { reason, .. }) => return Ok(Some(reason)),
        Err(error) => return Err(error.into()),
    };
    if check == ObjectCheck::Measured {
        return Ok(None);
    }
    Ok(match hash(&mut file.reader()) {
        Ok(found) if found == *digest => None,
        Ok(found) => Some(format!("its content has the fs-verity digest {found}")),
        // fs-verity's answer to a damaged block is EIO.
        Err(error) => Some(format!("it cannot be read: {error}")),
    })
}
