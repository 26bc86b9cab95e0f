// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replacing packs and objects.

use std::error::Error;

use sealroot_format::digest::VerityDigest;

use super::RepairError;
use super::damage::{Damage, Outcome, Place, What};
use super::look::{Looker, Seen, Sizes};
use super::needed::{Needed, NeededPack};
use super::source::{Source, SourceError, Wanted};
use crate::check::{Depth, FindingCode};
use crate::release;
use crate::store::{StoreError, StoreIo, Transaction, object_path, pack_path};

/// A repair under way.
pub(super) struct Repairing<'r, 's, I: StoreIo> {
    pub(super) transaction: &'r Transaction<'s, I>,
    pub(super) looker: &'r Looker<'r, I>,
    pub(super) sources: &'r [&'r dyn Source<I>],
}

impl<I: StoreIo> Repairing<'_, '_, I> {
    /// Replaces packs.
    pub(super) fn packs(&self, damage: &mut [Damage], needed: &Needed) -> Result<(), RepairError> {
        for one in damage {
            if let What::Pack(digest) = &one.what
                && let Some(pack) = needed.packs.get(digest)
            {
                self.transaction.distrust(pack_path(digest));
                one.outcome = self.pack(&one.places, pack)?;
            }
        }
        Ok(())
    }

    fn pack(&self, places: &[Place], pack: &NeededPack) -> Result<Outcome, RepairError> {
        let Some(statement) = pack.statements.first() else {
            let reasons = vec!["no statement that can be used says how long it is".into()];
            return Ok(Outcome::Left { reasons });
        };
        if self.reseal_pack(places, statement)? {
            let from = pack_path(&statement.pack_digest).to_string();
            return Ok(Outcome::Repaired { from });
        }
        let mut reasons = Vec::new();
        for source in self.sources {
            let name = source.name();
            match source.pack(self.transaction, statement) {
                Ok(true) => return Ok(Outcome::Repaired { from: name }),
                Ok(false) => reasons.push(format!("{name} does not have it")),
                Err(SourceError::Store(error)) => return Err(error.into()),
                Err(error) => reasons.push(why(&name, &error)),
            }
        }
        Ok(Outcome::Left { reasons })
    }

    /// Replaces objects, and the links to them in deployments.
    pub(super) fn objects(
        &self,
        damage: &mut [Damage],
        needed: &Needed,
    ) -> Result<(), RepairError> {
        let mut wanted = Sizes::new();
        for one in &mut *damage {
            if let What::Object(digest) = one.what
                && let Some(size_bytes) = one.size_bytes
                && !self.replace_by_copy(one, &digest, size_bytes)?
            {
                self.transaction.distrust(object_path(&digest));
                wanted.insert(digest, size_bytes);
                let reasons = Vec::new();
                one.outcome = Outcome::Left { reasons };
            }
        }
        self.reseal_objects(damage, &mut wanted)?;
        for source in self.sources {
            if wanted.is_empty() {
                break;
            }
            self.ask(*source, damage, &mut wanted, needed)?;
        }
        Ok(())
    }

    /// Replaces an object by a good copy that is in the store; whether there is one.
    fn replace_by_copy(
        &self,
        damage: &mut Damage,
        digest: &VerityDigest,
        size_bytes: u64,
    ) -> Result<bool, RepairError> {
        let copies = (self.looker).copy(digest, size_bytes, &damage.places)?;
        damage.places.extend(copies.bad);
        let Some((path, file)) = copies.good else {
            return Ok(false);
        };
        if !self.mend(&damage.places, digest, &file)? {
            return Ok(false);
        }
        damage.outcome = Outcome::Repaired {
            from: path.to_string(),
        };
        Ok(true)
    }

    /// Asks a source for objects, of each release those that it names.
    fn ask(
        &self,
        source: &dyn Source<I>,
        damage: &mut [Damage],
        wanted: &mut Sizes,
        needed: &Needed,
    ) -> Result<(), RepairError> {
        let name = source.name();
        for (digest, pack) in &needed.packs {
            let Some(tree) = self.looker.tree(digest)? else {
                continue;
            };
            let mut objects = release::objects(&tree);
            objects.retain(|object, _| wanted.contains_key(object));
            let Some(commit) = pack.commit().filter(|_| !objects.is_empty()) else {
                continue;
            };
            let asked = Wanted {
                commit,
                pack: *digest,
                tree: &tree,
                objects: &objects,
            };
            let reason = match source.objects(self.transaction, &asked) {
                Ok(()) => format!("{name} does not have it"),
                Err(SourceError::Store(error)) => return Err(error.into()),
                Err(error) => why(&name, &error),
            };
            self.transaction.barrier()?;
            for one in &mut *damage {
                if let What::Object(object) = one.what
                    && let Some(size_bytes) = objects.get(&object)
                {
                    if self.has_come(one, &object, *size_bytes)? {
                        wanted.remove(&object);
                        one.outcome = Outcome::Repaired { from: name.clone() };
                    } else if let Outcome::Left { reasons } = &mut one.outcome
                        && !reasons.contains(&reason)
                    {
                        reasons.push(reason.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether an object has come; then deployments have it as well.
    pub(super) fn has_come(
        &self,
        damage: &Damage,
        digest: &VerityDigest,
        size_bytes: u64,
    ) -> Result<bool, RepairError> {
        if !self.transaction.has_object(digest, size_bytes)? {
            return Ok(false);
        }
        let path = object_path(digest);
        let shared = (self.looker).look(path.clone(), digest, Some(size_bytes), Depth::Quick)?;
        let Seen::Good(file) = shared else {
            return Ok(false);
        };
        let of_deployments = |place: &&Place| place.path != path;
        let places: Vec<_> = damage
            .places
            .iter()
            .filter(of_deployments)
            .cloned()
            .collect();
        Ok(self.mend(&places, digest, &file)?)
    }

    /// Gives a good file all the names that are of something else; whether the shared one is of it now.
    fn mend(
        &self,
        places: &[Place],
        digest: &VerityDigest,
        file: &I::File,
    ) -> Result<bool, StoreError> {
        let shared = object_path(digest);
        let (first, rest): (Vec<_>, Vec<_>) = places.iter().partition(|one| one.path == shared);
        for place in first.into_iter().chain(rest) {
            if self.transaction.put_in_place(file, &place.path)? {
                continue;
            }
            if place.path == shared {
                return Ok(false);
            }
            // The shared objects are the layer behind the deployment's own (store.md D5).
            if place.code != FindingCode::MissingObject {
                self.transaction.put_away(&place.path)?;
            }
            self.transaction.monitor().warn(format!(
                "{} has as many hardlinks as the filesystem allows and is not linked to {}; it is found \
                 among the shared objects",
                shared, place.path
            ));
        }
        Ok(true)
    }
}

/// What a source said, and why.
pub(super) fn why(source: &str, error: &SourceError) -> String {
    let mut text = format!("{source}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
