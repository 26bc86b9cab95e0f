// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing files that no channel leads to any more.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use sealroot_format::limits;
use sealroot_format::sign::{Channel, Unverified};

use super::destination::{Destination, Listed};
use super::offer::read_head;
use crate::error::RemoteError;
use crate::layout::Kind;

/// What pruning did, or would do.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What was removed.
    pub removed: Vec<Listed>,
    /// What no channel leads to and is too young to be removed: a device may be fetching it.
    pub young: Vec<Listed>,
    /// Files that stay.
    pub kept: u64,
}

/// Removes statements, bundles, deltas, images and signatures that no channel leads to, if they were put there at least `age`
/// before `now`: devices may still go by a channel that was replaced. All else stays.
///
/// Signatures are not verified: what is there is the vendor's own, and a channel that cannot be read stops
/// it.
pub fn prune(
    destination: &dyn Destination,
    now: SystemTime,
    age: Duration,
) -> Result<Pruned, RemoteError> {
    let listed = destination.list()?;
    let mut live = BTreeSet::new();
    let channels: Vec<_> = (listed.iter()).filter(|file| file.is_channel()).collect();
    if channels.is_empty() {
        let location = destination.location();
        return Err(RemoteError::NothingPublished { location });
    }
    for file in channels {
        let most = limits::MAX_CHANNEL_BYTES as u64;
        let bytes = destination.read(&file.path, most + 1)?.unwrap_or_default();
        let unusable = RemoteError::document(destination.location(), &file.path);
        let document = Unverified::<Channel>::parse(&bytes).map_err(&unusable)?;
        let channel = Channel::parse(document.body()).map_err(&unusable)?;
        for release in &channel.releases {
            live.insert(Kind::Statement.path(&release.statement));
            let path = Kind::Bundle.path(&release.bundle);
            let head = read_head(destination, &release.bundle)?;
            let head = head.ok_or_else(|| RemoteError::Publish {
                reason: format!(
                    "{path} is not what was published: publish release {} again",
                    release.index
                ),
            })?;
            live.extend(
                head.others()
                    .iter()
                    .map(|other| Kind::Bundle.path_of(other)),
            );
            live.insert(path);
        }
        let deltas = channel.deltas.iter();
        live.extend(deltas.map(|delta| Kind::Delta.path(&delta.file)));
        let images = channel.images.iter().map(|image| &image.file);
        let images = images.chain(channel.image_deltas.iter().map(|delta| &delta.file));
        live.extend(images.map(|file| Kind::Image.path(file)));
        let signatures = channel.signatures.iter();
        live.extend(signatures.map(|signatures| Kind::Signatures.path(&signatures.file)));
    }
    let mut pruned = Pruned::default();
    for file in listed {
        if live.contains(&file.path) || !Kind::is_path(&file.path) {
            pruned.kept += 1;
        } else if now.duration_since(file.modified).unwrap_or_default() < age {
            pruned.young.push(file);
        } else {
            destination.remove(&file.path)?;
            pruned.removed.push(file);
        }
    }
    Ok(pruned)
}
