// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release out of bundles: the pack, and the objects that are missing.

use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write};
use std::sync::Arc;

use sealroot::adopt::{self, AdoptError};
use sealroot::delta::{self, DeltaError};
use sealroot::import;
use sealroot::monitor::{Monitor, Unit};
use sealroot::store::{StoreError, Transaction, TransactionSummary};
use sealroot_format::digest::{VerityDigest, VerityHasher};
use sealroot_format::pack;
use sealroot_format::sign::{ChannelRelease, Statement, Verified};
use sealroot_format::tree::Tree;

use super::{MAX_UNKEPT_BYTES, Puller};
use crate::bundle::{self, Head, Place};
use crate::error::RemoteError;
use crate::layout::Kind;
use crate::objects::{Missing, ObjectFetcher, fetched_bytes};
use crate::part::{Complete, Fetch, check_space};
use crate::plan::{Plan, Step};

impl Puller<'_> {
    /// The same plan, with how much comes of bundles at most. Their heads are fetched to know it, and kept.
    pub fn foresee(&self, plan: &Plan, monitor: &dyn Monitor) -> Result<Plan, RemoteError> {
        let mut foreseen = plan.clone();
        for step in &mut foreseen.steps {
            if let Step::Bundle {
                release,
                most_bytes,
            } = step
            {
                *most_bytes = self.most_bytes(release, monitor)?;
            }
        }
        Ok(foreseen)
    }

    /// The bytes that come of bundles at most for a release: of objects, those that are new since the newest release that
    /// is there, or all.
    fn most_bytes(
        &self,
        release: &ChannelRelease,
        monitor: &dyn Monitor,
    ) -> Result<u64, RemoteError> {
        let file = release.bundle;
        let head = self.fetch_head(release, monitor)?;
        let older = self.present()?.range(..release.index).next_back().copied();
        let is_new = |place: &Place| {
            let of = |release: &&ChannelRelease| release.bundle.head == place.bundle;
            let introduced = self
                .channel()
                .map(|channel| channel.releases.iter().find(of));
            match (older, introduced) {
                (Some(older), Ok(introduced)) => introduced.is_some_and(|of| of.index > older),
                _ => true,
            }
        };
        let mut places = head.places(&file)?;
        places.retain(is_new);
        let frames = head.frames.iter().map(|frame| frame.size_bytes);
        let bytes = frames.chain([fetched_bytes(places)]);
        Ok(bytes.fold(file.head_bytes, u64::saturating_add))
    }

    /// Fetches the head of a bundle alone. It is kept.
    pub(super) fn fetch_head(
        &self,
        release: &ChannelRelease,
        monitor: &dyn Monitor,
    ) -> Result<Head, RemoteError> {
        let fetch = Fetch {
            store: self.store,
            fetcher: self.fetcher,
            kind: Kind::Bundle,
            file: release.bundle,
            is_whole: false,
            beside_bytes: 0,
        };
        let read_head = |head: &[u8]| Ok((Head::parse(head)?, Vec::new()));
        Ok(fetch.complete(&read_head, monitor)?.head)
    }

    pub(super) fn pull_bundle(
        &self,
        release: &ChannelRelease,
        monitor: &dyn Monitor,
    ) -> Result<(Verified<Statement>, TransactionSummary), RemoteError> {
        let found = self.statement(release)?;
        let statement = &found.statement;
        let beside_bytes = self
            .fetch(Kind::Bundle, release.bundle, statement)
            .beside_bytes;
        let FetchedPack { head, pack } = self.fetch_pack(release, statement, monitor)?;
        let tree = pack::check(Arc::new(pack))?.tree;
        let differences = import::compare(&tree, statement)?;
        if !differences.is_empty() {
            return Err(DeltaError::Differs { differences }.into());
        }

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
        let fetched = self.fetch_objects(&transaction, release, &head, &tree, beside_bytes);
        if let Err(error) = fetched {
            // What came is kept.
            return Err(match transaction.finish() {
                Ok(_) | Err(StoreError::Failed { .. }) => error,
                Err(worse) => worse.into(),
            });
        }
        self.finish(transaction, tree, found)
    }

    /// Fetches the head of a bundle and the pack in it, which has the digest that the statement says.
    pub(super) fn fetch_pack(
        &self,
        release: &ChannelRelease,
        statement: &Statement,
        monitor: &dyn Monitor,
    ) -> Result<FetchedPack, RemoteError> {
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
        Ok(FetchedPack {
            head,
            pack: pack.file,
        })
    }

    /// Fetches those objects of a release that are missing, or are not to be trusted.
    pub(super) fn fetch_objects(
        &self,
        transaction: &Transaction<'_>,
        release: &ChannelRelease,
        head: &Head,
        tree: &Tree,
        beside_bytes: u64,
    ) -> Result<(), RemoteError> {
        let monitor = transaction.monitor();
        let path = Kind::Bundle.path(&release.bundle);
        let mismatch = |what, expected: &dyn ToString, found: &dyn ToString| {
            RemoteError::mismatch((self.fetcher.location(), &path), what, expected, found)
        };
        let objects = delta::objects_in_order(tree);
        let places = head.places(&release.bundle)?;
        if objects.len() != places.len() {
            return Err(mismatch("number of objects", &objects.len(), &places.len()));
        }
        let mut missing = Vec::new();
        for ((digest, size_bytes), place) in objects.into_iter().zip(places) {
            if !transaction.has_object(&digest, size_bytes)? {
                let most = bundle::most_compressed_bytes(size_bytes);
                if place.size_bytes > most {
                    let expected = format!("at most {most} bytes");
                    return Err(mismatch(
                        "length of an object",
                        &expected,
                        &place.size_bytes,
                    ));
                }
                missing.push(Missing {
                    digest,
                    size_bytes,
                    place,
                });
            }
        }
        let allocated_bytes = |object: &Missing| self.store.allocated_bytes(object.size_bytes);
        let missing_bytes: u64 = missing.iter().map(allocated_bytes).sum();
        check_space(self.store, missing_bytes.saturating_add(beside_bytes))?;
        transaction.limit_waiting(MAX_UNKEPT_BYTES);
        let wire_bytes = missing.iter().map(|object| object.place.size_bytes).sum();
        monitor.start("fetching objects", Unit::Bytes, Some(wire_bytes));
        let objects = ObjectFetcher {
            fetcher: self.fetcher,
            transaction,
            monitor,
        };
        objects.fetch(missing)
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
}

/// A pack that has come.
pub(super) struct FetchedPack {
    /// What the bundle says.
    pub(super) head: Head,
    /// The pack, in a file without a name.
    pub(super) pack: File,
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
