// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that have only lost their fs-verity, as all do that were copied back from a backup: their content
//! may be right, and is written anew.

use std::io;

use sealroot_format::digest::VerityDigest;
use sealroot_format::sign::Statement;

use super::RepairError;
use super::damage::{Damage, Outcome, Place, What};
use super::execute::Repairing;
use super::look::Sizes;
use crate::check::FindingCode;
use crate::release;
use crate::store::{
    FileKind, StoreError, StoreIo, StorePath, StoredFile, again, failed, pack_path,
};

impl<I: StoreIo> Repairing<'_, '_, I> {
    /// Makes objects of the content of what has their names, where that is right.
    pub(super) fn reseal_objects(
        &self,
        damage: &mut [Damage],
        wanted: &mut Sizes,
    ) -> Result<(), RepairError> {
        let mut added = Vec::new();
        for (index, one) in damage.iter().enumerate() {
            let What::Object(digest) = one.what else {
                continue;
            };
            let Some(size_bytes) = wanted.get(&digest) else {
                continue;
            };
            for place in one.places.iter().filter(|place| is_unsealed(place)) {
                if self.reseal_object(&place.path, &digest, *size_bytes)? {
                    added.push((index, digest, *size_bytes, place.path.to_string()));
                    break;
                }
            }
        }
        self.transaction.barrier()?;
        for (index, digest, size_bytes, from) in added {
            let Some(one) = damage.get_mut(index) else {
                continue;
            };
            if self.has_come(one, &digest, size_bytes)? {
                wanted.remove(&digest);
                one.outcome = Outcome::Repaired { from };
            }
        }
        Ok(())
    }

    fn reseal_object(
        &self,
        path: &StorePath,
        digest: &VerityDigest,
        size_bytes: u64,
    ) -> Result<bool, StoreError> {
        let Some(file) = self.open_regular(path)? else {
            return Ok(false);
        };
        let transaction = self.transaction;
        match transaction.add_foreign_object(digest, size_bytes, &mut file.reader()) {
            Err(error) if error.is_about_content() => Ok(false),
            added => added.map(|()| true),
        }
    }

    /// Makes the pack that a statement names of what has its name, if the content of that is right.
    pub(super) fn reseal_pack(
        &self,
        places: &[Place],
        statement: &Statement,
    ) -> Result<bool, StoreError> {
        let (digest, path) = (statement.pack_digest, pack_path(&statement.pack_digest));
        if !places.iter().any(is_unsealed) {
            return Ok(false);
        }
        let Some(file) = self.open_regular(&path)? else {
            return Ok(false);
        };
        // A transaction does not go on after a pack that is wrong.
        if !release::hash(&mut file.reader()).is_ok_and(|found| found == digest) {
            return Ok(false);
        }
        self.transaction
            .add_pack(&digest, file.size_bytes(), |out| {
                io::copy(&mut file.reader(), out).map(drop)
            })?;
        Ok(true)
    }

    fn open_regular(&self, path: &StorePath) -> Result<Option<StoredFile<'_, I>>, StoreError> {
        let io = self.looker.store.io();
        let opened = again(|| io.open(path)).map_err(failed(io, "open", path))?;
        let is_regular = opened.1.kind == FileKind::Regular;
        Ok(is_regular.then(|| StoredFile::new(io, path.clone(), opened)))
    }
}

fn is_unsealed(place: &Place) -> bool {
    place.code == FindingCode::NoVerity
}
