// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device knows of a remote: its addresses, whom it trusts, and what it was told last
//! (docs/format/channel.md 4). One file, which is replaced at once, and only after all in it was verified.

use std::collections::BTreeSet;

use sealroot::monitor::Monitor;
use sealroot::store::Store;
use sealroot_format::digest::Sha256Digest;
use sealroot_format::sign::{Channel, Keyset, Name, Role, Unverified, Verified};
use serde::{Deserialize, Serialize};

use crate::error::RemoteError;
use crate::fetch::Fetcher;
use crate::layout::{ChannelName, keyset_path};
use crate::trust::Judge;
use sealroot_format::limits;

/// Most keysets that are followed at once, each the successor of the one before.
const MAX_KEYSET_STEPS: u64 = 1024;

/// A place where releases come from, and what is known of it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its name on this device.
    pub name: Name,
    /// Where it is; further addresses are mirrors.
    pub addresses: Vec<String>,
    /// Which channel of it this device follows.
    pub channel: ChannelName,
    /// Which images it takes, if not those with the usual name.
    pub image: Option<Name>,
    keyset_document: Unverified<Keyset>,
    keyset: Verified<Keyset>,
    last: Option<(Unverified<Channel>, Verified<Channel>)>,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    addresses: Vec<String>,
    os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    stream: String,
    arch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    keyset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
}

/// What an image is called where nothing else is said.
pub const USUAL_IMAGE: &str = "default";

/// Version of the file.
const VERSION: u32 = 1;

impl Remote {
    /// A remote of which nothing but its keys is known. `keyset` is trusted for where it comes from.
    pub fn new(
        name: Name,
        addresses: Vec<String>,
        channel: ChannelName,
        keyset: Unverified<Keyset>,
    ) -> Result<Self, sealroot_format::sign::Error> {
        Ok(Self {
            name,
            addresses,
            channel,
            image: None,
            keyset: keyset.verify_first()?,
            keyset_document: keyset,
            last: None,
        })
    }

    /// What is known of a remote.
    pub fn load(store: &Store, name: &Name) -> Result<Self, RemoteError> {
        let no_remote = || RemoteError::NoRemote { name: name.clone() };
        let bytes = store.read_remote(name)?.ok_or_else(no_remote)?;
        let damaged = |reason: String| RemoteError::State {
            name: name.clone(),
            reason,
        };
        Self::parse(name, &bytes).map_err(damaged)
    }

    /// Reads what is known of a remote; the reason if it is damaged.
    pub(crate) fn parse(name: &Name, bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        file.open(name)
    }

    /// Writes it down in the place of what was known.
    pub fn save(&self, store: &Store, monitor: &dyn Monitor) -> Result<(), RemoteError> {
        let transaction = store.begin(monitor)?;
        transaction.write_remote(&self.name, self.render().as_bytes())?;
        transaction.finish()?;
        Ok(())
    }

    /// The text of the file.
    pub(crate) fn render(&self) -> String {
        let text = |name: &Name| name.as_str().to_owned();
        let file = File {
            version: VERSION,
            addresses: self.addresses.clone(),
            os: text(&self.channel.os),
            variant: self.channel.variant.as_ref().map(text),
            stream: text(&self.channel.stream),
            arch: text(&self.channel.arch),
            image: self.image.as_ref().map(text),
            keyset: self.keyset_document.to_string(),
            channel: self.last.as_ref().map(|(document, _)| document.to_string()),
        };
        toml::to_string(&file).expect("strings, and numbers that fit")
    }

    /// The name of the images that this device takes.
    ///
    /// # Panics
    ///
    /// Never: the usual name is one.
    pub fn image_name(&self) -> Name {
        let usual = || USUAL_IMAGE.parse().expect("a name");
        self.image.clone().unwrap_or_else(usual)
    }

    /// The keys that are trusted.
    pub fn keyset(&self) -> &Verified<Keyset> {
        &self.keyset
    }

    /// The channel as it was last seen.
    pub fn last(&self) -> Option<&Verified<Channel>> {
        self.last.as_ref().map(|(_, channel)| channel)
    }

    /// Fetches the channel, follows new keysets, and remembers both if they are to be believed; the
    /// caller writes them down. `now` is the time, seconds since 1970.
    pub fn refresh(&mut self, fetcher: &Fetcher, now: u64) -> Result<(), RemoteError> {
        let known = fetcher.of_any(|| self.refreshed(fetcher, now))?;
        *self = known;
        Ok(())
    }

    /// What is known then.
    fn refreshed(&self, fetcher: &Fetcher, now: u64) -> Result<Self, RemoteError> {
        let path = self.channel.path();
        let bytes = fetcher.small(&path, limits::MAX_CHANNEL_BYTES)?;
        let unusable = RemoteError::document(fetcher.asked_first(), &path);
        let document = Unverified::<Channel>::parse(&bytes).map_err(&unusable)?;
        let mut known = self.clone();
        let first_version = known.keyset.version();
        let channel = loop {
            let verified = document.verify(&known.keyset);
            match verified {
                Ok(channel) if channel.keyset <= known.keyset.version() => break channel,
                _ if known.keyset.version() - first_version >= MAX_KEYSET_STEPS => {
                    return Err(RemoteError::TooManyKeysets {
                        location: fetcher.location().into(),
                        first: first_version,
                        most: MAX_KEYSET_STEPS,
                    });
                }
                verified => {
                    let followed = known.follow(fetcher);
                    match (followed, verified) {
                        (Ok(()), _) => {}
                        (Err(error), Err(source)) if is_missing(&error) => {
                            return Err(unusable(source));
                        }
                        (Err(error), _) => return Err(error),
                    }
                }
            }
        };
        let judge = Judge {
            name: &known.channel,
            last: known.last().map(|channel| &**channel),
            now,
        };
        judge
            .judge(&channel)
            .map_err(|source| RemoteError::Distrusted {
                location: fetcher.asked_first().into(),
                name: known.channel.to_string().into(),
                source,
            })?;
        known.last = Some((document, channel));
        Ok(known)
    }

    /// Goes on to the next keyset.
    fn follow(&mut self, fetcher: &Fetcher) -> Result<(), RemoteError> {
        let path = keyset_path(self.keyset.version().saturating_add(1));
        let bytes = fetcher.small(&path, limits::MAX_KEYSET_BYTES)?;
        let unusable = RemoteError::document(fetcher.asked_first(), &path);
        let document = Unverified::<Keyset>::parse(&bytes).map_err(&unusable)?;
        let keyset = document.verify_successor(&self.keyset).map_err(&unusable)?;
        // Whoever had the old keys may have used up the numbers.
        if keyset.role(Role::Channel) != self.keyset.role(Role::Channel) {
            self.last = None;
        }
        self.keyset_document = document;
        self.keyset = keyset;
        Ok(())
    }
}

/// The latest keyset that a remote of the store has gone on to from `trusted`; `None` if none has.
pub fn later_keyset(store: &Store, trusted: &Verified<Keyset>) -> Option<Unverified<Keyset>> {
    let remotes = store.list_remotes().ok()?;
    let remotes = remotes
        .iter()
        .filter_map(|name| Remote::load(store, name).ok());
    let later = remotes.filter_map(|remote| {
        let keyset = remote.keyset_document.verify_later(trusted).ok()?;
        Some((keyset.version(), remote.keyset_document))
    });
    let latest = later.max_by_key(|(version, _)| *version)?;
    Some(latest.1)
}

/// Files of which something has come, and which the last channel of no remote names.
pub fn unneeded_parts(store: &Store) -> Result<Vec<Sha256Digest>, RemoteError> {
    let mut parts = store.list_parts()?;
    if parts.is_empty() {
        return Ok(parts);
    }
    for name in store.list_remotes()? {
        let remote = Remote::load(store, &name)?;
        let channels = remote.last().into_iter();
        let named: BTreeSet<_> = channels.flat_map(|channel| files_of(channel)).collect();
        parts.retain(|head| !named.contains(head));
    }
    Ok(parts)
}

/// The heads of files that a channel offers in parts.
fn files_of(channel: &Channel) -> impl Iterator<Item = Sha256Digest> {
    let bundles = channel.releases.iter().map(|release| release.bundle.head);
    let deltas = channel.deltas.iter().map(|delta| delta.file.head);
    let images = channel.images.iter().map(|image| image.file.head);
    let image_deltas = channel.image_deltas.iter().map(|delta| delta.file.head);
    let signatures = channel
        .signatures
        .iter()
        .map(|signatures| signatures.file.head);
    let images = images.chain(image_deltas).chain(signatures);
    bundles.chain(deltas).chain(images)
}

fn is_missing(error: &RemoteError) -> bool {
    error.class() == sealroot_format::ErrorClass::NotFound
}

impl File {
    fn open(&self, remote: &Name) -> Result<Remote, String> {
        if self.version != VERSION {
            return Err(format!(
                "expected version {VERSION}, found {}",
                self.version
            ));
        }
        let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        let document = Unverified::<Keyset>::parse(self.keyset.as_bytes());
        let document = document.map_err(|error| error.to_string())?;
        let channel = ChannelName {
            os: name(&self.os)?,
            variant: self.variant.as_deref().map(name).transpose()?,
            stream: name(&self.stream)?,
            arch: name(&self.arch)?,
        };
        let addresses = self.addresses.clone();
        let opened = Remote::new(remote.clone(), addresses, channel, document);
        let mut opened = opened.map_err(|error| error.to_string())?;
        opened.image = self.image.as_deref().map(name).transpose()?;
        if let Some(text) = &self.channel {
            let document = Unverified::<Channel>::parse(text.as_bytes());
            let document = document.map_err(|error| error.to_string())?;
            let verified = document.verify(&opened.keyset);
            opened.last = Some((document, verified.map_err(|error| error.to_string())?));
        }
        Ok(opened)
    }
}
