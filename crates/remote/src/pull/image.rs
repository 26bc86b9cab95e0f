// SPDX-License-Identifier: MIT OR Apache-2.0
//! The unified kernel image of a release, made of files of the release, which is there by then, and of an older image.

use sealroot::delta::{ImageApplication, ImageOutline, Release};
use sealroot::monitor::{Monitor, Unit};
use sealroot::store::ImageName;
use sealroot_format::digest::VerityDigest;
use sealroot_format::erofs::ReadAt;
use sealroot_format::sign::{ChannelImage, ChannelImageDelta, Name, RemoteFile, Statement};

use super::{Puller, is_fault_of_delta};
use crate::error::RemoteError;
use crate::layout::Kind;
use crate::part::{Fetch, Piece};
use crate::plan::{ImageStep, ImageWay, Plan};

impl Puller<'_> {
    /// The same plan, and the image of this name.
    pub fn with_image(&self, plan: Plan, name: &Name) -> Result<Plan, RemoteError> {
        let channel = self.channel()?;
        let of_name = channel.images.iter().filter(|image| image.name == *name);
        let is_there = |image: &&ChannelImage| {
            let found = self
                .image_name(image)
                .map(|name| self.store.open_image(&name));
            found.is_ok_and(|opened| opened.is_ok())
        };
        let present = of_name.filter(is_there).map(|image| image.index).collect();
        plan.with_image(channel, &present, name)
    }

    /// What the image of an offered release is called in the store.
    fn image_name(&self, image: &ChannelImage) -> Result<ImageName, RemoteError> {
        Ok(ImageName {
            pack: self.offered(image.index)?.pack,
            image: image.digest,
        })
    }

    /// Brings the image of a release that is there.
    pub(super) fn pull_image(
        &self,
        step: &ImageStep,
        statement: &Statement,
        monitor: &dyn Monitor,
    ) -> Result<ImageName, RemoteError> {
        let image = &step.image;
        match &step.by {
            ImageWay::Present => {}
            ImageWay::Release => self.make_image(image, &image.file, None, statement, monitor)?,
            ImageWay::Delta(delta) => match self.patch_image(image, delta, statement, monitor) {
                Err(error) if is_fault_of_delta(&error) => {
                    monitor.warn(format!(
                        "the image is not made of the one of release {}, and more of it is fetched instead: {error}",
                        delta.from
                    ));
                    self.make_image(image, &image.file, None, statement, monitor)?;
                }
                made => made?,
            },
        }
        self.image_name(image)
    }

    /// Makes an image of the one of another release.
    fn patch_image(
        &self,
        image: &ChannelImage,
        delta: &ChannelImageDelta,
        statement: &Statement,
        monitor: &dyn Monitor,
    ) -> Result<(), RemoteError> {
        let old = self.channel()?.image(delta.from, &delta.name);
        let old = old.ok_or(RemoteError::NoRelease { index: delta.from })?;
        let file = self.store.open_image(&self.image_name(old)?)?;
        let old = (old.digest, &file as &dyn ReadAt);
        self.make_image(image, &delta.file, Some(old), statement, monitor)
    }

    fn make_image(
        &self,
        image: &ChannelImage,
        file: &RemoteFile,
        old: Option<(VerityDigest, &dyn ReadAt)>,
        statement: &Statement,
        monitor: &dyn Monitor,
    ) -> Result<(), RemoteError> {
        let fetch = Fetch {
            beside_bytes: self.store.allocated_bytes(image.size_bytes),
            ..self.fetch(Kind::Image, *file, statement)
        };
        monitor.start("fetching the image", Unit::Bytes, Some(file.size_bytes));
        let read_head = |head: &[u8]| {
            let outline = ImageOutline::parse(head)?;
            let pieces = outline.groups().map(|group| Piece {
                size_bytes: group.size_bytes,
                sha256: group.sha256,
                is_wanted: true,
            });
            Ok(((), pieces.collect()))
        };
        let mut content = fetch.complete(&read_head, monitor)?.content;
        let tree = self.tree(statement)?;
        let application = ImageApplication {
            release: &Release {
                store: self.store,
                pack: statement.pack_digest,
                tree: &tree,
            },
            digest: image.digest,
            size_bytes: image.size_bytes,
            old,
        };
        let transaction = self.store.begin(monitor)?;
        let made = application.apply(&transaction, &mut content);
        let made =
            made.map_err(|error| RemoteError::from(error).needing(self.store, fetch.beside_bytes));
        if made.as_ref().is_err_and(is_fault_of_delta) {
            fetch.forget()?;
        }
        made?;
        transaction.finish()?;
        self.last.replace(Some((statement.pack_digest, tree)));
        Ok(())
    }
}
