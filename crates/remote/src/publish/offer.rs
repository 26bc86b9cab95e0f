// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release as a channel offers it: its bundle, the deltas that lead to it, its images and signatures.

use sealroot::delta;
use sealroot::release;
use sealroot_format::limits;
use sealroot_format::sign::{Channel, ChannelDelta, ChannelRelease, RemoteFile, Statement};

use super::image::{check_certificates, check_image};
use super::{Destination, Publishing, Release, scratch, statement};
use crate::bundle::{self, Earlier, Head};
use crate::error::RemoteError;
use crate::layout::Kind;

impl Publishing<'_> {
    /// Adds a release, with all that leads to it.
    pub(super) fn add_release(
        &self,
        channel: &mut Channel,
        release: &Release<'_>,
    ) -> Result<(), RemoteError> {
        let Release {
            store,
            statement,
            document,
            images,
        } = *release;
        let checked = images
            .iter()
            .map(|image| check_image(image, release, self.monitor));
        let images: Vec<_> = checked.collect::<Result<_, _>>()?;
        let index = statement.index;
        let text = document.to_string();
        let head = bundle::sha256(text.as_bytes());
        let size_bytes = text.len() as u64;
        let file = RemoteFile {
            head,
            head_bytes: size_bytes,
            size_bytes,
        };
        let known = channel.release(index).copied();
        check_index(channel, statement)?;
        // The pack is read in full here, and its grammar checked.
        let tree = release::check_pack(store, statement)?;
        for image in &images {
            check_certificates(image, channel, store, &tree)?;
        }
        let to = bundle::Release {
            store,
            statement,
            tree: &tree,
        };
        let bundle = match known {
            Some(known) if self.is_there(Kind::Bundle, &known.bundle)? => known.bundle,
            _ => self.put_bundle(channel, &to)?,
        };
        let offered = ChannelRelease {
            index,
            epoch: statement.epoch,
            pack: statement.pack_digest,
            statement: file,
            bundle,
        };
        channel.releases.retain(|release| release.index != index);
        let older = channel.releases.clone();
        let older = older.iter().rev().filter(|release| release.index < index);
        // None from what the channel is not to offer any more.
        let kept = self.terms.keep.unwrap_or(usize::MAX).saturating_sub(1);
        let older: Vec<_> = older.take(self.terms.deltas.min(kept)).collect();
        for from in &older {
            self.add_delta(channel, from, &to)?;
        }
        for image in &images {
            self.add_image(channel, &older, &to, image)?;
        }
        self.add_signatures(channel, &to)?;
        let path = Kind::Statement.path(&file);
        if !self.is_there(Kind::Statement, &file)? {
            self.put(path, size_bytes, &mut text.as_bytes())?;
        }
        channel.releases.push(offered);
        channel.releases.sort_by_key(|release| release.index);
        channel.deltas.sort_by_key(|delta| (delta.from, delta.to));
        Ok(())
    }

    pub(super) fn put_bundle(
        &self,
        channel: &Channel,
        release: &bundle::Release<'_>,
    ) -> Result<RemoteFile, RemoteError> {
        let earlier = self.earlier(channel, release)?;
        let mut file = scratch(release.store)?;
        let (level, scratch) = (self.terms.level, scratch(release.store)?);
        let bundle = bundle::make(release, &earlier, level, scratch, &mut file, self.monitor)?;
        self.put_made(Kind::Bundle, &bundle, file)?;
        Ok(bundle)
    }

    /// Where the objects of earlier releases lie, as far as the store still knows what they are.
    fn earlier(
        &self,
        channel: &Channel,
        than: &bundle::Release<'_>,
    ) -> Result<Earlier, RemoteError> {
        let mut earlier = Earlier::new();
        for release in channel
            .releases
            .iter()
            .filter(|release| release.index < than.statement.index)
        {
            let Some((statement, _)) = statement(than.store, release)? else {
                continue;
            };
            let tree = release::read_pack(than.store, &statement)?.tree;
            let Some(head) = read_head(self.destination, &release.bundle)? else {
                continue;
            };
            let places = head.places(&release.bundle)?;
            let objects = delta::objects_in_order(&tree).into_iter();
            earlier.extend(objects.map(|(digest, _)| digest).zip(places));
        }
        Ok(earlier)
    }

    fn add_delta(
        &self,
        channel: &mut Channel,
        from: &ChannelRelease,
        to: &bundle::Release<'_>,
    ) -> Result<(), RemoteError> {
        let index = to.statement.index;
        let known = channel.deltas.iter();
        let known = known
            .copied()
            .find(|delta| (delta.from, delta.to) == (from.index, index));
        if let Some(known) = known
            && self.is_there(Kind::Delta, &known.file)?
        {
            return Ok(());
        }
        let store = to.store;
        let Some((statement, _)) = statement(store, from)? else {
            self.monitor.warn(format!(
                "the store does not have release {} any more: no delta from it",
                from.index
            ));
            return Ok(());
        };
        let old = release::read_pack(store, &statement)?.tree;
        let side = |pack, tree| delta::Release { store, pack, tree };
        let mut file = scratch(store)?;
        let made = delta::make(
            &side(statement.pack_digest, &old),
            &side(to.statement.pack_digest, to.tree),
            scratch(store)?,
            &mut file,
            self.monitor,
        )?;
        let delta = RemoteFile {
            head: made.head,
            head_bytes: made.head_bytes,
            size_bytes: made.delta_bytes,
        };
        self.put_made(Kind::Delta, &delta, file)?;
        (channel.deltas).retain(|delta| (delta.from, delta.to) != (from.index, index));
        channel.deltas.push(ChannelDelta {
            from: from.index,
            to: index,
            file: delta,
        });
        Ok(())
    }
}

/// That devices would go on to a release.
fn check_index(channel: &Channel, statement: &Statement) -> Result<(), RemoteError> {
    let index = statement.index;
    let newest = channel.newest().map_or(0, |newest| newest.index);
    let reason = match channel.release(index) {
        Some(known) if known.pack != statement.pack_digest => {
            format!("another release with the index {index} was published")
        }
        None if index <= newest => {
            format!(
                "its index is {index}, and {newest} was published: devices go on to higher ones only"
            )
        }
        None if !channel.releases.is_empty() && index - newest > limits::MAX_CHANNEL_STEP => {
            format!(
                "its index is {index}, and the newest published one {newest}: devices refuse such a leap"
            )
        }
        _ => return Ok(()),
    };
    Err(RemoteError::Index { reason, newest })
}

/// The head of a published bundle; `None` if it is not there as it was published.
pub(super) fn read_head(
    destination: &dyn Destination,
    bundle: &RemoteFile,
) -> Result<Option<Head>, RemoteError> {
    let head = destination.read(&Kind::Bundle.path(bundle), bundle.head_bytes)?;
    let head = head.filter(|head| bundle::sha256(head) == bundle.head);
    head.map(|head| Head::parse(&head)).transpose()
}
