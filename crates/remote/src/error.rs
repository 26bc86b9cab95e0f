// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with a remote.

use std::error::Error;
use std::io;

use sealroot::adopt::AdoptError;
use sealroot::delta::DeltaError;
use sealroot::import::ImportError;
use sealroot::release::ReleaseError;
use sealroot::store::{Store, StoreError, StoreIo as _};
use sealroot::uki::UkiError;
use sealroot_delta::PatchError;
use sealroot_format::ErrorClass;
use sealroot_format::pack::PackError;
use sealroot_format::sign::{self, KeyId, Name};

use crate::source::SourceError;
use crate::trust::Distrust;

/// Why something could not be published or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No source gives a file.
    #[error("cannot fetch from {location}")]
    Source {
        /// Which was asked last.
        location: String,
        /// Why it did not.
        source: SourceError,
    },
    /// A file is not what was signed.
    #[error(
        "{path} from {location} is not what was signed: {what}: expected {expected}, found {found}"
    )]
    Mismatch {
        /// Where it came from.
        location: Box<str>,
        /// The file.
        path: Box<str>,
        /// What of it.
        what: &'static str,
        /// What was signed.
        expected: Box<str>,
        /// What came.
        found: Box<str>,
    },
    /// A document is not signed by those who must, or breaks its format.
    #[error("{path} from {location} cannot be used")]
    Document {
        /// Where it came from.
        location: Box<str>,
        /// The document.
        path: Box<str>,
        /// Why not.
        source: sign::Error,
    },
    /// Keysets follow one another, and none of them is the one of the channel.
    #[error(
        "the keyset of the channel from {location} is not among the {most} that follow version {first}"
    )]
    TooManyKeysets {
        /// Where it came from.
        location: Box<str>,
        /// The version that was trusted before.
        first: u64,
        /// How many are followed at once.
        most: u64,
    },
    /// A channel is signed, and not to be believed.
    #[error("the channel {name} from {location} is refused")]
    Distrusted {
        /// Where it came from.
        location: Box<str>,
        /// Its name.
        name: Box<str>,
        /// Why.
        source: Distrust,
    },
    /// The statement of a release says something else than the channel that offers it.
    #[error("the channel offers {what} {offered}, and the release statement is of {stated}")]
    OtherRelease {
        /// What differs.
        what: &'static str,
        /// What the channel says.
        offered: String,
        /// What the statement says.
        stated: String,
    },
    /// A bundle breaks its format.
    #[error("not a valid bundle: {what}: expected {expected}, found {found}")]
    Bundle {
        /// Which field.
        what: &'static str,
        /// What may be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file of signatures breaks its format.
    #[error("not valid signatures of objects: {what}: expected {expected}, found {found}")]
    Signatures {
        /// Which field.
        what: &'static str,
        /// What may be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The channel has no such release.
    #[error("the channel offers no release with index {index}")]
    NoRelease {
        /// The index.
        index: u64,
    },
    /// A release has no such image.
    #[error(
        "the channel offers no unified kernel image {name} for release {index}{}",
        others(offered)
    )]
    NoImage {
        /// The index of the release.
        index: u64,
        /// The image.
        name: Name,
        /// Those that it has.
        offered: Vec<Name>,
    },
    /// There is no such remote.
    #[error("there is no remote {name}")]
    NoRemote {
        /// Its name.
        name: Name,
    },
    /// What is known of a remote is damaged.
    #[error("what is known of the remote {name} cannot be used: {reason}")]
    State {
        /// The remote.
        name: Name,
        /// What is wrong.
        reason: String,
    },
    /// There is not enough space for a release.
    #[error(
        "not enough space in {location}: {needed_bytes} bytes needed, {available_bytes} available"
    )]
    NoSpace {
        /// Where.
        location: String,
        /// What is to come.
        needed_bytes: u64,
        /// What is there.
        available_bytes: u64,
    },
    /// Reading or writing a file that is only needed meanwhile, or that is published.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A bucket of an object store.
    #[error("cannot {what}")]
    Bucket {
        /// What was tried.
        what: Box<str>,
        /// Which kind of failure it is.
        fault: Fault,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A channel that is to be renewed was never published there.
    #[error("there is no channel {name} in {location}")]
    NoChannel {
        /// Where.
        location: String,
        /// Its name.
        name: String,
    },
    /// Where releases should have been published there is no channel.
    #[error("there is no repository in {location}: nothing was published there, or it lies deeper")]
    NothingPublished {
        /// Where.
        location: String,
    },
    /// Who signs may not sign channels.
    #[error("cannot publish: {key} is no channel key of the keyset")]
    NotAChannelKey {
        /// Who signs.
        key: KeyId,
    },
    /// The number of a release does not follow on those that are published.
    #[error("cannot publish: {reason}")]
    Index {
        /// Why not.
        reason: String,
        /// The highest that is published.
        newest: u64,
    },
    /// What is to be published does not fit what is there.
    #[error("cannot publish: {reason}")]
    Publish {
        /// Why not.
        reason: String,
    },
    /// An image is not what boots the release.
    #[error("cannot publish the image {name}")]
    Image {
        /// Its name.
        name: Name,
        /// What is wrong with it.
        source: Box<UkiError>,
    },
    /// An image does not open objects that machines may have with a signature.
    #[error("cannot publish the image {name}: {reason}")]
    ImageWithoutCertificate {
        /// Its name.
        name: Name,
        /// Which it does not open.
        reason: String,
    },
    /// Somebody else has published meanwhile.
    #[error("somebody else is publishing to {location}, or has meanwhile")]
    Conflict {
        /// Where.
        location: String,
    },
    /// Objects that OSTree has.
    #[error(transparent)]
    Adopt(Box<AdoptError>),
    /// A delta.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// Putting a release into the store.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The pack of a release.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A release in the store.
    #[error(transparent)]
    Release(Box<ReleaseError>),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn others(offered: &[Name]) -> String {
    if offered.is_empty() {
        return String::new();
    }
    let names: Vec<_> = offered.iter().map(Name::as_str).collect();
    format!(", but {}", names.join(" and "))
}

/// How a bucket failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    NotThere,
    /// The store does not know who asks, or does not let them.
    Denied,
    /// What the store is to be asked with is missing or no good.
    Settings,
    /// The store does not do such a thing.
    Unsupported,
    /// Anything else.
    Other,
}

impl From<AdoptError> for RemoteError {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::Store(error) => Self::Store(error),
            error => Self::Adopt(Box::new(error)),
        }
    }
}

impl From<ReleaseError> for RemoteError {
    fn from(error: ReleaseError) -> Self {
        Self::Release(Box::new(error))
    }
}

impl RemoteError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Source { source, .. } => match source {
                // A server that answers nonsense may answer better later.
                SourceError::Refused { .. } => ErrorClass::Io,
                source => source.class(),
            },
            Self::Bucket { fault, .. } => match fault {
                Fault::NotThere => ErrorClass::NotFound,
                Fault::Settings => ErrorClass::Usage,
                Fault::Unsupported => ErrorClass::Unsupported,
                Fault::Denied | Fault::Other => ErrorClass::Io,
            },
            Self::NoSpace { .. } | Self::Io { .. } => ErrorClass::Io,
            Self::Mismatch { .. }
            | Self::Distrusted { .. }
            | Self::TooManyKeysets { .. }
            | Self::OtherRelease { .. } => ErrorClass::Untrusted,
            Self::Document { source, .. } => source.class(),
            Self::Bundle { .. } | Self::Signatures { .. } | Self::State { .. } => {
                ErrorClass::Corrupt
            }
            Self::NoRelease { .. }
            | Self::NoImage { .. }
            | Self::NoRemote { .. }
            | Self::NoChannel { .. }
            | Self::NothingPublished { .. } => ErrorClass::NotFound,
            Self::Publish { .. }
            | Self::NotAChannelKey { .. }
            | Self::Index { .. }
            | Self::ImageWithoutCertificate { .. } => ErrorClass::Usage,
            Self::Conflict { .. } => ErrorClass::Busy,
            Self::Image { source, .. } => source.class(),
            Self::Adopt(error) => error.class(),
            Self::Delta(error) => error.class(),
            Self::Import(error) => error.class(),
            Self::Pack(error) => error.class(),
            Self::Release(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }

    /// Something is not what was signed.
    /// Whether what a source gave is not what it should be, so that another may do better.
    pub(crate) const fn is_of_content(&self) -> bool {
        matches!(
            self,
            Self::Mismatch { .. }
                | Self::Document { .. }
                | Self::Distrusted { .. }
                | Self::OtherRelease { .. }
        )
    }

    pub(crate) fn mismatch(
        (location, path): (String, &str),
        what: &'static str,
        expected: &dyn ToString,
        found: &dyn ToString,
    ) -> Self {
        Self::Mismatch {
            location: location.into(),
            path: path.into(),
            what,
            expected: expected.to_string().into(),
            found: found.to_string().into(),
        }
    }

    /// A document cannot be used.
    pub(crate) fn document(location: String, path: &str) -> impl Fn(sign::Error) -> Self {
        move |source| Self::Document {
            location: location.as_str().into(),
            path: path.into(),
            source,
        }
    }

    /// The same; if it was space that was missing, with how much is needed.
    pub(crate) fn needing(self, store: &Store, needed_bytes: u64) -> Self {
        let (Self::Io { source, .. }
        | Self::Delta(
            DeltaError::Io { source, .. } | DeltaError::Patch(PatchError::Write(source)),
        )) = &self
        else {
            return self;
        };
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                location: store.location().display().to_string(),
                needed_bytes,
                available_bytes: store.io().available_bytes().unwrap_or_default(),
            },
            _ => self,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
