// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vendor's side: releases put where a server serves them. What a name in the channel needs is there
//! before the channel that names it, which is replaced last and at once.

#[cfg(feature = "object-store")]
mod bucket;
mod destination;
mod image;
mod keyset;
mod mend;
mod offer;
mod prune;
mod signatures;
mod trial;

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sealroot::monitor::Monitor;
use sealroot::release;
use sealroot::signer::Signer;
use sealroot::store::{CONFIG_NAME, Store};
use sealroot_format::limits;
use sealroot_format::sign::{
    Channel, ChannelRelease, Keyset, Name, RemoteFile, Role, Statement, Unverified, Verified,
};

use crate::error::RemoteError;
use crate::layout::{ChannelName, Kind, keyset_path};

#[cfg(feature = "object-store")]
pub use bucket::BucketDestination;
pub use destination::{Destination, DirectoryDestination, Listed};
pub use prune::{Pruned, prune};
pub use trial::Trial;

/// The directory that somebody means by `place`, `file://` before it or not; `None` if it is the address
/// of a bucket.
pub fn directory(place: &Path) -> Option<&Path> {
    match place.to_str().and_then(|place| place.split_once("://")) {
        None => Some(place),
        Some(("file", path)) => Some(Path::new(path)),
        Some(_) => None,
    }
}

/// Opens a place to publish to: a directory, or a bucket as `s3://bucket/prefix`, `gs://` or `az://`.
pub fn open(place: &Path) -> Result<Box<dyn Destination>, RemoteError> {
    match directory(place) {
        Some(directory) => {
            if directory.join(CONFIG_NAME).exists() {
                let reason = format!("{} is a store", directory.display());
                return Err(publish_error(reason));
            }
            Ok(Box::new(DirectoryDestination::open(directory)?))
        }
        None => open_address(place),
    }
}

/// Opens such a place to see what would be done there.
pub fn open_for_trial(place: &Path) -> Result<Trial, RemoteError> {
    Ok(Trial(match directory(place) {
        Some(directory) => Box::new(DirectoryDestination::look(directory)),
        None => open_address(place)?,
    }))
}

fn open_address(place: &Path) -> Result<Box<dyn Destination>, RemoteError> {
    let address = place.display().to_string();
    if !SCHEMES.iter().any(|scheme| address.starts_with(scheme)) {
        return Err(publish_error(format!(
            "{address} is neither a directory nor one of {}",
            SCHEMES.join(", ")
        )));
    }
    open_bucket(&address)
}

/// How addresses of buckets begin.
const SCHEMES: [&str; 3] = ["s3://", "gs://", "az://"];

#[cfg(feature = "object-store")]
fn open_bucket(address: &str) -> Result<Box<dyn Destination>, RemoteError> {
    let patience = crate::fetch::Patience::default();
    let bucket = BucketDestination::open(address, &[], patience)?;
    Ok(Box::new(bucket))
}

#[cfg(not(feature = "object-store"))]
fn open_bucket(address: &str) -> Result<Box<dyn Destination>, RemoteError> {
    Err(publish_error(format!(
        "{address} is a bucket, and this sealroot was built without the feature object-store"
    )))
}

/// Who publishes.
#[derive(Debug)]
pub struct Vendor<'v> {
    /// Whom devices trust from now on.
    pub keyset: &'v Unverified<Keyset>,
    /// Makes the signature of the channel.
    pub signer: &'v Signer,
}

/// A release that is published.
#[derive(Clone, Copy, Debug)]
pub struct Release<'r> {
    /// Where it is, and those before it.
    pub store: &'r Store,
    /// What it is; its signatures are the caller's to have verified.
    pub statement: &'r Verified<Statement>,
    /// The file that devices get.
    pub document: &'r Unverified<Statement>,
    /// Unified kernel images that boot it. Those that were published before stay.
    pub images: &'r [Image],
}

/// A unified kernel image that is published.
#[derive(Clone, Debug)]
pub struct Image {
    /// Which of the release's.
    pub name: Name,
    /// The file.
    pub bytes: Vec<u8>,
}

/// How it is published.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time, seconds since 1970.
    pub now: u64,
    /// How long the channel is to be believed, seconds.
    pub lifetime_seconds: u64,
    /// From how many releases before it deltas lead to the release.
    pub deltas: usize,
    /// How many releases the channel goes on to offer; all without it.
    pub keep: Option<usize>,
    /// The version that devices have seen of a channel that was lost; 0 where none was.
    pub after_version: u64,
    /// The level of zstd at which bundles are compressed.
    pub level: i32,
}

/// A file that was put, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Its path in the repository.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
}

/// What publishing did, or would do.
#[derive(Debug)]
pub struct Published {
    /// The channel as it is now.
    pub channel: Channel,
    /// What is new, in the order in which it was put.
    pub put: Vec<Put>,
}

/// Publishes a release.
pub fn publish(
    destination: &dyn Destination,
    vendor: &Vendor<'_>,
    release: &Release<'_>,
    terms: &Terms,
    monitor: &dyn Monitor,
) -> Result<Published, RemoteError> {
    let name = ChannelName::of_release(release.statement);
    put_channel(destination, vendor, &name, Some(release), terms, monitor)
}

/// Has devices believe a channel for longer that offers what it offered before, or less of it.
pub fn renew(
    destination: &dyn Destination,
    vendor: &Vendor<'_>,
    name: &ChannelName,
    terms: &Terms,
    monitor: &dyn Monitor,
) -> Result<Published, RemoteError> {
    put_channel(destination, vendor, name, None, terms, monitor)
}

fn put_channel(
    destination: &dyn Destination,
    vendor: &Vendor<'_>,
    name: &ChannelName,
    release: Option<&Release<'_>>,
    terms: &Terms,
    monitor: &dyn Monitor,
) -> Result<Published, RemoteError> {
    let keyset = vendor.keyset.verify_first().map_err(refuse)?;
    check_signer(&keyset, vendor.signer)?;
    let mut work = Publishing {
        destination,
        vendor,
        terms,
        monitor,
        put: Mutex::new(Vec::new()),
    };
    work.check_keyset(&keyset)?;
    let path = name.path();
    let most = limits::MAX_CHANNEL_BYTES as u64;
    let previous = destination.read(&path, most + 1)?;
    let last = match &previous {
        Some(bytes) => Some(work.read_channel(name, &keyset, bytes)?),
        None => None,
    };
    let mut channel = match (&last, release) {
        (Some(last), _) => last.clone(),
        (None, Some(_)) => empty(name),
        (None, None) => return Err(no_channel(destination, name)),
    };
    if channel.keyset > keyset.version() {
        return Err(publish_error(format!(
            "the channel {name} has gone on to keyset version {}, and version {} was given: devices would go back \
             to keys that were replaced; give the newer one",
            channel.keyset,
            keyset.version()
        )));
    }
    keep_newest(&mut channel, terms.keep);
    match release {
        Some(release) => {
            work.mend(&mut channel, release.store)?;
            work.add_release(&mut channel, release)?;
        }
        None => work.warn_of_damage(&channel)?,
    }
    keep_newest(&mut channel, terms.keep);
    channel.version = (channel.version.max(terms.after_version))
        .checked_add(1)
        .ok_or_else(|| publish_error("no version is left".into()))?;
    channel.created = terms.now.max(channel.created);
    channel.expires = channel.created.saturating_add(terms.lifetime_seconds);
    channel.keyset = keyset.version();
    channel.check().map_err(refuse)?;
    let mut document = Unverified::unsigned(&channel).map_err(refuse)?;
    let signed = vendor.signer.sign(&mut document);
    signed.map_err(|error| publish_error(error.to_string()))?;
    document.verify(&keyset).map_err(refuse)?;
    work.put_keyset(&keyset)?;
    let text = document.to_string();
    if text.len() > limits::MAX_CHANNEL_BYTES {
        return Err(publish_error(
            "the channel is too long: keep fewer releases".into(),
        ));
    }
    destination.replace(&path, previous.as_deref(), text.as_bytes())?;
    work.note(path, text.len() as u64);
    let put = std::mem::take(work.put.get_mut().unwrap_or_else(PoisonError::into_inner));
    Ok(Published { channel, put })
}

/// There is no such channel, and perhaps no other.
fn no_channel(destination: &dyn Destination, name: &ChannelName) -> RemoteError {
    let location = destination.location();
    match destination.list() {
        Ok(listed) if !listed.iter().any(Listed::is_channel) => {
            RemoteError::NothingPublished { location }
        }
        _ => RemoteError::NoChannel {
            location,
            name: name.to_string(),
        },
    }
}

fn empty(name: &ChannelName) -> Channel {
    let ChannelName {
        os,
        variant,
        stream,
        arch,
    } = name.clone();
    Channel {
        os,
        variant,
        stream,
        arch,
        version: 0,
        created: 0,
        expires: 0,
        keyset: 0,
        releases: Vec::new(),
        deltas: Vec::new(),
        images: Vec::new(),
        image_deltas: Vec::new(),
        signatures: Vec::new(),
    }
}

/// Leaves out what is older.
fn keep_newest(channel: &mut Channel, keep: Option<usize>) {
    let keep = keep.unwrap_or(usize::MAX).max(1);
    let surplus = channel.releases.len().saturating_sub(keep);
    channel.releases.drain(..surplus);
    let releases = channel.releases.clone();
    let is_there = |index: u64| releases.iter().any(|release| release.index == index);
    (channel.deltas).retain(|delta| is_there(delta.from) && is_there(delta.to));
    channel.images.retain(|image| is_there(image.index));
    (channel.image_deltas).retain(|delta| is_there(delta.from) && is_there(delta.to));
    (channel.signatures).retain(|signatures| is_there(signatures.index));
}

fn check_signer(keyset: &Keyset, signer: &Signer) -> Result<(), RemoteError> {
    let role = keyset.role(Role::Channel);
    let key = signer.public().id();
    if !role.ids().contains(&key) {
        return Err(RemoteError::NotAChannelKey { key });
    }
    if role.threshold() > 1 {
        let threshold = role.threshold();
        return Err(publish_error(format!(
            "the keyset wants {threshold} signatures of a channel, and one at a time is all that can be made"
        )));
    }
    Ok(())
}

/// Publishing under way.
struct Publishing<'p> {
    destination: &'p dyn Destination,
    vendor: &'p Vendor<'p>,
    terms: &'p Terms,
    monitor: &'p dyn Monitor,
    put: Mutex<Vec<Put>>,
}

impl Publishing<'_> {
    fn note(&self, path: String, size_bytes: u64) {
        let mut put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
        put.push(Put { path, size_bytes });
    }

    /// The channel that is there, signed by the keys of today or of a keyset before.
    fn read_channel(
        &self,
        name: &ChannelName,
        keyset: &Verified<Keyset>,
        bytes: &[u8],
    ) -> Result<Channel, RemoteError> {
        let location = || self.destination.location();
        let path = name.path();
        let unusable = RemoteError::document(location(), &path);
        let document = Unverified::<Channel>::parse(bytes).map_err(&unusable)?;
        let mut verified = document.verify(keyset);
        for version in (1..keyset.version()).rev() {
            if verified.is_ok() {
                break;
            }
            let most = limits::MAX_KEYSET_BYTES as u64;
            let older = self.destination.read(&keyset_path(version), most)?;
            let Some(older) = older.and_then(|bytes| Unverified::<Keyset>::parse(&bytes).ok())
            else {
                break;
            };
            if let Ok(older) = older.verify_first() {
                verified = document.verify(&older);
            }
        }
        let channel = verified.map_err(&unusable)?.into_inner();
        let found = ChannelName::of_channel(&channel);
        if found == *name {
            return Ok(channel);
        }
        let location = location();
        Err(publish_error(format!(
            "{path} in {location} is the channel {found}"
        )))
    }

    fn is_there(&self, kind: Kind, file: &RemoteFile) -> Result<bool, RemoteError> {
        let found = self.destination.size_of(&kind.path(file))?;
        Ok(found == Some(file.size_bytes))
    }

    fn put_made(
        &self,
        kind: Kind,
        file: &RemoteFile,
        mut content: File,
    ) -> Result<(), RemoteError> {
        if self.is_there(kind, file)? {
            return Ok(());
        }
        let rewind = RemoteError::io("read what was made");
        content.rewind().map_err(rewind)?;
        self.put(kind.path(file), file.size_bytes, &mut content)
    }

    fn put(
        &self,
        path: String,
        size_bytes: u64,
        content: &mut dyn Read,
    ) -> Result<(), RemoteError> {
        self.destination.put(&path, content)?;
        self.note(path, size_bytes);
        Ok(())
    }
}

/// The statement of a published release, if the store has it and its pack.
fn statement(
    store: &Store,
    release: &ChannelRelease,
) -> Result<Option<(Statement, Unverified<Statement>)>, RemoteError> {
    if store.open_pack(&release.pack).is_err() {
        return Ok(None);
    }
    for (commit, stream) in store.list_statements()? {
        let (_, document) = release::read_statement(store, commit, Some(&stream))?;
        if let Ok(statement) = Statement::parse(document.body())
            && statement.pack_digest == release.pack
        {
            return Ok(Some((statement, document)));
        }
    }
    Ok(None)
}

fn scratch(store: &Store) -> Result<File, RemoteError> {
    let scratch = store.create_scratch();
    scratch.map_err(RemoteError::io("put aside what is made"))
}

fn refuse(error: impl fmt::Display) -> RemoteError {
    publish_error(error.to_string())
}

fn publish_error(reason: String) -> RemoteError {
    RemoteError::Publish { reason }
}
