// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go and what must stay: decided from facts alone, nothing is changed.

use std::collections::{BTreeMap, BTreeSet};

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Name, Statement, Unverified};

use super::MachineError;
use super::prune::{Releases, Retention};
use super::scan::{Found, Scan, State};
use crate::store::{ImageName, Store, StoreIo};

/// What is to go.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Deployments that nothing uses.
    pub(super) deployments: Vec<DeploymentName>,
    /// Whether nothing is known to boot, so that no deployment can be known to be unused.
    pub(super) is_boot_unknown: bool,
    /// Releases of packs that go.
    pub(super) statements: Vec<(CommitId, Name, VerityDigest)>,
    /// Images of packs that go.
    pub(super) images: Vec<ImageName>,
    /// Packs that nothing uses.
    pub(super) packs: Vec<VerityDigest>,
    /// Packs that stay and need their objects, and what needs them.
    pub(super) live: BTreeMap<VerityDigest, String>,
    /// Packs whose last deployment goes or has gone.
    pub(super) given_up: BTreeSet<VerityDigest>,
    /// Whether there may be objects that no pack names.
    pub(super) is_sweep_due: bool,
}

impl Plan {
    /// Decides what goes.
    pub(super) fn new<I: StoreIo>(
        store: &Store<I>,
        scan: &Scan,
        retention: Retention,
    ) -> Result<Self, MachineError> {
        let unswept = store.unswept()?;
        let mut plan = Self::default();
        plan.choose_deployments(scan, retention);
        let stays = |found: &&Found| !plan.deployments.contains(&found.name);
        let kept: Vec<&Found> = scan.deployments.iter().filter(stays).collect();

        let mut given_up = unswept.clone().unwrap_or_default();
        let condemned = scan.deployments.iter().filter(|found| !stays(found));
        given_up.extend(condemned.filter_map(pack_of));
        for pack in kept.iter().filter_map(|found| pack_of(found)) {
            given_up.remove(&pack);
        }

        plan.packs = store.list_packs()?;
        let mut live = used_packs(scan, &kept);
        for (commit, stream, pack) in read_statements(store)? {
            let is_booted_from = kept.iter().any(|found| found.name.commit == commit);
            let is_kept = match retention.releases {
                Releases::OfDeployments => !given_up.contains(&pack),
                Releases::None => false,
            };
            if is_booted_from || is_kept {
                // One that was never fetched is needed by nothing.
                if plan.packs.binary_search(&pack).is_ok() {
                    let user = || format!("the release {commit} in stream {stream}");
                    live.entry(pack).or_insert_with(user);
                }
            } else if !live.contains_key(&pack) {
                plan.statements.push((commit, stream, pack));
            }
        }
        // A later statement may have kept the pack.
        plan.statements
            .retain(|(_, _, pack)| !live.contains_key(pack));
        plan.packs.retain(|pack| !live.contains_key(pack));
        plan.images = store.list_images()?;
        plan.images.retain(|image| !live.contains_key(&image.pack));
        plan.live = live;
        plan.given_up = given_up;
        plan.is_sweep_due = unswept.is_some() || !plan.packs.is_empty();
        Ok(plan)
    }

    /// Deployments that nothing uses, but for the newest few.
    fn choose_deployments(&mut self, scan: &Scan, retention: Retention) {
        let boots = |found: &Found| {
            let states = [State::Default, State::Rollback, State::Entry];
            states.iter().any(|state| found.states.contains(state))
        };
        if !scan.deployments.iter().any(boots) {
            self.is_boot_unknown = !scan.deployments.is_empty();
            return;
        }
        // What cannot be reached now may be read the next time; what is damaged never will.
        let is_out_of_reach = |found: &Found| {
            let error = found.record.as_ref().err();
            error.is_some_and(|error| !error.is_unreadable_record())
        };
        let unused = (scan.deployments.iter())
            .filter(|found| found.states.is_empty() && !is_out_of_reach(found));
        let mut unused: Vec<_> = unused
            .map(|found| {
                let deployed = found.record.as_ref().map_or(0, |record| record.deployed);
                (deployed, found.name)
            })
            .collect();
        unused.sort_unstable_by(|a, b| b.cmp(a));
        self.deployments = unused
            .into_iter()
            .skip(retention.keep)
            .map(|(_, name)| name)
            .collect();
        self.deployments.sort_unstable();
    }

    /// The packs that were given up and are still in use.
    pub(super) fn still_in_use(&self) -> BTreeSet<VerityDigest> {
        let is_live = |pack: &&VerityDigest| self.live.contains_key(*pack);
        self.given_up.iter().filter(is_live).copied().collect()
    }

    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.deployments.is_empty()
            && self.statements.is_empty()
            && self.images.is_empty()
            && !self.is_sweep_due
    }
}

fn pack_of(found: &Found) -> Option<VerityDigest> {
    Some(found.record.as_ref().ok()?.pack)
}

/// The packs of what runs, stays deployed or is mounted.
fn used_packs(scan: &Scan, kept: &[&Found]) -> BTreeMap<VerityDigest, String> {
    let deployed = (kept.iter())
        .filter_map(|found| Some((pack_of(found)?, format!("the deployment {}", found.name))));
    let booted = scan
        .running()
        .into_iter()
        .map(|booted| (booted.pack, "the running system".into()));
    let mounted = (scan.mounts.iter()).filter_map(|mount| {
        Some((
            mount.pack?,
            format!("the mount on {}", mount.place.display()),
        ))
    });
    deployed.chain(booted).chain(mounted).collect()
}

/// The statements that say which pack they are of. One that does not is left alone, as what a check
/// finds.
fn read_statements<I: StoreIo>(
    store: &Store<I>,
) -> Result<Vec<(CommitId, Name, VerityDigest)>, MachineError> {
    let mut statements = Vec::new();
    for (commit, stream) in store.list_statements()? {
        let Some(bytes) = store.read_statement(&commit, &stream)? else {
            continue;
        };
        let document = Unverified::<Statement>::parse(&bytes).ok();
        let statement = document.and_then(|document| Statement::parse(document.body()).ok());
        if let Some(statement) = statement {
            statements.push((commit, stream, statement.pack_digest));
        }
    }
    Ok(statements)
}
