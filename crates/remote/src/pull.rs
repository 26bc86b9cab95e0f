// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bringing a release into the store.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write};
use std::sync::Arc;

use sealroot::adopt::{self, AdoptError};
use sealroot::delta::{self, DeltaError, Outline};
use sealroot::import::{self, FoundStatement};
use sealroot::monitor::{Monitor, Unit};
use sealroot::ostree::Repository;
use sealroot::release::{self, ReleaseError};
use sealroot::store::{Store, StoreError, Transaction, TransactionSummary};
use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_format::pack;
use sealroot_format::sign::{
    Channel, ChannelDelta, ChannelRelease, RemoteFile, Statement, Unverified, Verified,
};
use sealroot_format::tree::Tree;
use sealroot_format::{ErrorClass, limits};

use crate::bundle::{self, Head};
use crate::error::RemoteError;
use crate::fetch::Fetcher;
use crate::layout::{ChannelName, Kind};
use crate::objects::{Missing, ObjectFetcher};
use crate::part::{Complete, Fetch, Piece, check_space};
use crate::plan::{Plan, Step};
use crate::source::SourceError;
use crate::state::Remote;

/// Of objects that have come, so many bytes may have no name yet: they are fetched again when the
/// process is killed. Less would have fast servers wait for the disk.
pub const MAX_UNKEPT_BYTES: u64 = 4 << 20;

/// What a pull did.
#[derive(Debug)]
pub struct Pulled {
    /// The release.
    pub statement: Verified<Statement>,
    /// How it came.
    pub plan: Plan,
    /// What became of its objects, those of releases on the way included.
    pub objects: TransactionSummary,
}

/// Brings releases of a channel into a store.
#[derive(Debug)]
pub struct Puller<'p> {
    store: &'p Store,
    remote: &'p Remote,
    fetcher: &'p Fetcher,
    ostree: Option<&'p Repository>,
    /// The pack that was read or made last, and its tree: the next step mostly begins with it.
    last: RefCell<Option<(VerityDigest, Tree)>>,
}

impl<'p> Puller<'p> {
    /// Brings releases of a remote, whose channel was refreshed, into a store. Before objects are
    /// fetched they are looked for in the repository that OSTree has on this machine, if there is one.
    pub fn new(
        store: &'p Store,
        remote: &'p Remote,
        fetcher: &'p Fetcher,
        ostree: Option<&'p Repository>,
    ) -> Self {
        Self {
            store,
            remote,
            fetcher,
            ostree,
            last: RefCell::new(None),
        }
    }

    fn channel(&self) -> Result<&Channel, RemoteError> {
        let channel = self.remote.last().map(|channel| &**channel);
        channel.ok_or_else(|| RemoteError::State {
            name: self.remote.name.clone(),
            reason: "its channel was never fetched".into(),
        })
    }

    /// The way to the release with this index, or the newest.
    pub fn plan(&self, index: Option<u64>) -> Result<Plan, RemoteError> {
        let channel = self.channel()?;
        Plan::new(channel, &self.present()?, index)
    }

    /// The releases of the channel that the store has whole.
    fn present(&self) -> Result<BTreeSet<u64>, RemoteError> {
        let statements = self.statements()?;
        let mut present = BTreeSet::new();
        for offered in &self.channel()?.releases {
            if let Some(statement) = statements.get(&offered.pack)
                && self.is_whole(statement)?
            {
                present.insert(offered.index);
            }
        }
        Ok(present)
    }

    fn is_whole(&self, statement: &Statement) -> Result<bool, RemoteError> {
        let Ok(pack) = release::read_pack(self.store, statement) else {
            return Ok(false);
        };
        let objects = release::objects(&pack.tree);
        self.last.replace(Some((statement.pack_digest, pack.tree)));
        for (digest, size_bytes) in objects {
            match self.store.open_object(&digest, size_bytes) {
                Ok(_) => {}
                Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// The tree of a release that is there.
    fn tree(&self, statement: &Statement) -> Result<Tree, RemoteError> {
        match self.last.take() {
            Some((pack, tree)) if pack == statement.pack_digest => Ok(tree),
            _ => Ok(release::read_pack(self.store, statement)?.tree),
        }
    }

    /// The verified statements that are there, by their packs.
    fn statements(&self) -> Result<HashMap<VerityDigest, Verified<Statement>>, RemoteError> {
        let mut statements = HashMap::new();
        for (commit, stream) in self.store.list_statements()? {
            let keyset = self.remote.keyset();
            let statement = release::verify_statement(self.store, keyset, commit, Some(&stream));
            if let Ok(statement) = statement {
                statements.insert(statement.pack_digest, statement);
            }
        }
        Ok(statements)
    }

    /// Goes the way of a plan. Where a delta does not do, bundles are taken.
    pub fn pull(&self, plan: &Plan, monitor: &dyn Monitor) -> Result<Pulled, RemoteError> {
        let mut objects = TransactionSummary::default();
        let mut plan = plan.clone();
        let mut last = None;
        let mut steps = plan.steps.clone().into_iter();
        while let Some(step) = steps.next() {
            let done = match &step {
                Step::Delta(delta) => match self.pull_delta(delta, monitor) {
                    Err(error) if is_fault_of_delta(&error) => {
                        monitor.warn(format!(
                            "the delta from {} to {} does not do, and whole objects are fetched instead: {error}",
                            delta.from, delta.to
                        ));
                        let present = self.present()?;
                        let rest = Plan::without_deltas(self.channel()?, &present, &plan.release);
                        plan.steps.clone_from(&rest.steps);
                        steps = rest.steps.into_iter();
                        continue;
                    }
                    done => done?,
                },
                Step::Bundle { release, .. } => self.pull_bundle(release, monitor)?,
            };
            add(&mut objects, done.1);
            last = Some(done.0);
        }
        let statement = match last {
            Some(statement) => statement,
            None => self.present_statement(&plan.release)?,
        };
        for part in self.store.list_parts()? {
            self.store.remove_part(&part)?;
        }
        Ok(Pulled {
            statement,
            plan,
            objects,
        })
    }

    fn present_statement(
        &self,
        release: &ChannelRelease,
    ) -> Result<Verified<Statement>, RemoteError> {
        let found = self.statements()?.remove(&release.pack);
        found.ok_or(RemoteError::NoRelease {
            index: release.index,
        })
    }

    fn offered(&self, index: u64) -> Result<&ChannelRelease, RemoteError> {
        let release = self.channel()?.release(index);
        release.ok_or(RemoteError::NoRelease { index })
    }

    fn pull_delta(
        &self,
        delta: &ChannelDelta,
        monitor: &dyn Monitor,
    ) -> Result<(Verified<Statement>, TransactionSummary), RemoteError> {
        let base = self.present_statement(self.offered(delta.from)?)?;
        let found = self.statement(self.offered(delta.to)?)?;
        let fetch = self.fetch(Kind::Delta, delta.file, &found.statement);
        monitor.start("fetching", Unit::Bytes, Some(delta.file.size_bytes));
        let read_head = |head: &[u8]| {
            let groups = Outline::parse(head)?.groups.into_iter();
            let piece = |(size_bytes, sha256)| Piece { size_bytes, sha256 };
            Ok(((), groups.map(piece).collect()))
        };
        let mut complete = fetch.complete(&read_head, monitor)?;
        let transaction = self.store.begin(monitor)?;
        let base_tree = self.tree(&base)?;
        let from = delta::Release {
            store: self.store,
            pack: base.pack_digest,
            tree: &base_tree,
        };
        let tree = delta::apply(
            &transaction,
            &from,
            &found.statement,
            &mut complete.content,
            &|| self.store.create_scratch(),
            monitor,
        );
        let tree = match tree {
            Ok(tree) => tree,
            Err(error) => {
                drop(transaction);
                let error = RemoteError::from(error).needing(self.store, fetch.beside_bytes);
                if is_fault_of_delta(&error) {
                    fetch.forget()?;
                }
                return Err(error);
            }
        };
        self.finish(transaction, tree, found)
    }

    fn pull_bundle(
        &self,
        release: &ChannelRelease,
        monitor: &dyn Monitor,
    ) -> Result<(Verified<Statement>, TransactionSummary), RemoteError> {
        let found = self.statement(release)?;
        let statement = &found.statement;
        let fetch = self.fetch(Kind::Bundle, release.bundle, statement);
        let head_bytes = release.bundle.head_bytes;
        monitor.start("fetching the head", Unit::Bytes, Some(head_bytes));
        let read_head = |head: &[u8]| {
            let head = Head::parse(head)?;
            let frames = head.frames.clone();
            let pack_bytes = frames.iter().map(|frame| frame.size_bytes).sum();
            monitor.start("fetching the pack", Unit::Bytes, Some(pack_bytes));
            Ok((head, frames))
        };
        let Complete { head, mut content } = fetch.complete(&read_head, monitor)?;
        let same = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected == found {
                return Ok(());
            }
            Err(fetch.mismatch(what, &expected, &found))
        };
        same("its pack", &statement.pack_digest, &head.pack)?;
        same(
            "size of its pack",
            &statement.pack_size_bytes,
            &head.pack_bytes,
        )?;
        let behind_head = SeekFrom::Start(head_bytes);
        let seek = RemoteError::io("read what was fetched");
        content.seek(behind_head).map_err(seek)?;
        let pack = self.unpack(&head, &mut content);
        let pack = pack.map_err(|error| error.needing(self.store, fetch.beside_bytes))?;
        same("digest of its pack", &statement.pack_digest, &pack.digest)?;
        let tree = pack::check(Arc::new(pack.file))?.tree;
        let differences = import::compare(&tree, statement)?;
        if !differences.is_empty() {
            return Err(DeltaError::Differs { differences }.into());
        }
        let objects = delta::objects_in_order(&tree);
        let places = head.places(&release.bundle)?;
        same("number of objects", &objects.len(), &places.len())?;

        let transaction = self.store.begin(monitor)?;
        if let Some(repository) = self.ostree {
            let gathered =
                adopt::gather(&transaction, repository, statement.commit, &tree, monitor);
            match gathered {
                Err(AdoptError::Ostree(error)) => monitor.warn(format!(
                    "all that is missing is fetched, and not looked for in OSTree's repository: {error}"
                )),
                gathered => gathered?,
            }
        }
        let mut missing = Vec::new();
        for ((digest, size_bytes), place) in objects.into_iter().zip(places) {
            if !transaction.has_object(&digest, size_bytes)? {
                let most = bundle::most_compressed_bytes(size_bytes);
                if place.size_bytes > most {
                    let expected = format!("at most {most} bytes");
                    same("length of an object", &expected, &place.size_bytes)?;
                }
                missing.push(Missing {
                    digest,
                    size_bytes,
                    bundle: place.bundle,
                    start: place.start,
                    end: place.start + place.size_bytes,
                });
            }
        }
        let allocated_bytes = |object: &Missing| self.store.allocated_bytes(object.size_bytes);
        let missing_bytes: u64 = missing.iter().map(allocated_bytes).sum();
        check_space(self.store, missing_bytes.saturating_add(fetch.beside_bytes))?;
        transaction.limit_waiting(MAX_UNKEPT_BYTES);
        let wire_bytes = missing.iter().map(|object| object.end - object.start).sum();
        monitor.start("fetching objects", Unit::Bytes, Some(wire_bytes));
        let objects = ObjectFetcher {
            fetcher: self.fetcher,
            transaction: &transaction,
            monitor,
        };
        if let Err(error) = objects.fetch(missing) {
            // What came is kept.
            return Err(match transaction.finish() {
                Ok(_) | Err(StoreError::Failed { .. }) => error,
                Err(worse) => worse.into(),
            });
        }
        self.finish(transaction, tree, found)
    }

    fn finish(
        &self,
        transaction: Transaction<'_>,
        tree: Tree,
        found: FoundStatement,
    ) -> Result<(Verified<Statement>, TransactionSummary), RemoteError> {
        import::record(&transaction, &tree, &found)?;
        let pack = found.statement.pack_digest;
        self.last.replace(Some((pack, tree)));
        Ok((found.statement, transaction.finish()?))
    }

    /// The pack, decompressed, in a file without a name.
    fn unpack(&self, head: &Head, frames: &mut File) -> Result<Unpacked, RemoteError> {
        let aside = || RemoteError::io("put the pack aside");
        let file = self.store.create_scratch().map_err(aside())?;
        let mut hashed = Hashed {
            out: BufWriter::new(file),
            hasher: VerityHasher::new(),
        };
        bundle::read_pack(head, frames, &mut hashed)?;
        let file = hashed.out.into_inner();
        Ok(Unpacked {
            file: file.map_err(|error| aside()(error.into_error()))?,
            digest: hashed.hasher.finish(),
        })
    }

    /// The statement of an offered release.
    fn statement(&self, release: &ChannelRelease) -> Result<FoundStatement, RemoteError> {
        let path = Kind::Statement.path(&release.statement);
        let location = self.fetcher.location();
        let bytes = self.fetcher.small(&path, limits::MAX_SIGN_FILE_BYTES)?;
        let found = bundle::sha256(&bytes);
        if found != release.statement.head {
            let expected = release.statement.head;
            let place = (location, &*path);
            return Err(RemoteError::mismatch(place, "SHA-256", &expected, &found));
        }
        let unusable = RemoteError::document(location, &path);
        let document = Unverified::<Statement>::parse(&bytes).map_err(&unusable)?;
        let statement = document.verify(self.remote.keyset()).map_err(&unusable)?;
        let name = ChannelName::of_release(&statement);
        for (what, offered, stated) in [
            (
                "a release of",
                self.remote.channel.to_string(),
                name.to_string(),
            ),
            (
                "index",
                release.index.to_string(),
                statement.index.to_string(),
            ),
            (
                "epoch",
                release.epoch.to_string(),
                statement.epoch.to_string(),
            ),
            (
                "pack",
                release.pack.to_string(),
                statement.pack_digest.to_string(),
            ),
        ] {
            if offered != stated {
                return Err(RemoteError::OtherRelease {
                    what,
                    offered,
                    stated,
                });
            }
        }
        if statement.pack_format != pack::FORMAT_VERSION {
            let found = statement.pack_format;
            return Err(ReleaseError::PackFormat { found }.into());
        }
        Ok(FoundStatement {
            statement,
            document,
        })
    }

    /// Fetches a file for a release.
    fn fetch(&self, kind: Kind, file: RemoteFile, statement: &Statement) -> Fetch<'_> {
        Fetch {
            store: self.store,
            fetcher: self.fetcher,
            kind,
            file,
            beside_bytes: self.store.allocated_bytes(statement.pack_size_bytes),
        }
    }
}

/// Whether bundles may do where a delta did not.
fn is_fault_of_delta(error: &RemoteError) -> bool {
    match error {
        RemoteError::Delta(error) => {
            matches!(
                error.class(),
                ErrorClass::Corrupt | ErrorClass::Untrusted | ErrorClass::Usage
            )
        }
        RemoteError::Mismatch { .. } => true,
        // Of one that is only late, the rest is worth waiting for.
        RemoteError::Source { source, .. } => !matches!(source, SourceError::Unavailable { .. }),
        _ => false,
    }
}

fn add(sum: &mut TransactionSummary, more: TransactionSummary) {
    sum.added_objects += more.added_objects;
    sum.added_bytes += more.added_bytes;
    sum.linked_objects += more.linked_objects;
    sum.linked_bytes += more.linked_bytes;
    sum.present_objects += more.present_objects;
    sum.present_bytes += more.present_bytes;
}

struct Unpacked {
    file: File,
    digest: VerityDigest,
}

struct Hashed<W> {
    out: W,
    hasher: VerityHasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
