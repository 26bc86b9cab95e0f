// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a channel leads to, and is not there any more as it was published.

use std::collections::HashMap;

use sealroot::release;
use sealroot::store::Store;
use sealroot_format::digest::Sha256Digest;
use sealroot_format::sign::{Channel, ChannelDelta, ChannelImage, ChannelRelease};

use super::offer::read_head;
use super::{Publishing, publish_error, statement};
use crate::bundle;
use crate::error::RemoteError;
use crate::layout::Kind;

impl Publishing<'_> {
    /// Publishes again what a channel leads to and is not there any more as it was published.
    pub(super) fn mend(&self, channel: &mut Channel, store: &Store) -> Result<(), RemoteError> {
        let mut sizes = HashMap::new();
        for (at, release) in channel.releases.clone().into_iter().enumerate() {
            if self.is_whole(&release, &mut sizes)? {
                continue;
            }
            let index = release.index;
            self.monitor.warn(format!(
                "release {index} is not there as it was published, and is published again"
            ));
            let Some((statement, document)) = statement(store, &release)? else {
                return Err(publish_error(format!(
                    "the store does not have release {index}: put its files back, or leave it out with --keep"
                )));
            };
            let text = document.to_string();
            if bundle::sha256(text.as_bytes()) != release.statement.head {
                return Err(publish_error(format!(
                    "the statement of release {index} has other signatures in the store than were published"
                )));
            }
            if !self.is_there(Kind::Statement, &release.statement)? {
                let path = Kind::Statement.path(&release.statement);
                self.put(path, text.len() as u64, &mut text.as_bytes())?;
            }
            let tree = release::check_pack(store, &statement)?;
            let again = bundle::Release {
                store,
                statement: &statement,
                tree: &tree,
            };
            channel.releases[at].bundle = self.put_bundle(channel, &again)?;
            sizes.clear();
        }
        let mut deltas = Vec::new();
        for delta in &channel.deltas {
            if self.is_there(Kind::Delta, &delta.file)? {
                deltas.push(*delta);
            } else {
                let ChannelDelta { from, to, .. } = delta;
                self.monitor.warn(format!(
                    "the delta from {from} to {to} is not there any more, and is offered no more"
                ));
            }
        }
        channel.deltas = deltas;
        self.mend_images(channel, store)?;
        self.mend_signatures(channel)
    }

    pub(super) fn warn_of_damage(&self, channel: &Channel) -> Result<(), RemoteError> {
        let mut sizes = HashMap::new();
        for release in &channel.releases {
            if !self.is_whole(release, &mut sizes)? {
                self.monitor.warn(format!(
                    "release {} is not there as it was published: publish it again",
                    release.index
                ));
            }
        }
        for ChannelImage {
            index, name, file, ..
        } in &channel.images
        {
            if !self.is_there(Kind::Image, file)? {
                self.monitor.warn(format!(
                    "the image {name} of release {index} is not there as it was published: publish it again"
                ));
            }
        }
        Ok(())
    }

    /// Whether a release's statement and bundle are there, and those in which more of its objects lie, as far as their
    /// lengths tell. `sizes` are those that were asked for.
    fn is_whole(
        &self,
        release: &ChannelRelease,
        sizes: &mut HashMap<String, Option<u64>>,
    ) -> Result<bool, RemoteError> {
        if !self.is_there(Kind::Statement, &release.statement)?
            || !self.is_there(Kind::Bundle, &release.bundle)?
        {
            return Ok(false);
        }
        let Some(head) = read_head(self.destination, &release.bundle)? else {
            return Ok(false);
        };
        let mut ends: HashMap<Sha256Digest, u64> = HashMap::new();
        for place in head.places(&release.bundle)? {
            let end = ends.entry(place.bundle).or_default();
            *end = place.start.saturating_add(place.size_bytes).max(*end);
        }
        for (bundle, end) in ends {
            let path = Kind::Bundle.path_of(&bundle);
            let size_bytes = match sizes.get(&path) {
                Some(size_bytes) => *size_bytes,
                None => self.destination.size_of(&path)?,
            };
            sizes.insert(path, size_bytes);
            if size_bytes.is_none_or(|size_bytes| size_bytes < end) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
