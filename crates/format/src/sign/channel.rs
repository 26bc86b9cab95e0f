// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel: which releases of one stream there are to fetch, and how.

use std::fmt;

use super::{Document, Error, Keyset, Name, Role, Unverified, Verified, document::Body};
use crate::{
    digest::{Sha256Digest, VerityDigest},
    limits,
    text::{self, Lines, OrNone, Tagged},
};

const WHAT: &str = "channel";

/// Version of the channel's format.
const FORMAT_VERSION: u32 = 1;

/// What times of channels are reckoned in by people.
pub const SECONDS_OF_DAY: u64 = 24 * 60 * 60;

const RELEASE: &str = "an index, an epoch, sha256:4096: and a digest, and two files, each as SHA-256 of its \
                       head, the head's length and the file's";
const DELTA: &str =
    "two indices and a file, as SHA-256 of its head, the head's length and the file's";
const IMAGE: &str = "an index, a name, sha256:4096: and a digest, a length, and a file, as SHA-256 of its head, \
                     the head's length and the file's";
const IMAGE_DELTA: &str =
    "two indices, a name and a file, as SHA-256 of its head, the head's length and the file's";

const SIGNATURES: &str =
    "an index and a file, as SHA-256 of its head, the head's length and the file's";

/// What a vendor offers in one stream at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The OS, as in the statements of its releases.
    pub os: Name,
    /// The edition of the OS.
    pub variant: Option<Name>,
    /// The line of releases.
    pub stream: Name,
    /// The machine architecture.
    pub arch: Name,
    /// Rises with every edition of this document.
    pub version: u64,
    /// When this edition was made, seconds since 1970.
    pub created: u64,
    /// When it is to be believed no longer, seconds since 1970.
    pub expires: u64,
    /// The version of the newest keyset.
    pub keyset: u64,
    /// The releases, ascending by index. There is at least one.
    pub releases: Vec<ChannelRelease>,
    /// The deltas between them, ascending by the two indices.
    pub deltas: Vec<ChannelDelta>,
    /// Their unified kernel images, ascending by index and name.
    pub images: Vec<ChannelImage>,
    /// The deltas between images of one name, ascending by the two indices and the name.
    pub image_deltas: Vec<ChannelImageDelta>,
    /// The signatures of their objects for the kernel's keyring, ascending by index.
    pub signatures: Vec<ChannelSignatures>,
}

/// A release that a channel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRelease {
    /// As in its statement.
    pub index: u64,
    /// As in its statement.
    pub epoch: u64,
    /// As in its statement.
    pub pack: VerityDigest,
    /// Its statement with signatures; the head is all of it.
    pub statement: RemoteFile,
    /// Its bundle; the head is the bundle's index.
    pub bundle: RemoteFile,
}

/// What makes one release of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelDelta {
    /// The index of the release that must be there.
    pub from: u64,
    /// The index of the release that it makes.
    pub to: u64,
    /// The delta; the head is all before the first group.
    pub file: RemoteFile,
}

/// A unified kernel image that boots a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelImage {
    /// The index of the release.
    pub index: u64,
    /// Which of the release's images: devices follow one name from release to release.
    pub name: Name,
    /// The fs-verity digest of the image.
    pub digest: VerityDigest,
    /// The length of the image.
    pub size_bytes: u64,
    /// What makes it of files of its own release; the head is all before the first group.
    pub file: RemoteFile,
}

/// What makes the image of one release of that of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelImageDelta {
    /// The index of the release with the image that must be there.
    pub from: u64,
    /// The index of the release with the image that it makes.
    pub to: u64,
    /// The name of both images.
    pub name: Name,
    /// What makes the one of the other and of files of its own release; the head is all before the first group.
    pub file: RemoteFile,
}

/// The signatures of a release's objects for the kernel's keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSignatures {
    /// The index of the release.
    pub index: u64,
    /// The signatures; the head is all before the first group.
    pub file: RemoteFile,
}

/// A file on a server. Its head tells how to check the rest, which need not be trusted then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteFile {
    /// SHA-256 of the head, which names the file.
    pub head: Sha256Digest,
    /// The length of the head.
    pub head_bytes: u64,
    /// The length of the file.
    pub size_bytes: u64,
}

impl RemoteFile {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let file = Self::take(&mut words)?;
        words.next().is_none().then_some(file)
    }

    fn take<'t>(words: &mut impl Iterator<Item = &'t str>) -> Option<Self> {
        let file = Self {
            head: Sha256Digest::from_hex(words.next()?)?,
            head_bytes: text::number(words.next()?)?,
            size_bytes: text::number(words.next()?)?,
        };
        (file.head_bytes <= file.size_bytes).then_some(file)
    }
}

impl fmt::Display for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.head, self.head_bytes, self.size_bytes)
    }
}

impl Channel {
    /// Reads a channel that is trusted for where it comes from: one just made, or the body of a
    /// document just verified.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut lines = Lines::new(WHAT, text, limits::MAX_CHANNEL_BYTES)?;
        lines.header("channel", FORMAT_VERSION)?;
        let mut channel = Self {
            os: lines.field("os")?.name()?,
            variant: (lines.field("variant")?).optional(Name::EXPECTED, Name::accept)?,
            stream: lines.field("stream")?.name()?,
            arch: lines.field("arch")?.name()?,
            version: lines.field("version")?.number()?,
            created: lines.field("created")?.number()?,
            expires: lines.field("expires")?.number()?,
            keyset: lines.field("keyset")?.number()?,
            releases: Vec::new(),
            deltas: Vec::new(),
            images: Vec::new(),
            image_deltas: Vec::new(),
            signatures: Vec::new(),
        };
        while lines.is_next("release") {
            let release = lines.field("release")?.parse(RELEASE, parse_release)?;
            channel.releases.push(release);
        }
        while lines.is_next("delta") {
            let delta = lines.field("delta")?.parse(DELTA, parse_delta)?;
            channel.deltas.push(delta);
        }
        while lines.is_next("image") {
            let image = lines.field("image")?.parse(IMAGE, parse_image)?;
            channel.images.push(image);
        }
        while lines.is_next("image-delta") {
            let delta = lines.field("image-delta")?;
            (channel.image_deltas).push(delta.parse(IMAGE_DELTA, parse_image_delta)?);
        }
        while !lines.is_at_end() {
            let signatures = lines.field("signatures")?;
            (channel.signatures).push(signatures.parse(SIGNATURES, parse_signatures)?);
        }
        channel.check()?;
        Ok(channel)
    }

    /// The release with this index.
    pub fn release(&self, index: u64) -> Option<&ChannelRelease> {
        self.releases.iter().find(|release| release.index == index)
    }

    /// The image of this name of a release.
    pub fn image(&self, index: u64, name: &Name) -> Option<&ChannelImage> {
        let is_meant = |image: &&ChannelImage| image.index == index && image.name == *name;
        self.images.iter().find(is_meant)
    }

    /// The file with the signatures of a release's objects, if they have any.
    pub fn signatures(&self, index: u64) -> Option<RemoteFile> {
        let found = self.signatures.iter().find(|found| found.index == index);
        found.map(|found| found.file)
    }

    /// The release with the highest index.
    pub fn newest(&self) -> Option<&ChannelRelease> {
        self.releases.last()
    }

    /// That releases and deltas are in order and belong together.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Channel { reason });
        if self.version == 0 || self.keyset == 0 {
            return refuse("its version and that of its keyset count from 1".into());
        }
        if self.created >= self.expires {
            return refuse("it expires before it was made".into());
        }
        let days = self.expires.abs_diff(self.created).div_ceil(SECONDS_OF_DAY);
        if days > limits::MAX_CHANNEL_DAYS {
            let most = limits::MAX_CHANNEL_DAYS;
            return refuse(format!(
                "it is to be believed for {days} days, expected at most {most}"
            ));
        }
        if self.releases.is_empty() {
            return refuse("it has no release".into());
        }
        for (before, after) in self.releases.iter().zip(self.releases.iter().skip(1)) {
            if before.index >= after.index || before.epoch > after.epoch {
                let (index, other) = (after.index, before.index);
                return refuse(format!(
                    "release {index} stands after release {other}: indices must rise, and epochs not fall"
                ));
            }
        }
        let ends = |delta: &ChannelDelta| (delta.from, delta.to);
        for (before, after) in self.deltas.iter().zip(self.deltas.iter().skip(1)) {
            if ends(before) >= ends(after) {
                let (from, to) = ends(after);
                return refuse(format!("the delta from {from} to {to} is out of order"));
            }
        }
        for delta in &self.deltas {
            let (from, to) = ends(delta);
            if from == to || self.release(from).is_none() || self.release(to).is_none() {
                return refuse(format!(
                    "the delta from {from} to {to} is not between two of its releases"
                ));
            }
        }
        self.check_images()?;
        self.check_signatures()
    }

    fn check_signatures(&self) -> Result<(), Error> {
        let refuse = |index: u64, reason: &str| {
            let reason = format!("the signatures of the objects of release {index} {reason}");
            Err(Error::Channel { reason })
        };
        for (before, after) in self.signatures.iter().zip(self.signatures.iter().skip(1)) {
            if before.index >= after.index {
                return refuse(after.index, "are out of order");
            }
        }
        let mut indices = self.signatures.iter().map(|signatures| signatures.index);
        match indices.find(|index| self.release(*index).is_none()) {
            Some(index) => refuse(index, "are of one that it does not have"),
            None => Ok(()),
        }
    }

    fn check_images(&self) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Channel { reason });
        let key = |image: &ChannelImage| (image.index, image.name.clone());
        for (before, after) in self.images.iter().zip(self.images.iter().skip(1)) {
            if key(before) >= key(after) {
                let (index, name) = key(after);
                return refuse(format!(
                    "the image {name} of release {index} is out of order"
                ));
            }
        }
        for image in &self.images {
            let ChannelImage { index, name, .. } = image;
            if self.release(*index).is_none() {
                return refuse(format!(
                    "the image {name} is of release {index}, which it does not have"
                ));
            }
            if image.size_bytes > limits::MAX_BOOT_FILE_BYTES {
                let (found, most) = (image.size_bytes, limits::MAX_BOOT_FILE_BYTES);
                return refuse(format!(
                    "the image {name} of release {index} has {found} bytes, expected at most {most}"
                ));
            }
        }
        let key = |delta: &ChannelImageDelta| (delta.from, delta.to, delta.name.clone());
        let pairs = self
            .image_deltas
            .iter()
            .zip(self.image_deltas.iter().skip(1));
        for (before, after) in pairs {
            if key(before) >= key(after) {
                let (from, to, name) = key(after);
                return refuse(format!(
                    "the delta from image {name} of release {from} to that of {to} is out of order"
                ));
            }
        }
        for delta in &self.image_deltas {
            let (from, to, name) = key(delta);
            let has = |index| self.image(index, &name).is_some();
            if from == to || !has(from) || !has(to) {
                return refuse(format!(
                    "the delta from image {name} of release {from} to that of {to} is not between two of its images"
                ));
            }
        }
        Ok(())
    }
}

fn parse_release(text: &str) -> Option<ChannelRelease> {
    let mut words = text.split(' ');
    let release = ChannelRelease {
        index: text::number(words.next()?)?,
        epoch: text::number(words.next()?)?,
        pack: Tagged::parse(words.next()?)?,
        statement: RemoteFile::take(&mut words)?,
        bundle: RemoteFile::take(&mut words)?,
    };
    let is_whole = release.statement.head_bytes == release.statement.size_bytes;
    (words.next().is_none() && is_whole).then_some(release)
}

fn parse_delta(text: &str) -> Option<ChannelDelta> {
    let (from, rest) = text.split_once(' ')?;
    let (to, rest) = rest.split_once(' ')?;
    Some(ChannelDelta {
        from: text::number(from)?,
        to: text::number(to)?,
        file: RemoteFile::parse(rest)?,
    })
}

fn parse_image(text: &str) -> Option<ChannelImage> {
    let mut words = text.split(' ');
    let image = ChannelImage {
        index: text::number(words.next()?)?,
        name: words.next()?.parse().ok()?,
        digest: Tagged::parse(words.next()?)?,
        size_bytes: text::number(words.next()?)?,
        file: RemoteFile::take(&mut words)?,
    };
    words.next().is_none().then_some(image)
}

fn parse_image_delta(text: &str) -> Option<ChannelImageDelta> {
    let mut words = text.split(' ');
    let delta = ChannelImageDelta {
        from: text::number(words.next()?)?,
        to: text::number(words.next()?)?,
        name: words.next()?.parse().ok()?,
        file: RemoteFile::take(&mut words)?,
    };
    words.next().is_none().then_some(delta)
}

fn parse_signatures(text: &str) -> Option<ChannelSignatures> {
    let (index, rest) = text.split_once(' ')?;
    Some(ChannelSignatures {
        index: text::number(index)?,
        file: RemoteFile::parse(rest)?,
    })
}

/// The canonical text, without signatures.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sealroot channel {FORMAT_VERSION}")?;
        writeln!(f, "os {}", self.os)?;
        writeln!(f, "variant {}", OrNone(self.variant.as_ref()))?;
        writeln!(f, "stream {}", self.stream)?;
        writeln!(f, "arch {}", self.arch)?;
        writeln!(f, "version {}", self.version)?;
        writeln!(f, "created {}", self.created)?;
        writeln!(f, "expires {}", self.expires)?;
        writeln!(f, "keyset {}", self.keyset)?;
        for release in &self.releases {
            let ChannelRelease {
                index,
                epoch,
                pack,
                statement,
                bundle,
            } = release;
            let pack = Tagged(pack);
            writeln!(f, "release {index} {epoch} {pack} {statement} {bundle}")?;
        }
        for ChannelDelta { from, to, file } in &self.deltas {
            writeln!(f, "delta {from} {to} {file}")?;
        }
        for image in &self.images {
            let ChannelImage {
                index,
                name,
                digest,
                size_bytes,
                file,
            } = image;
            let digest = Tagged(digest);
            writeln!(f, "image {index} {name} {digest} {size_bytes} {file}")?;
        }
        for delta in &self.image_deltas {
            let ChannelImageDelta {
                from,
                to,
                name,
                file,
            } = delta;
            writeln!(f, "image-delta {from} {to} {name} {file}")?;
        }
        for ChannelSignatures { index, file } in &self.signatures {
            writeln!(f, "signatures {index} {file}")?;
        }
        Ok(())
    }
}

impl Document for Channel {}

impl Body for Channel {
    const WHAT: &'static str = WHAT;
    const DOMAIN: &'static str = "sealroot.channel.v1";
    const MAX_BYTES: usize = limits::MAX_CHANNEL_BYTES;
}

impl Unverified<Channel> {
    /// The channel, if enough channel keys of `keyset` have signed it. Parsed only then. Whether it
    /// is the present one is another question.
    pub fn verify(&self, keyset: &Verified<Keyset>) -> Result<Verified<Channel>, Error> {
        let signers = self.signers(keyset, Role::Channel)?;
        Ok(Verified::new(Channel::parse(self.body())?, signers))
    }
}
