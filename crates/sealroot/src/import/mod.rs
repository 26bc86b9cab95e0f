// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release of which the device has the OSTree commit, and the vendor's statement: the pack is
//! rebuilt from the commit and has to be the one that was signed.
//!
//! A pack that differs is no error but a finding ([`Rebuilt::Differs`]): another version of the
//! writer, perhaps. The signed pack is then to be fetched; objects that were rebuilt stay, since
//! they are right whatever pack names them.

mod error;

use std::fmt;
use std::io;

use sealroot_format::digest::CommitId;
use sealroot_format::limits;
use sealroot_format::pack::{self, PackError};
use sealroot_format::sign::{Keyset, Name, Statement, Unverified, Verified};
use sealroot_format::tree::{Tree, dump};

use crate::monitor::{Monitor, Unit};
use crate::object::Discard;
use crate::object::ObjectSink;
use crate::ostree::{self, CommitObject, FileCheck, ReadOptions, Repository, StatementPlace};
use crate::spool::{self, Spool};
use crate::store::{Store, StoreError, StoreIo, Transaction, TransactionSummary};

pub use error::{ImportError, RefusedStatement};

/// A statement that was published with a commit, and verified.
#[derive(Clone, Debug)]
pub struct FoundStatement {
    /// What the vendor says.
    pub statement: Verified<Statement>,
    /// The file it came in, to be kept.
    pub document: Unverified<Statement>,
}

/// Finds the statement of a commit in its repository, in `stream` or in the only stream that it
/// was released in.
///
/// Each place is judged by itself: what is damaged, foreign or about another commit in one does not
/// hide a good statement in another (statement.md R4).
pub fn find_statement(
    repository: &Repository,
    commit: CommitId,
    stream: Option<&Name>,
    keyset: &Verified<Keyset>,
) -> Result<FoundStatement, ImportError> {
    let mut found: Vec<FoundStatement> = Vec::new();
    let mut refused = Vec::new();
    for (place, bytes) in repository.published_statements(commit) {
        let judged = match bytes {
            Ok(bytes) => judge(commit, &place, &bytes, keyset),
            Err(error) => Err(RefusedStatement::Unreadable(error)),
        };
        match judged {
            Err(why) => refused.push((place, why)),
            Ok(one) if stream.is_some_and(|stream| one.statement.stream != *stream) => {}
            Ok(one) => add(&mut found, one)?,
        }
    }
    let mut streams: Vec<Name> = found
        .iter()
        .map(|found| found.statement.stream.clone())
        .collect();
    streams.sort_unstable();
    streams.dedup();
    if streams.len() > 1 {
        return Err(ImportError::SeveralStreams { commit, streams });
    }
    // The vendor may have said something newer in one of the two places.
    let newest = found.into_iter().max_by_key(|found| {
        let statement = &found.statement;
        (statement.epoch, statement.index, statement.created)
    });
    newest.ok_or_else(|| match refused.into_iter().next() {
        Some((place, why)) => ImportError::Refused {
            commit,
            place,
            why: Box::new(why),
        },
        None => ImportError::NoStatement {
            repository: repository.path().into(),
            commit,
            stream: stream.cloned(),
        },
    })
}

fn judge(
    commit: CommitId,
    place: &StatementPlace,
    bytes: &[u8],
    keyset: &Verified<Keyset>,
) -> Result<FoundStatement, RefusedStatement> {
    let document = Unverified::<Statement>::parse(bytes).map_err(RefusedStatement::Statement)?;
    let statement = (document.verify(keyset)).map_err(RefusedStatement::Statement)?;
    if statement.commit != commit {
        return Err(RefusedStatement::OtherCommit {
            stated: statement.commit,
        });
    }
    if let StatementPlace::File(stream) = place
        && statement.stream != *stream
    {
        return Err(RefusedStatement::OtherStream {
            stated: statement.stream.clone(),
        });
    }
    Ok(FoundStatement {
        statement,
        document,
    })
}

/// Adds a statement, or the signatures of a copy.
fn add(found: &mut Vec<FoundStatement>, new: FoundStatement) -> Result<(), ImportError> {
    let body = new.document.body();
    match (found.iter_mut()).find(|found| found.document.body() == body) {
        Some(same) => same.document.merge(&new.document)?,
        None => found.push(new),
    }
    Ok(())
}

/// One thing in which what was rebuilt is not what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key of the statement.
    pub what: &'static str,
    /// Its value there.
    pub signed: String,
    /// What was rebuilt, or what this version can rebuild.
    pub rebuilt: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            signed,
            rebuilt,
        } = self;
        write!(f, "{what} {signed} was signed, {rebuilt} was rebuilt")
    }
}

/// What came of rebuilding a pack from its commit.
#[derive(Debug)]
pub enum Rebuilt {
    /// The tree of the pack that was signed.
    Same(Tree),
    /// Another pack: fetch the one that was signed.
    Differs(Vec<Difference>),
}

/// Rebuilds the pack that a statement names, but for writing it. All large files are offered to
/// `sink`.
///
/// The signed digest vouches for the files of the tree, so they are hashed for OSTree only if it
/// is another tree that comes out, to name the damaged one. Whether the statement is signed is the
/// caller's to know.
pub fn rebuild(
    repository: &Repository,
    commit: &CommitObject,
    statement: &Statement,
    spool: &Spool<'_>,
    sink: &dyn ObjectSink,
    monitor: &dyn Monitor,
) -> Result<Rebuilt, ImportError> {
    let threshold_bytes = statement.threshold_bytes;
    // What cannot be rebuilt needs no reading.
    let known = differences([
        number(
            "pack-format",
            statement.pack_format.into(),
            pack::FORMAT_VERSION.into(),
        ),
        number(
            "threshold",
            threshold_bytes.into(),
            threshold_bytes.min(limits::MAX_THRESHOLD_BYTES).into(),
        ),
    ]);
    if !known.is_empty() {
        return Ok(Rebuilt::Differs(known));
    }
    let read = |files, sink| {
        let options = ReadOptions {
            threshold_bytes,
            files,
        };
        ostree::read_tree(repository, commit, &options, spool, sink, monitor)
    };
    let tree = read(FileCheck::DigestOfTree, sink)?.tree;
    monitor.start("packing", Unit::Items, None);
    let found = compare(&tree, statement);
    if !found.as_ref().is_ok_and(Vec::is_empty) {
        read(FileCheck::Checksums, &Discard)?;
    }
    let found = found?;
    if found.is_empty() {
        Ok(Rebuilt::Same(tree))
    } else {
        Ok(Rebuilt::Differs(found))
    }
}

/// In what the pack of a tree is not the one that a statement names.
pub fn compare(tree: &Tree, statement: &Statement) -> Result<Vec<Difference>, PackError> {
    let tree_digest = dump::digest(tree).map_err(PackError::Content)?;
    let summary = pack::write_pack(tree, statement.threshold_bytes, &mut io::sink())?;
    let text = |what, signed: &dyn fmt::Display, rebuilt: &dyn fmt::Display| {
        (what, signed.to_string(), rebuilt.to_string())
    };
    Ok(differences([
        text("tree-digest", &statement.tree_digest, &tree_digest),
        text("pack-digest", &statement.pack_digest, &summary.digest),
        number("pack-size", statement.pack_size_bytes, summary.size_bytes),
        number("entries", statement.entries, summary.entries),
        number("objects", statement.objects, summary.objects),
        number("object-bytes", statement.object_bytes, summary.object_bytes),
    ]))
}

fn number(what: &'static str, signed: u64, rebuilt: u64) -> (&'static str, String, String) {
    (what, signed.to_string(), rebuilt.to_string())
}

fn differences<const N: usize>(points: [(&'static str, String, String); N]) -> Vec<Difference> {
    let points = points.into_iter();
    points
        .filter(|(_, signed, rebuilt)| signed != rebuilt)
        .map(|(what, signed, rebuilt)| Difference {
            what,
            signed,
            rebuilt,
        })
        .collect()
}

/// Adds the pack of a tree that was rebuilt, and its statement. Whether either was new.
pub fn record<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    tree: &Tree,
    found: &FoundStatement,
) -> Result<bool, ImportError> {
    let FoundStatement {
        statement,
        document,
    } = found;
    let (commit, stream) = (statement.commit, &statement.stream);
    let mut document = document.clone();
    let present = transaction.store().read_statement(&commit, stream)?;
    if let Some(Ok(present)) = present.map(|bytes| Unverified::<Statement>::parse(&bytes)) {
        if present.body() == document.body() {
            document.merge(&present)?;
        } else if !present.signatures().is_empty() {
            // A deployment may need it to boot.
            return Err(ImportError::OtherRelease {
                commit,
                stream: stream.clone(),
            });
        }
    }
    let is_new_pack = add_pack(transaction, tree, statement)?;
    let bytes = document.to_string();
    let is_new = transaction.write_statement(&commit, stream, bytes.as_bytes())?;
    Ok(is_new_pack || is_new)
}

/// Adds the pack of a tree, which was compared with the statement. Whether it was new.
pub(crate) fn add_pack<I: StoreIo>(
    transaction: &Transaction<'_, I>,
    tree: &Tree,
    statement: &Statement,
) -> Result<bool, StoreError> {
    let (digest, size_bytes) = (statement.pack_digest, statement.pack_size_bytes);
    transaction.add_pack(&digest, size_bytes, |out| {
        let written = pack::write_pack(tree, statement.threshold_bytes, out);
        written.map(drop).map_err(|error| match error {
            PackError::Write(error) => error,
            other => io::Error::other(other),
        })
    })
}

/// A release that was asked for, and what came of it.
#[derive(Debug)]
pub struct Imported {
    /// The verified statement.
    pub statement: Verified<Statement>,
    /// What became of the objects.
    pub objects: TransactionSummary,
    /// Whether pack and statement are in the store now.
    pub outcome: Outcome,
}

/// See [`Imported`].
#[derive(Debug)]
pub enum Outcome {
    /// They are; whether one of them is new.
    Complete {
        /// Whether it is.
        is_new: bool,
    },
    /// They are not: another pack was rebuilt than the one that was signed.
    Differs(Vec<Difference>),
}

/// Puts the release of a commit that OSTree has pulled into the store: finds the statement,
/// verifies it, rebuilds the pack and compares. Nothing is downloaded.
pub fn import(
    store: &Store,
    repository: &Repository,
    rev: &str,
    stream: Option<&Name>,
    keyset: &Verified<Keyset>,
    monitor: &dyn Monitor,
) -> Result<Imported, ImportError> {
    let id = repository.resolve(rev)?;
    repository.check_complete(id)?;
    let commit = repository.commit(id)?;
    let found = find_statement(repository, id, stream, keyset)?;
    let transaction = store.begin(monitor)?;
    let spool = Spool::new(spool::MEMORY_BYTES, || store.io().create_scratch());
    let statement = &found.statement;
    let rebuilt = rebuild(
        repository,
        &commit,
        statement,
        &spool,
        &transaction,
        monitor,
    )?;
    let outcome = match rebuilt {
        Rebuilt::Same(tree) => Outcome::Complete {
            is_new: record(&transaction, &tree, &found)?,
        },
        Rebuilt::Differs(differences) => Outcome::Differs(differences),
    };
    Ok(Imported {
        objects: transaction.finish()?,
        statement: found.statement,
        outcome,
    })
}
