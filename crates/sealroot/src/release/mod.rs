// SPDX-License-Identifier: MIT OR Apache-2.0
//! Releases in a store: found, verified, opened.
//!
//! The way from bytes on a disk to something that may be used: the statement is verified by a
//! keyset, the pack's bytes by the statement's digest, and only then is the pack parsed.

mod error;
mod files;
mod objects;
mod windows;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use sealroot_format::digest::{CommitId, VerityDigest, VerityHasher, compute_verity_digest};
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::{self, PackError, PackSummary};
use sealroot_format::sign::{self, Keyset, Name, Statement, Unverified, Verified};
use sealroot_format::tree::{Tree, dump};

use crate::store::{
    Store, StoreError, StoreIo, StoredFile, VeritySupport, full_path, pack_path, statement_path,
};

pub use error::ReleaseError;
pub use files::{ReleaseFile, ReleaseFiles, ReleaseKernel};
pub(crate) use objects::tree_of_pack;
pub use objects::{ObjectCheck, ObjectFinding, ObjectVerdict, objects, verify_objects};
pub use windows::Windows;

/// Largest pack that is held in memory where the filesystem does not verify it, bytes.
const MAX_PACK_IN_MEMORY_BYTES: u64 = 2 << 30;

/// How much of an object is in memory while it is hashed, bytes.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// The statement of `commit`, in `stream` or in the only stream there is. Nothing is verified.
pub fn read_statement<I: StoreIo>(
    store: &Store<I>,
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
        Err(source) => Err(unusable(store, commit, &stream, source)),
    }
}

fn unusable<I: StoreIo>(
    store: &Store<I>,
    commit: CommitId,
    stream: &Name,
    source: sign::Error,
) -> ReleaseError {
    ReleaseError::Statement {
        named: format!("{commit} in stream {stream}"),
        path: full_path(store.io(), &statement_path(&commit, stream)),
        source,
    }
}

fn only_stream<I: StoreIo>(store: &Store<I>, commit: CommitId) -> Result<Name, ReleaseError> {
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
pub fn verify_statement<I: StoreIo>(
    store: &Store<I>,
    keyset: &Verified<Keyset>,
    commit: CommitId,
    stream: Option<&Name>,
) -> Result<Verified<Statement>, ReleaseError> {
    Ok(verify_document(store, keyset, commit, stream)?.0)
}

/// See [`verify_statement`]; with the document it was read from.
pub fn verify_document<I: StoreIo>(
    store: &Store<I>,
    keyset: &Verified<Keyset>,
    commit: CommitId,
    stream: Option<&Name>,
) -> Result<(Verified<Statement>, Unverified<Statement>), ReleaseError> {
    let (stream, document) = read_statement(store, commit, stream)?;
    let statement =
        (document.verify(keyset)).map_err(|source| unusable(store, commit, &stream, source))?;
    if statement.commit != commit || statement.stream != stream {
        return Err(ReleaseError::OtherRelease {
            named: format!("{commit}.{stream}"),
            stated: format!("{}.{}", statement.commit, statement.stream),
        });
    }
    Ok((statement, document))
}

/// The bytes of a pack that has the digest it was opened by: the kernel's word for it, or a copy
/// in memory that was hashed.
#[derive(Debug)]
pub enum PackBytes {
    /// Measured; the kernel verifies what is read.
    Enforced(Windows<File>),
    /// Hashed.
    InMemory(Vec<u8>),
}

impl ReadAt for PackBytes {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        match self {
            Self::Enforced(file) => ReadAt::read_exact_at(file, buf, offset_bytes),
            Self::InMemory(bytes) => bytes.read_exact_at(buf, offset_bytes),
        }
    }

    fn size_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Enforced(file) => file.size_bytes(),
            Self::InMemory(bytes) => bytes.size_bytes(),
        }
    }
}

impl<I: StoreIo> ReadAt for StoredFile<'_, I> {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        self.read_exact_at(buf, offset_bytes)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.size_bytes())
    }
}

/// The bytes of the pack with this digest, verified.
pub fn open_pack_bytes(store: &Store, digest: &VerityDigest) -> Result<PackBytes, ReleaseError> {
    let file = store.open_pack(digest)?;
    match store.verity() {
        VeritySupport::Kernel => {
            let path = || full_path(store.io(), &pack_path(digest));
            let file = File::from(OwnedFd::from(file.into_file()));
            let windows = Windows::new(file).map_err(|source| StoreError::Io {
                operation: "look at",
                path: path(),
                source,
            })?;
            Ok(PackBytes::Enforced(windows))
        }
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
pub(crate) fn hash(reader: &mut dyn io::Read) -> io::Result<VerityDigest> {
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
    let len = usize::try_from(file.size_bytes()).expect("bounded above");
    let mut bytes = vec![0; len];
    let read = file.read_exact_at(&mut bytes, 0);
    read.map_err(|error| file.unreadable(error))?;
    let found = compute_verity_digest(&bytes);
    if found != *digest {
        return Err(file.with_other_content(*digest, found).into());
    }
    Ok(bytes)
}

/// A pack, as trustworthy as the statement that named it.
#[derive(Debug)]
pub struct ReadPack {
    /// Its bytes.
    pub bytes: Arc<PackBytes>,
    /// What is in it. The content of its files stays in the pack.
    pub tree: Tree,
}

/// Reads the pack that a statement names. That its bytes are the signed ones is verified, and the
/// rules of the format while reading, but not that they are all there is to say of the tree:
/// that is what [`check_pack`] adds, for whoever signs or receives a pack.
pub fn read_pack(store: &Store, statement: &Statement) -> Result<ReadPack, ReleaseError> {
    let digest = statement.pack_digest;
    check_format(statement)?;
    let bytes = Arc::new(open_pack_bytes(store, &digest)?);
    let tree = pack::read(Arc::clone(&bytes));
    let tree = tree.map_err(|source| ReleaseError::Pack { digest, source })?;
    Ok(ReadPack { bytes, tree })
}

fn check_format(statement: &Statement) -> Result<(), ReleaseError> {
    if statement.pack_format != pack::FORMAT_VERSION {
        return Err(ReleaseError::PackFormat {
            found: statement.pack_format,
        });
    }
    Ok(())
}

/// Checks the pack that a statement names in full, its grammar and that its writer makes the same
/// bytes of the tree, and compares the two: format, digest, size, entries, objects, threshold and
/// tree digest. The tree is as trustworthy as the statement.
pub fn check_pack(store: &Store, statement: &Statement) -> Result<Tree, ReleaseError> {
    let digest = statement.pack_digest;
    check_format(statement)?;
    let bytes = open_pack_bytes(store, &digest)?;
    let invalid = |source| ReleaseError::Pack { digest, source };
    let checked = pack::check(bytes).map_err(invalid)?;
    let tree_digest = dump::digest(&checked.tree).map_err(PackError::Content);
    let tree_digest = tree_digest.map_err(invalid)?;
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
            tree_digest.to_string(),
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
