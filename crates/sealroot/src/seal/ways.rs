// SPDX-License-Identifier: MIT OR Apache-2.0
//! All that a machine may boot by its menus, and what of it seals.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use rustix::fs::fstat;
use sealroot_format::digest::{Sha256Digest, VerityDigest};
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Keyset, Verified};

use crate::check::explain;
use crate::entry::{
    Boot, BootIo, Entries, Entry, EntryError, Loader, Owner, Places, Starts, Unreadable,
};
use crate::uki;

/// Something that a boot loader shows.
#[derive(Clone, Debug)]
pub struct Way {
    /// The partition.
    pub place: PathBuf,
    /// The entry's file in `loader/entries`, or an image by its path on the partition.
    pub file: String,
    /// What kind of thing.
    pub kind: WayKind,
    /// Whether it is an entry as sealroot writes them.
    pub is_ours: bool,
    /// The deployment that it boots, if it is ours.
    pub deployment: Option<DeploymentName>,
    /// What it starts, if that seals; else why it does not.
    pub image: Result<SealedImage, String>,
}

/// What a boot loader makes something to show of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WayKind {
    /// An entry.
    Entry,
    /// An entry that cannot be read.
    Unreadable,
    /// An image that needs no entry.
    Image,
}

/// An image that seals: complete, with a policy that seals, and signed.
#[derive(Clone, Debug)]
pub struct SealedImage {
    /// SHA-256 digests of the certificates by which it verifies.
    pub signers: BTreeSet<[u8; 32]>,
    /// The digest by which firmware may know it.
    pub digest: [u8; 32],
    /// The pack that it boots, if its policy names one.
    pub pack: Option<VerityDigest>,
    /// Whom it trusts to sign releases.
    pub keyset: Verified<Keyset>,
}

impl SealedImage {
    /// Looks through a file; why it does not seal, if it does not. That a machine trusts who has
    /// signed it is not said.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let none_of_ours =
            |error: uki::UkiError| format!("it is no image of sealroot's: {}", explain(&error));
        let contents = uki::read(bytes).map_err(none_of_ours)?;
        if let Some(found) = contents.unsealed() {
            return Err(format!("its image does not seal: the policy has {found}"));
        }
        let signatures = uki::signatures(bytes).map_err(none_of_ours)?;
        let signatures = signatures.unwrap_or_default();
        let good = signatures.iter().filter(|one| one.fault.is_none());
        let signers: BTreeSet<_> = good.map(|one| one.fingerprint).collect();
        if signers.is_empty() {
            return Err("its image is not signed".to_owned());
        }
        Ok(Self {
            signers,
            digest: uki::digest(bytes).map_err(none_of_ours)?,
            pack: contents.policy.pinned.pack().map(|pinned| pinned.digest),
            keyset: contents.keyset,
        })
    }
}

/// All that the menu of one partition shows, what boots first at the front; then the images that
/// need no entry.
pub fn ways<B: BootIo>(boot: &Boot<B>, entries: &Entries) -> Result<Vec<Way>, EntryError> {
    let place = boot.location().to_owned();
    let mut seen = BTreeMap::new();
    let mut ways = Vec::new();
    let is_file = |entry: &&Entry| entry.owner != Owner::Firmware;
    for entry in entries.in_boot_order().iter().filter(is_file) {
        ways.push(Way {
            place: place.clone(),
            file: entry.file_name.clone(),
            kind: WayKind::Entry,
            is_ours: entry.ours().is_some(),
            deployment: entry.deployment(),
            image: image_of(boot, entry, &mut seen)?,
        });
    }
    if let Some(Unreadable { path, reason }) = entries.unreadable() {
        let name = path.file_name().unwrap_or_default();
        ways.push(Way {
            place: place.clone(),
            file: name.to_string_lossy().into_owned(),
            kind: WayKind::Unreadable,
            is_ours: false,
            deployment: None,
            image: Err(format!("it cannot be read: {reason}")),
        });
    }
    for path in boot.images_without_entry()? {
        let image = match boot.file(&path) {
            Ok(Some(bytes)) => SealedImage::read(&bytes),
            Ok(None) => continue,
            Err(error) => Err(explain(&error)),
        };
        ways.push(Way {
            place: place.clone(),
            file: path,
            kind: WayKind::Image,
            is_ours: false,
            deployment: None,
            image,
        });
    }
    Ok(ways)
}

/// Entries share images: each is read once.
fn image_of<B: BootIo>(
    boot: &Boot<B>,
    entry: &Entry,
    seen: &mut BTreeMap<Sha256Digest, Result<SealedImage, String>>,
) -> Result<Result<SealedImage, String>, EntryError> {
    let ours = match &entry.owner {
        Owner::Sealroot(ours) => ours,
        Owner::Changed { reason, .. } => {
            return Ok(Err(format!("it was changed by hand: {reason}")));
        }
        Owner::Ostree => return Ok(Err("it is OSTree's".to_owned())),
        Owner::Other | Owner::Firmware => return Ok(Err("it is none of sealroot's".to_owned())),
    };
    if let Starts::Kernel(_) = ours.text.starts {
        let reason = "its initramfs lies beside the kernel, and no firmware verifies it";
        return Ok(Err(reason.to_owned()));
    }
    if let Some(known) = seen.get(&ours.text.files) {
        return Ok(known.clone());
    }
    let image = match boot.image(ours)? {
        Some(bytes) => SealedImage::read(&bytes),
        None => Err("its image is missing".to_owned()),
    };
    seen.insert(ours.text.files, image.clone());
    Ok(image)
}

/// The other directories in which a boot loader may look for entries, besides the partition that was
/// found: it may be set up to start those as well.
pub fn further_partitions(places: &Places, found: &Boot) -> Result<Vec<Boot>, EntryError> {
    let id = |boot: &Boot| {
        let stat = fstat(boot.io()).map_err(|errno| EntryError::Io {
            operation: "look at",
            path: boot.location().to_owned(),
            source: errno.into(),
        })?;
        Ok::<_, EntryError>((stat.st_dev, stat.st_ino))
    };
    let mut seen = BTreeSet::from([id(found)?]);
    let mut further = Vec::new();
    for directory in &places.directories {
        match Boot::open(directory, Loader::SystemdBoot) {
            Err(EntryError::Io { source, .. }) if is_absent(&source) => {}
            Err(error) => return Err(error),
            Ok(boot) if seen.insert(id(&boot)?) => further.push(boot),
            Ok(_) => {}
        }
    }
    Ok(further)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
