// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bringing a release into the store.

mod bundle;
mod delta;
mod image;
mod repair;
mod signatures;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use sealroot::delta::DeltaError;
use sealroot::import::{self, FoundStatement};
use sealroot::monitor::Monitor;
use sealroot::ostree::Repository;
use sealroot::release::{self, ReleaseError};
use sealroot::store::{
    ImageName, SignatureKeyring, Store, StoreError, Transaction, TransactionSummary, VeritySupport,
};
use sealroot_format::digest::VerityDigest;
use sealroot_format::limits;
use sealroot_format::pack;
use sealroot_format::sign::{
    Channel, ChannelDelta, ChannelRelease, RemoteFile, Statement, Unverified, Verified,
};
use sealroot_format::tree::Tree;

use self::delta::is_fault_of_delta;
pub use self::repair::RemoteSource;
use crate::bundle::sha256;
use crate::error::RemoteError;
use crate::fetch::Fetcher;
use crate::layout::{ChannelName, Kind};
use crate::part::Fetch;
use crate::plan::{Plan, Step};
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
    /// Its image, if one was wanted.
    pub image: Option<ImageName>,
    /// What became of its objects, and of those on the way to them.
    pub objects: TransactionSummary,
}

/// Brings releases of a channel into a store.
#[derive(Debug)]
pub struct Puller<'p> {
    store: &'p Store,
    remote: &'p Remote,
    fetcher: &'p Fetcher,
    ostree: Option<&'p Repository>,
    /// What the kernel does with signatures of objects.
    keyring: SignatureKeyring,
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
            keyring: match store.verity() {
                VeritySupport::Kernel => store.signature_keyring(),
                VeritySupport::None => SignatureKeyring::Absent,
            },
            last: RefCell::new(None),
        }
    }

    /// Goes by another keyring than the kernel has now: it is to be another kernel that takes the objects.
    #[must_use]
    pub fn with_keyring(mut self, keyring: SignatureKeyring) -> Self {
        self.keyring = keyring;
        self
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

    /// The releases of the channel that the store has whole. Who signed them does not matter: the channel names their
    /// packs, and keys may have changed since they came.
    fn present(&self) -> Result<BTreeSet<u64>, RemoteError> {
        let statements = self.stated()?;
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

    /// What the statements that are there say, by the packs that they name. Nothing is verified.
    fn stated(&self) -> Result<HashMap<VerityDigest, Statement>, RemoteError> {
        let mut statements = HashMap::new();
        for (commit, stream) in self.store.list_statements()? {
            let read = release::read_statement(self.store, commit, Some(&stream));
            if let Ok((_, document)) = read
                && let Ok(statement) = Statement::parse(document.body())
            {
                statements.insert(statement.pack_digest, statement);
            }
        }
        Ok(statements)
    }

    /// Goes the way of a plan. Where a delta does not do, bundles are taken.
    pub fn pull(&self, plan: &Plan, monitor: &dyn Monitor) -> Result<Pulled, RemoteError> {
        let mut plan = plan.clone();
        let deltas = plan.steps.iter().filter_map(|step| match step {
            Step::Delta(delta) => Some(*delta),
            Step::Bundle { .. } => None,
        });
        let deltas: Vec<_> = deltas.collect();
        if !plan.steps.is_empty() {
            self.fetch_signatures(&plan.release, monitor)?;
        }
        let (statement, objects) = if plan.steps.is_empty() {
            let statement = self.present_statement(&plan.release, monitor)?;
            (statement, TransactionSummary::default())
        } else if deltas.is_empty() {
            self.pull_bundle(&plan.release, monitor)?
        } else {
            match self.pull_deltas(&deltas, monitor) {
                Err(error) if is_fault_of_delta(&error) => {
                    monitor.warn(why_bundles(&deltas, &error));
                    let present = self.present()?;
                    plan.steps =
                        Plan::without_deltas(self.channel()?, &present, &plan.release).steps;
                    self.pull_bundle(&plan.release, monitor)?
                }
                done => done?,
            }
        };
        let image = (plan.image.as_ref()).map(|step| self.pull_image(step, &statement, monitor));
        let image = image.transpose()?;
        for part in self.store.list_parts()? {
            self.store.remove_part(&part)?;
        }
        Ok(Pulled {
            statement,
            plan,
            image,
            objects,
        })
    }

    /// What the statement of a release says that is there, to make another one of it.
    fn base(&self, index: u64) -> Result<Statement, RemoteError> {
        let found = self.stated()?.remove(&self.offered(index)?.pack);
        found.ok_or(RemoteError::NoRelease { index })
    }

    /// The statement of a release that is there. If it is not signed by enough keys that count today, that of
    /// the remote is added.
    fn present_statement(
        &self,
        release: &ChannelRelease,
        monitor: &dyn Monitor,
    ) -> Result<Verified<Statement>, RemoteError> {
        let base = self.base(release.index)?;
        let (commit, stream) = (base.commit, Some(&base.stream));
        let keyset = self.remote.keyset();
        let present = release::verify_statement(self.store, keyset, commit, stream);
        if let Ok(statement) = present {
            return Ok(statement);
        }
        let found = self.statement(release)?;
        let tree = self.tree(&found.statement)?;
        let transaction = self.store.begin(monitor)?;
        Ok(self.finish(transaction, tree, found)?.0)
    }

    fn offered(&self, index: u64) -> Result<&ChannelRelease, RemoteError> {
        let release = self.channel()?.release(index);
        release.ok_or(RemoteError::NoRelease { index })
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

    /// The statement of an offered release.
    fn statement(&self, release: &ChannelRelease) -> Result<FoundStatement, RemoteError> {
        self.fetcher.of_any(|| self.fetch_statement(release))
    }

    fn fetch_statement(&self, release: &ChannelRelease) -> Result<FoundStatement, RemoteError> {
        let path = Kind::Statement.path(&release.statement);
        let location = self.fetcher.asked_first();
        let bytes = self.fetcher.small(&path, limits::MAX_SIGN_FILE_BYTES)?;
        let found = sha256(&bytes);
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
            is_whole: kind != Kind::Bundle,
            beside_bytes: self.store.allocated_bytes(statement.pack_size_bytes),
        }
    }
}

/// That deltas do not do, and why.
fn why_bundles(deltas: &[ChannelDelta], error: &RemoteError) -> String {
    let ways = deltas
        .iter()
        .map(|delta| format!("{} to {}", delta.from, delta.to));
    let ways = ways.collect::<Vec<_>>().join(" or ");
    let suspect = match error {
        RemoteError::Delta(DeltaError::Differs { .. }) => {
            "; if it serves others, something of the old release is damaged here: `sealroot check --full`"
        }
        _ => "",
    };
    format!(
        "the delta from {ways} does not do, and whole objects are fetched instead: {error}{suspect}"
    )
}

fn add(sum: &mut TransactionSummary, more: TransactionSummary) {
    sum.added_objects += more.added_objects;
    sum.added_bytes += more.added_bytes;
    sum.linked_objects += more.linked_objects;
    sum.linked_bytes += more.linked_bytes;
    sum.present_objects += more.present_objects;
    sum.present_bytes += more.present_bytes;
}
