// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signatures of a release's objects, as far as the store has them.

use sealroot::release;
use sealroot_format::sign::{Channel, ChannelSignatures};

use super::{Publishing, statement};
use crate::bundle;
use crate::error::RemoteError;
use crate::layout::Kind;
use crate::signatures::{Older, make};

/// So many of the older releases are looked at for what devices have already; one that has an older one
/// fetches all.
const MAX_OLDER: usize = 8;

impl Publishing<'_> {
    /// Adds the signatures of a release's objects, if there are any. Those that were published before stay
    /// where the store has none.
    pub(super) fn add_signatures(
        &self,
        channel: &mut Channel,
        to: &bundle::Release<'_>,
    ) -> Result<(), RemoteError> {
        let index = to.statement.index;
        let mut signatures = Vec::new();
        let objects = release::objects(to.tree);
        for digest in objects.keys() {
            if let Some(bytes) = to.store.read_object_signature(digest)? {
                signatures.push((*digest, bytes));
            }
        }
        if signatures.is_empty() {
            return Ok(());
        }
        if signatures.len() < objects.len() {
            self.monitor.warn(format!(
                "{} of the {} objects of release {index} have no signature: sign them with `sealroot sign-objects`",
                objects.len() - signatures.len(),
                objects.len()
            ));
        }
        let (older, beyond) = older(channel, to)?;
        let (file, bytes) = make(signatures, &older, beyond, self.terms.level)?;
        if !self.is_there(Kind::Signatures, &file)? {
            let path = Kind::Signatures.path(&file);
            self.put(path, file.size_bytes, &mut &bytes[..])?;
        }
        (channel.signatures).retain(|signatures| signatures.index != index);
        channel.signatures.push(ChannelSignatures { index, file });
        channel
            .signatures
            .sort_by_key(|signatures| signatures.index);
        Ok(())
    }

    /// Leaves out signatures that are not there any more as they were published.
    pub(super) fn mend_signatures(&self, channel: &mut Channel) -> Result<(), RemoteError> {
        let mut kept = Vec::new();
        for signatures in std::mem::take(&mut channel.signatures) {
            if self.is_there(Kind::Signatures, &signatures.file)? {
                kept.push(signatures);
            } else {
                self.monitor.warn(format!(
                    "the signatures of the objects of release {} are not there as they were published, and are \
                     offered no more: publish it again",
                    signatures.index
                ));
            }
        }
        channel.signatures = kept;
        Ok(())
    }
}

/// What the newest of the older releases have, as far as the store knows it, newest first; and the index of the
/// newest release that is not among them, or 0.
fn older(channel: &Channel, to: &bundle::Release<'_>) -> Result<(Vec<Older>, u64), RemoteError> {
    let index = to.statement.index;
    let mut older = Vec::new();
    let releases = channel.releases.iter().rev();
    for release in releases.filter(|release| release.index < index) {
        let known = match older.len() {
            MAX_OLDER => None,
            _ => statement(to.store, release)?,
        };
        let Some((statement, _)) = known else {
            return Ok((older, release.index));
        };
        let tree = release::read_pack(to.store, &statement)?.tree;
        older.push(Older {
            index: release.index,
            objects: release::objects(&tree).into_keys().collect(),
        });
    }
    Ok((older, 0))
}
