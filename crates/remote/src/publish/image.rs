// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images of a release: each made of files of its own release, and, where that is shorter, of the
//! image of an older one too.

use std::fs::File;
use std::io::Read as _;

use sealroot::delta::{self, ImageMaking};
use sealroot::initramfs::CertificateName;
use sealroot::keyring::{self, Unopened};
use sealroot::monitor::Monitor;
use sealroot::monitor::Unit;
use sealroot::release;
use sealroot::store::{ImageName, Store, StoreError};
use sealroot::uki;
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::sign::{
    Channel, ChannelImage, ChannelImageDelta, ChannelRelease, Name, RemoteFile,
};
use sealroot_format::tree::Tree;

use super::{Image, Publishing, Release, publish_error, scratch, statement};
use crate::bundle;
use crate::error::RemoteError;
use crate::layout::Kind;
use crate::plan::REQUEST_BYTES;

/// An image that would boot the release.
pub(super) struct Checked<'i> {
    name: &'i Name,
    bytes: &'i [u8],
    digest: VerityDigest,
    verity_certificates: Vec<CertificateName>,
}

/// That the boot program in an image would take the release, wherever it is deployed.
pub(super) fn check_image<'i>(
    image: &'i Image,
    release: &Release<'_>,
    monitor: &dyn Monitor,
) -> Result<Checked<'i>, RemoteError> {
    let Image { name, bytes } = image;
    let refused = |source: uki::UkiError| RemoteError::Image {
        name: name.clone(),
        source: Box::new(source),
    };
    let contents = uki::read(bytes).map_err(refused)?;
    let named = contents.check_release(release.statement, release.document);
    if let Some(named) = named.map_err(refused)?
        && named.serial != 0
    {
        return Err(publish_error(format!(
            "the image {name} boots the deployment {named} only, and the first one of a release has the number 0"
        )));
    }
    let signatures = uki::signatures(bytes).map_err(refused)?;
    if signatures.is_some_and(|signatures| signatures.is_empty()) {
        monitor.warn(format!(
            "the image {name} is not signed: no machine with Secure Boot starts it, and `upgrade` takes images nowhere else; \
             `sealroot uki sign` signs it"
        ));
    }
    Ok(Checked {
        name,
        bytes,
        digest: compute_verity_digest(bytes),
        verity_certificates: contents.verity_certificates,
    })
}

/// That a machine opens the objects of a release with an image, those too that it has signed.
pub(super) fn check_certificates(
    image: &Checked<'_>,
    channel: &Channel,
    store: &Store,
    tree: &Tree,
) -> Result<(), RemoteError> {
    let certificates = &image.verity_certificates;
    let refused = |reason| RemoteError::ImageWithoutCertificate {
        name: image.name.clone(),
        reason,
    };
    for object in release::objects(tree).into_keys() {
        if let Some(signature) = store.read_object_signature(&object)?
            && !keyring::opens(&signature, certificates)
        {
            let unopened = Unopened {
                object,
                certificates: certificates.len(),
            };
            return Err(refused(unopened.to_string()));
        }
    }
    match channel.signatures.last() {
        Some(signatures) if certificates.is_empty() => Err(refused(format!(
            "it has no certificate, and machines may have signed objects of release {}",
            signatures.index
        ))),
        _ => Ok(()),
    }
}

impl Publishing<'_> {
    /// Adds an image of a release, and what makes it of those of `older` ones.
    pub(super) fn add_image(
        &self,
        channel: &mut Channel,
        older: &[&ChannelRelease],
        to: &bundle::Release<'_>,
        image: &Checked<'_>,
    ) -> Result<(), RemoteError> {
        let (index, name) = (to.statement.index, image.name);
        let known = channel.image(index, name).cloned();
        let known = known.filter(|known| known.digest == image.digest);
        if known.is_none() {
            let is_end = |delta: &ChannelImageDelta| [delta.from, delta.to].contains(&index);
            (channel.image_deltas).retain(|delta| delta.name != *name || !is_end(delta));
        }
        let file = match known {
            Some(known) if self.is_there(Kind::Image, &known.file)? => known.file,
            _ => self.put_image(to, image.bytes, None)?,
        };
        (channel.images).retain(|other| (other.index, &other.name) != (index, name));
        channel.images.push(ChannelImage {
            index,
            name: name.clone(),
            digest: image.digest,
            size_bytes: image.bytes.len() as u64,
            file,
        });
        for from in older {
            self.add_image_delta(channel, from, to, image, &file)?;
        }
        (channel.images).sort_by_key(|image| (image.index, image.name.clone()));
        let key = |delta: &ChannelImageDelta| (delta.from, delta.to, delta.name.clone());
        channel.image_deltas.sort_by_key(key);
        Ok(())
    }

    /// Adds what makes an image of that of an older release, if the one has such an image, and much is saved.
    fn add_image_delta(
        &self,
        channel: &mut Channel,
        from: &ChannelRelease,
        to: &bundle::Release<'_>,
        image: &Checked<'_>,
        whole: &RemoteFile,
    ) -> Result<(), RemoteError> {
        let (index, name) = (to.statement.index, image.name);
        let Some(old) = channel.image(from.index, name) else {
            return Ok(());
        };
        let is_known = |delta: &&ChannelImageDelta| {
            (delta.from, delta.to, &delta.name) == (from.index, index, name)
        };
        if let Some(known) = channel.image_deltas.iter().find(is_known)
            && self.is_there(Kind::Image, &known.file)?
        {
            return Ok(());
        }
        let Some(old) = read_image(to.store, from, old)? else {
            self.monitor.warn(format!(
                "the store does not have the image {name} of release {} any more: no delta from it",
                from.index
            ));
            return Ok(());
        };
        let (file, content) = self.make_image(to, image.bytes, Some(&old))?;
        if file.size_bytes.saturating_add(REQUEST_BYTES) > whole.size_bytes {
            return Ok(());
        }
        self.put_made(Kind::Image, &file, content)?;
        (channel.image_deltas).retain(|delta| !is_known(&delta));
        channel.image_deltas.push(ChannelImageDelta {
            from: from.index,
            to: index,
            name: name.clone(),
            file,
        });
        Ok(())
    }

    fn put_image(
        &self,
        release: &bundle::Release<'_>,
        image: &[u8],
        old: Option<&[u8]>,
    ) -> Result<RemoteFile, RemoteError> {
        let (file, content) = self.make_image(release, image, old)?;
        self.put_made(Kind::Image, &file, content)?;
        Ok(file)
    }

    fn make_image(
        &self,
        release: &bundle::Release<'_>,
        image: &[u8],
        old: Option<&[u8]>,
    ) -> Result<(RemoteFile, File), RemoteError> {
        self.monitor.start("compare images", Unit::Items, None);
        let parts = uki::parts(image).map_err(|error| publish_error(error.to_string()))?;
        let mut content = scratch(release.store)?;
        let making = ImageMaking {
            release: &delta::Release {
                store: release.store,
                pack: release.statement.pack_digest,
                tree: release.tree,
            },
            image,
            parts: &parts,
            old,
        };
        let made = making.make(&mut content)?;
        let file = RemoteFile {
            head: made.head,
            head_bytes: made.head_bytes,
            size_bytes: made.delta_bytes,
        };
        Ok((file, content))
    }

    /// Publishes again images that a channel leads to and that are not there any more as they were published, as far
    /// as the store has them. The others are offered no more.
    pub(super) fn mend_images(
        &self,
        channel: &mut Channel,
        store: &Store,
    ) -> Result<(), RemoteError> {
        let mut images = Vec::new();
        for mut image in std::mem::take(&mut channel.images) {
            if !self.is_there(Kind::Image, &image.file)? {
                let ChannelImage { index, name, .. } = &image;
                let again = self.make_image_again(channel, store, &image)?;
                let what = match again {
                    Some(_) => "published again",
                    None => "offered no more: publish it again with --uki",
                };
                self.monitor.warn(format!(
                    "the image {name} of release {index} is not there as it was published, and is {what}"
                ));
                let Some(file) = again else { continue };
                image.file = file;
            }
            images.push(image);
        }
        channel.images = images;
        let mut deltas = Vec::new();
        for delta in std::mem::take(&mut channel.image_deltas) {
            let has_image = |index| channel.image(index, &delta.name).is_some();
            if self.is_there(Kind::Image, &delta.file)?
                && has_image(delta.from)
                && has_image(delta.to)
            {
                deltas.push(delta);
            }
        }
        channel.image_deltas = deltas;
        Ok(())
    }

    fn make_image_again(
        &self,
        channel: &Channel,
        store: &Store,
        image: &ChannelImage,
    ) -> Result<Option<RemoteFile>, RemoteError> {
        let Some(release) = channel.release(image.index) else {
            return Ok(None);
        };
        let Some(bytes) = read_image(store, release, image)? else {
            return Ok(None);
        };
        let Some((statement, _)) = statement(store, release)? else {
            return Ok(None);
        };
        let tree = release::read_pack(store, &statement)?.tree;
        let release = bundle::Release {
            store,
            statement: &statement,
            tree: &tree,
        };
        Ok(Some(self.put_image(&release, &bytes, None)?))
    }
}

/// An image that was published, if the store has it.
fn read_image(
    store: &Store,
    release: &ChannelRelease,
    image: &ChannelImage,
) -> Result<Option<Vec<u8>>, RemoteError> {
    let name = ImageName {
        pack: release.pack,
        image: image.digest,
    };
    let file = match store.open_image(&name) {
        Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    let read = file.reader().read_to_end(&mut bytes);
    read.map_err(RemoteError::io("read an image"))?;
    Ok((compute_verity_digest(&bytes) == image.digest).then_some(bytes))
}
