// SPDX-License-Identifier: MIT OR Apache-2.0
//! Releases in a store: found, verified, opened.
//!
//! The way from bytes on a disk to something that may be used: the statement is verified by a
//! keyset, the pack's bytes by the statement's digest, and only then is the pack parsed.

use std::collections::BTreeMap;
use std::io;

use sealroot_format::ErrorClass;
use sealroot_format::digest::{CommitId, VerityDigest, VerityHasher, compute_verity_digest};
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::{self, PackError, PackSummary};
use sealroot_format::sign::{self, Keyset, Name, Statement, Unverified, Verified};
use sealroot_format::tree::{FileContent, Kind, Tree, dump};

use crate::check::Depth;
use crate::monitor::{Monitor, Unit};
use crate::store::{Store, StoreError, StoredFile, VeritySupport};

/// Largest pack that is held in memory where the filesystem does not verify it, bytes.
const MAX_PACK_IN_MEMORY_BYTES: u64 = 2 << 30;

/// How much of an object is in memory while it is hashed, bytes.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Why a release cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no statement of the commit.
    #[error("there is no release statement of {commit}{}", in_stream(stream.as_ref()))]
    NoStatement {
        /// The commit.
        commit: CommitId,
        /// The stream that was asked for.
        stream: Option<Name>,
    },
    /// The commit has been released in several streams.
    #[error("{commit} was released in several streams: {}", list(streams))]
    SeveralStreams {
        /// The commit.
        commit: CommitId,
        /// Where.
        streams: Vec<Name>,
    },
    /// The statement is damaged, or not signed by those who must.
    #[error("the release statement of {commit} in stream {stream} cannot be used")]
    Statement {
        /// The commit.
        commit: CommitId,
        /// The stream.
        stream: Name,
        /// Why not.
        source: sign::Error,
    },
    /// The statement's file is named after another release than it states.
    #[error("the release statement named {named} is of {stated}")]
    OtherRelease {
        /// Commit and stream of the name.
        named: String,
        /// Commit and stream of the statement.
        stated: String,
    },
    /// The pack's bytes are not those that were signed.
    #[error("the pack has the {what} {found}, expected {expected} as in the release statement")]
    OtherPack {
        /// What differs.
        what: &'static str,
        /// What the statement says.
        expected: String,
        /// What the pack has.
        found: String,
    },
    /// The pack is of a format that this version does not know.
    #[error(
        "the pack has format version {found}, expected {}: a newer sealroot is needed",
        pack::FORMAT_VERSION
    )]
    PackFormat {
        /// The version that the statement names.
        found: u32,
    },
    /// The pack is the signed one and yet breaks its format.
    #[error("the signed pack {digest} is not well-formed")]
    Pack {
        /// The pack.
        digest: VerityDigest,
        /// Where and how.
        source: PackError,
    },
}

fn list(streams: &[Name]) -> String {
    let names: Vec<&str> = streams.iter().map(Name::as_str).collect();
    names.join(", ")
}

fn in_stream(stream: Option<&Name>) -> String {
    stream
        .map(|stream| format!(" in stream {stream}"))
        .unwrap_or_default()
}

impl ReleaseError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NoStatement { .. } => ErrorClass::NotFound,
            Self::SeveralStreams { .. } => ErrorClass::Usage,
            Self::Statement { source, .. } => source.class(),
            Self::OtherRelease { .. } | Self::OtherPack { .. } => ErrorClass::Untrusted,
            Self::PackFormat { .. } => ErrorClass::Unsupported,
            Self::Pack { source, .. } => source.class(),
        }
    }
}

/// The statement of `commit`, in `stream` or in the only stream there is. Nothing is verified.
pub fn read_statement(
    store: &Store,
    commit: CommitId,
    stream: Option<&Name>,
) -> Result<(Name, Unverified<Statement>), ReleaseError> {
    let stream = match stream {
        Some(stream) => stream.clone(),
        None => only_stream(store, commit)?,
    };
    let Some(bytes) = store.read_statement(&commit, &stream)? else {
        return Err(ReleaseError::NoStatement {
            commit,
            stream: Some(stream),
        });
    };
    match Unverified::parse(&bytes) {
        Ok(document) => Ok((stream, document)),
        Err(source) => Err(ReleaseError::Statement {
            commit,
            stream,
            source,
        }),
    }
}

fn only_stream(store: &Store, commit: CommitId) -> Result<Name, ReleaseError> {
    let mut streams: Vec<Name> = store
        .list_statements()?
        .into_iter()
        .filter_map(|(of, stream)| (of == commit).then_some(stream))
        .collect();
    match (streams.pop(), streams.is_empty()) {
        (None, _) => Err(ReleaseError::NoStatement {
            commit,
            stream: None,
        }),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            streams.push(last);
            Err(ReleaseError::SeveralStreams { commit, streams })
        }
    }
}

/// The statement of `commit`, signed by enough release keys of `keyset`.
pub fn verify_statement(
    store: &Store,
    keyset: &Verified<Keyset>,
    commit: CommitId,
    stream: Option<&Name>,
) -> Result<Verified<Statement>, ReleaseError> {
    let (stream, document) = read_statement(store, commit, stream)?;
    let statement = document.verify(keyset).map_err(|source| {
        let stream = stream.clone();
        ReleaseError::Statement {
            commit,
            stream,
            source,
        }
    })?;
    if statement.commit != commit || statement.stream != stream {
        return Err(ReleaseError::OtherRelease {
            named: format!("{commit}.{stream}"),
            stated: format!("{}.{}", statement.commit, statement.stream),
        });
    }
    Ok(statement)
}

/// The bytes of a pack that has the digest it was opened by: the kernel's word for it, or a copy
/// in memory that was hashed.
#[derive(Debug)]
pub enum PackBytes<'s> {
    /// Measured; the kernel verifies what is read.
    Enforced(StoredFile<'s>),
    /// Hashed.
    InMemory(Vec<u8>),
}

impl ReadAt for PackBytes<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        match self {
            Self::Enforced(file) => file.read_exact_at(buf, offset_bytes),
            Self::InMemory(bytes) => bytes.read_exact_at(buf, offset_bytes),
        }
    }

    fn size_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Enforced(file) => Ok(file.size_bytes()),
            Self::InMemory(bytes) => bytes.size_bytes(),
        }
    }
}

/// The bytes of the pack with this digest, verified.
pub fn open_pack_bytes<'s>(
    store: &'s Store,
    digest: &VerityDigest,
) -> Result<PackBytes<'s>, ReleaseError> {
    let file = store.open_pack(digest)?;
    match store.verity() {
        VeritySupport::Kernel => Ok(PackBytes::Enforced(file)),
        VeritySupport::None => Ok(PackBytes::InMemory(read_hashed(&file, digest)?)),
    }
}

/// Opens the file of the pack with this digest. Without fs-verity it is hashed first; then it is as
/// trustworthy as a file that somebody else may change can be.
pub fn open_verified_pack<'s>(
    store: &'s Store,
    digest: &VerityDigest,
) -> Result<StoredFile<'s>, ReleaseError> {
    let file = store.open_pack(digest)?;
    if store.verity() == VeritySupport::None {
        check_content(&file, digest)?;
    }
    Ok(file)
}

/// Opens an object for reading. Without fs-verity it is hashed first; then it is as trustworthy as
/// a file that somebody else may change can be.
pub fn open_verified_object<'s>(
    store: &'s Store,
    digest: &VerityDigest,
    size_bytes: u64,
) -> Result<StoredFile<'s>, ReleaseError> {
    let file = store.open_object(digest, size_bytes)?;
    if store.verity() == VeritySupport::None {
        check_content(&file, digest)?;
    }
    Ok(file)
}

/// The fs-verity digest of all that a reader gives.
fn hash(reader: &mut dyn io::Read) -> io::Result<VerityDigest> {
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let mut hasher = VerityHasher::new();
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn check_content(file: &StoredFile<'_>, expected: &VerityDigest) -> Result<(), StoreError> {
    let found = hash(&mut file.reader()).map_err(|error| file.unreadable(error))?;
    if found == *expected {
        return Ok(());
    }
    Err(file.with_other_content(*expected, found))
}

fn read_hashed(file: &StoredFile<'_>, digest: &VerityDigest) -> Result<Vec<u8>, ReleaseError> {
    if file.size_bytes() > MAX_PACK_IN_MEMORY_BYTES {
        return Err(ReleaseError::OtherPack {
            what: "size",
            expected: format!("at most {MAX_PACK_IN_MEMORY_BYTES} without fs-verity"),
            found: file.size_bytes().to_string(),
        });
    }
    let mut bytes = Vec::new();
    let read = io::Read::read_to_end(&mut file.reader(), &mut bytes);
    read.map_err(|error| file.unreadable(error))?;
    let found = compute_verity_digest(&bytes);
    if found != *digest {
        return Err(file.with_other_content(*digest, found).into());
    }
    Ok(bytes)
}

/// The distinct objects a tree names, with their sizes, ascending.
pub fn objects(tree: &Tree) -> BTreeMap<VerityDigest, u64> {
    let external = |kind: &Kind| match kind {
        Kind::Regular(FileContent::External { digest, size_bytes }) => Some((*digest, *size_bytes)),
        _ => None,
    };
    tree.inodes()
        .filter_map(|(_, inode)| external(&inode.kind))
        .collect()
}

/// Checks the pack that a statement names in full, its grammar and that its writer makes the same
/// bytes of the tree, and compares the two: format, digest, size, entries, objects, threshold and
/// tree digest. The tree is as trustworthy as the statement.
pub fn check_pack(store: &Store, statement: &Statement) -> Result<Tree, ReleaseError> {
    let digest = statement.pack_digest;
    if statement.pack_format != pack::FORMAT_VERSION {
        return Err(ReleaseError::PackFormat {
            found: statement.pack_format,
        });
    }
    let bytes = open_pack_bytes(store, &digest)?;
    let checked = pack::check(bytes).map_err(|source| ReleaseError::Pack { digest, source })?;
    let PackSummary {
        digest: written,
        size_bytes,
        entries,
        objects,
        object_bytes,
    } = checked.summary;
    let thresholds = checked.thresholds;
    let threshold = (statement.threshold_bytes).clamp(*thresholds.start(), *thresholds.end());
    let number = |what, expected: u64, found: u64| (what, expected.to_string(), found.to_string());
    let points = [
        ("fs-verity digest", digest.to_string(), written.to_string()),
        number("size", statement.pack_size_bytes, size_bytes),
        number("entries", statement.entries, entries),
        number("objects", statement.objects, objects),
        number("object bytes", statement.object_bytes, object_bytes),
        number(
            "threshold",
            statement.threshold_bytes.into(),
            threshold.into(),
        ),
        (
            "tree digest",
            statement.tree_digest.to_string(),
            dump::digest(&checked.tree).to_string(),
        ),
    ];
    for (what, expected, found) in points {
        if expected != found {
            return Err(ReleaseError::OtherPack {
                what,
                expected,
                found,
            });
        }
    }
    Ok(checked.tree)
}

/// What is wrong with an object of a release.
#[derive(Clone, Debug)]
pub struct ObjectFinding {
    /// The object.
    pub digest: VerityDigest,
    /// Why it cannot be used.
    pub reason: String,
}

/// Looks at every object that a release's tree names, and gives those that cannot be used. Only an error of the
/// store itself ends it early.
pub fn verify_objects(
    store: &Store,
    tree: &Tree,
    depth: Depth,
    monitor: &dyn Monitor,
) -> Result<Vec<ObjectFinding>, ReleaseError> {
    let objects = objects(tree);
    let total_bytes: u64 = objects.values().sum();
    monitor.start("verifying objects", Unit::Bytes, Some(total_bytes));
    let mut findings = Vec::new();
    for (digest, size_bytes) in objects {
        if let Some(reason) = verify_object(store, &digest, size_bytes, depth)? {
            findings.push(ObjectFinding { digest, reason });
        }
        monitor.advance(size_bytes);
    }
    Ok(findings)
}

fn verify_object(
    store: &Store,
    digest: &VerityDigest,
    size_bytes: u64,
    depth: Depth,
) -> Result<Option<String>, ReleaseError> {
    let file = match store.open_object(digest, size_bytes) {
        Ok(file) => file,
        Err(StoreError::NotFound { .. }) => return Ok(Some("it is missing".into())),
        Err(StoreError::Damaged { reason, .. }) => return Ok(Some(reason)),
        Err(error) => return Err(error.into()),
    };
    if depth == Depth::Quick {
        return Ok(None);
    }
    Ok(match hash(&mut file.reader()) {
        Ok(found) if found == *digest => None,
        Ok(found) => Some(format!("its content has the fs-verity digest {found}")),
        // fs-verity's answer to a damaged block is EIO.
        Err(error) => Some(format!("it cannot be read: {error}")),
    })
}
