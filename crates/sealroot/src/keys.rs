// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys, keysets and signed documents as files that people name.
//!
//! Nothing here replaces a file except [`write_document`], which does so in one step: a key that
//! is overwritten is lost.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sealroot_format::{
    ErrorClass, limits,
    sign::{
        self, Document, KeyId, Keyset, PublicKey, RoleKeys, Statement, Unverified, Verified,
        parse_public_keys, secret, secret::SecretKey, write_public_keys,
    },
};
use zeroize::Zeroizing;

use crate::input;

/// Longer than any secret key file.
const SECRET_FILE_BYTES: usize = 128;

const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// A new secret key from the system's random generator.
pub fn generate() -> Result<SecretKey, Error> {
    let mut seed = Zeroizing::new([0; secret::SEED_BYTES]);
    getrandom::fill(seed.as_mut_slice()).map_err(Error::Random)?;
    Ok(SecretKey::from_seed(&seed)?)
}

/// Reads a secret key file.
pub fn read_secret_key(path: &Path) -> Result<SecretKey, Error> {
    let mut buffer = Zeroizing::new([0; SECRET_FILE_BYTES]);
    let read = input::open(path).and_then(|mut file| {
        let mut filled = 0;
        loop {
            let count = file.read(&mut buffer[filled..])?;
            filled += count;
            if count == 0 {
                return Ok(filled);
            }
        }
    });
    let filled = read.map_err(|source| Error::io("read", path, source))?;
    let bytes = &buffer[..filled];
    SecretKey::parse(bytes).map_err(|source| Error::format(path, bytes, Kind::SecretKey, source))
}

/// Writes a new secret key file that only its owner can read.
pub fn write_secret_key(path: &Path, key: &SecretKey) -> Result<(), Error> {
    create(path, key.to_file().as_bytes(), SECRET_MODE)
}

/// Reads a file of public keys.
pub fn read_public_keys(path: &Path) -> Result<Vec<PublicKey>, Error> {
    // It may be a secret one by mistake.
    let bytes = Zeroizing::new(read(path, limits::MAX_KEY_FILE_BYTES)?);
    parse_public_keys(&bytes)
        .map_err(|source| Error::format(path, &bytes, Kind::PublicKeys, source))
}

/// Reads a file that must hold just one public key.
pub fn read_public_key(path: &Path) -> Result<PublicKey, Error> {
    let keys = read_public_keys(path)?;
    match keys.as_slice() {
        [key] => Ok(*key),
        _ => Err(Error::KeyCount {
            path: path.to_owned(),
            found: keys.len(),
        }),
    }
}

/// Writes a new file of public keys.
pub fn write_public_key_file(path: &Path, keys: &[PublicKey]) -> Result<(), Error> {
    create(path, write_public_keys(keys).as_bytes(), PUBLIC_MODE)
}

/// Which keys a role gets, and how many of them must sign.
#[derive(Clone, Debug)]
pub struct RolePlan {
    /// How many must sign.
    pub threshold: usize,
    /// The keys.
    pub keys: Vec<PublicKey>,
}

/// The roles of a keyset that is to be made.
#[derive(Clone, Debug)]
pub struct KeysetPlan {
    /// Who signs keysets.
    pub root: RolePlan,
    /// Who signs releases.
    pub release: RolePlan,
    /// Who signs channels.
    pub channel: RolePlan,
}

impl KeysetPlan {
    /// The first keyset, to be signed by its root keys.
    pub fn first(self) -> Result<Unverified<Keyset>, Error> {
        self.number(1)
    }

    /// The keyset that follows `current`, to be signed by the root keys of both.
    pub fn successor(self, current: &Verified<Keyset>) -> Result<Unverified<Keyset>, Error> {
        let version = current.version();
        let next = version.checked_add(1);
        self.number(next.ok_or(sign::Error::LastVersion { version })?)
    }

    fn number(self, version: u64) -> Result<Unverified<Keyset>, Error> {
        let plans = [self.root, self.release, self.channel];
        if let Some(key) = plans.iter().find_map(|plan| repeated(&plan.keys)) {
            return Err(Error::RepeatedKey { key });
        }
        let roles = plans
            .each_ref()
            .map(|plan| RoleKeys::new(plan.threshold, plan.keys.iter().map(PublicKey::id)));
        let keys = plans.into_iter().flat_map(|plan| plan.keys);
        Ok(Unverified::unsigned(&Keyset::new(version, roles, keys)?)?)
    }
}

fn repeated(keys: &[PublicKey]) -> Option<KeyId> {
    let mut ids: Vec<KeyId> = keys.iter().map(PublicKey::id).collect();
    ids.sort_unstable();
    ids.windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
}

/// The file of a keyset, read once: it may be a pipe.
#[derive(Clone, Debug)]
pub struct KeysetFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl KeysetFile {
    /// Reads it. What is in it is not looked at.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            bytes: read(path, limits::MAX_KEYSET_BYTES)?,
        })
    }

    /// A later keyset in its place.
    #[must_use]
    pub fn replaced_by(self, later: &Unverified<Keyset>) -> Self {
        Self {
            bytes: later.to_string().into_bytes(),
            ..self
        }
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The keyset, trusted because its file was named. One that is not signed by enough of its own
    /// root keys is unfinished or damaged, and refused.
    pub fn trusted(&self) -> Result<Verified<Keyset>, Error> {
        // What is no keyset at all is told before what is missing in one.
        Keyset::parse_trusted(&self.bytes)
            .and_then(|_| Unverified::parse(&self.bytes))
            // keyset.md K9.
            .and_then(|document| document.verify_first())
            .map_err(|source| self.error(source))
    }

    /// The keyset, of which nothing is known yet.
    pub fn document(&self) -> Result<Unverified<Keyset>, Error> {
        Unverified::parse(&self.bytes).map_err(|source| self.error(source))
    }

    fn error(&self, source: sign::Error) -> Error {
        Error::format(&self.path, &self.bytes, Kind::Keyset, source)
    }
}

/// Reads a keyset that is to be trusted; see [`KeysetFile::trusted`].
pub fn read_trusted_keyset(path: &Path) -> Result<Verified<Keyset>, Error> {
    KeysetFile::read(path)?.trusted()
}

/// Reads a keyset of which nothing is known yet.
pub fn read_keyset(path: &Path) -> Result<Unverified<Keyset>, Error> {
    KeysetFile::read(path)?.document()
}

/// Reads a release statement with its signatures.
pub fn read_statement(path: &Path) -> Result<Unverified<Statement>, Error> {
    let bytes = read(path, limits::MAX_SIGN_FILE_BYTES)?;
    Unverified::parse(&bytes).map_err(|source| Error::format(path, &bytes, Kind::Statement, source))
}

/// Writes a document and its signatures, in place of the file if there is one: readers see the
/// old or the new one, after a power cut as well.
pub fn write_document<T: Document>(path: &Path, document: &Unverified<T>) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let aside = PathBuf::from(name);
    create(&aside, document.to_string().as_bytes(), PUBLIC_MODE)?;
    let renamed = fs::rename(&aside, path).and_then(|()| sync_directory(path));
    renamed.map_err(|source| {
        // Already gone if it was renamed.
        drop(fs::remove_file(&aside));
        Error::io("replace", path, source)
    })
}

fn sync_directory(of: &Path) -> io::Result<()> {
    let directory = of.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn read(path: &Path, limit_bytes: usize) -> Result<Vec<u8>, Error> {
    input::read(path, limit_bytes).map_err(|source| Error::io("read", path, source))
}

/// Writes a file that is not there yet; one half-written is removed.
fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists {
            path: path.to_owned(),
        },
        _ => Error::io("create", path, source),
    })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written
        .and_then(|()| sync_directory(path))
        .map_err(|source| {
            // The first error is the one to be told.
            drop(fs::remove_file(path));
            Error::io("write", path, source)
        })
}

/// What the files of those who sign hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A secret key.
    SecretKey,
    /// Public keys.
    PublicKeys,
    /// A keyset.
    Keyset,
    /// A release statement.
    Statement,
}

impl Kind {
    /// What some bytes are, as far as that is known.
    fn of(bytes: &[u8]) -> Option<Self> {
        let is_document = |first: &str| bytes.starts_with(first.as_bytes());
        if SecretKey::parse(bytes).is_ok() {
            return Some(Self::SecretKey);
        }
        if parse_public_keys(bytes).is_ok_and(|keys| !keys.is_empty()) {
            return Some(Self::PublicKeys);
        }
        if is_document("sealroot keyset ") {
            return Some(Self::Keyset);
        }
        is_document("sealroot release ").then_some(Self::Statement)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecretKey => "a secret key",
            Self::PublicKeys => "public keys",
            Self::Keyset => "a keyset",
            Self::Statement => "a release statement",
        })
    }
}

/// Why a key, a keyset or a document could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is there already and is not overwritten.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random numbers.
    #[error("the system gave no random numbers for a new key")]
    Random(#[source] getrandom::Error),
    /// What a file holds was refused.
    #[error("{} cannot be used", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sign::Error,
    },
    /// A file is whole, and not what is wanted.
    #[error("{}: expected {expected}, found {found}", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What is wanted.
        expected: Kind,
        /// What it holds.
        found: Kind,
    },
    /// A file holds no key, or several, where one is wanted.
    #[error("{}: expected one public key, found {found}", path.display())]
    KeyCount {
        /// The file.
        path: PathBuf,
        /// How many keys it holds.
        found: usize,
    },
    /// A key was given twice for one role, where it can count only once.
    #[error("the key {key} is given twice for one role")]
    RepeatedKey {
        /// The key.
        key: KeyId,
    },
    /// A keyset breaks its rules.
    #[error(transparent)]
    Sign(#[from] sign::Error),
}

impl Error {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Of a file with these bytes, which cannot be used as what was expected.
    fn format(path: &Path, bytes: &[u8], expected: Kind, source: sign::Error) -> Self {
        let path = path.to_owned();
        match Kind::of(bytes) {
            Some(found) if found != expected => Self::OtherKind {
                path,
                expected,
                found,
            },
            _ => Self::Format { path, source },
        }
    }

    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                ErrorClass::Usage
            }
            Self::Io { .. } | Self::Random(_) => ErrorClass::Io,
            Self::Exists { .. }
            | Self::OtherKind { .. }
            | Self::KeyCount { .. }
            | Self::RepeatedKey { .. } => ErrorClass::Usage,
            Self::Format { source, .. } | Self::Sign(source) => source.class(),
        }
    }
}
