// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last step: what is missing for it, what it removes, and doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Recovery, Unverified};

use super::good::good_boots;
use super::judge::{Facts, Judgement, Reason, ReasonKind, judge, running_image};
use super::ways::WayKind;
use super::{SealError, SealedImage, ways};
use crate::entry::{Boot, BootIo};
use crate::monitor::Monitor;
use crate::store::{Store, StoreIo};

/// How many good boots there must have been.
const WANTED_BOOTS: usize = 2;

/// What sealing a machine would do, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealPlan {
    /// What is missing; nothing is changed until there is none.
    pub missing: Vec<Reason>,
    /// The entries that go: the partition, the file, and why.
    pub removes: Vec<(PathBuf, String, String)>,
    /// The deployments that boot afterwards, what boots first at the front.
    pub keeps: Vec<DeploymentName>,
    /// Whether all of it is done: nothing is missing and nothing would go.
    pub is_done: bool,
}

/// Decides. `proof` is the proof that root keys are held, if one was brought.
pub fn plan_seal<I: StoreIo>(
    store: &Store<I>,
    facts: &Facts,
    proof: Option<&Unverified<Recovery>>,
) -> Result<SealPlan, SealError> {
    let Judgement { reasons, .. } = judge(facts);
    let is_removable = |reason: &Reason| reason.kind == ReasonKind::UnsealedEntry;
    let (_, mut missing): (Vec<_>, Vec<_>) = reasons.into_iter().partition(is_removable);
    let ways = facts.ways.as_deref().unwrap_or_default();
    let goes = ways.iter().filter(|way| way.kind == WayKind::Entry);
    let goes = goes.filter_map(|way| {
        let why = way.image.as_ref().err()?;
        Some((way.place.clone(), way.file.clone(), why.clone()))
    });
    let removes: Vec<_> = goes.collect();
    let mut keeps = Vec::new();
    for way in ways.iter().filter(|way| way.image.is_ok()) {
        keeps.extend(way.deployment.filter(|name| !keeps.contains(name)));
    }
    let is_done = missing.is_empty() && removes.is_empty();
    if !is_done {
        missing.extend(missing_boots(store, facts, &keeps)?);
        if let Some(image) = running_image(facts) {
            missing.extend(missing_proof(store, facts, image, proof)?);
        }
    }
    Ok(SealPlan {
        missing,
        removes,
        keeps,
        is_done,
    })
}

/// What runs must have been found good, and so must what is left besides, or this twice: it is all
/// that boots afterwards.
fn missing_boots<I: StoreIo>(
    store: &Store<I>,
    facts: &Facts,
    keeps: &[DeploymentName],
) -> Result<Option<Reason>, SealError> {
    let (mut all, mut of_running) = (BTreeSet::new(), 0);
    for name in keeps {
        let boots = good_boots(store, name)?;
        if facts.runs.contains(name) {
            of_running = boots.len().max(of_running);
        }
        all.extend(boots);
    }
    if of_running > 0 && all.len() >= WANTED_BOOTS {
        return Ok(None);
    }
    let found = all.len();
    Ok(Some(Reason {
        kind: ReasonKind::GoodBoots,
        what: format!(
            "{found} of {WANTED_BOOTS} good sealed boots are remembered of what boots afterwards, \
             {of_running} of what runs"
        ),
        mend: "boot it again; each boot counts that `sealroot bless` finds good".to_owned(),
    }))
}

fn missing_proof<I: StoreIo>(
    store: &Store<I>,
    facts: &Facts,
    image: &SealedImage,
    proof: Option<&Unverified<Recovery>>,
) -> Result<Option<Reason>, SealError> {
    let missing = |what: String| Reason {
        kind: ReasonKind::Recovery,
        what,
        mend: "`sealroot seal --challenge FILE`, have its root keys sign that with `sealroot keys \
               prove`, then `seal --recovery FILE`"
            .to_owned(),
    };
    let Some(proof) = proof else {
        let what = "nobody has shown that the keyset's root keys are held";
        return Ok(Some(missing(what.to_owned())));
    };
    let verified = match proof.verify(&image.keyset) {
        Err(error) => return Ok(Some(missing(format!("the proof of recovery: {error}")))),
        Ok(verified) => verified.into_inner(),
    };
    let expected = challenge(store, facts, image)?;
    if verified == expected {
        return Ok(None);
    }
    let what = format!(
        "the proof of recovery is for keyset {} and the release {}; here is keyset {} and {}",
        verified.keyset, verified.commit, expected.keyset, expected.commit
    );
    Ok(Some(missing(what)))
}

/// What the holders of the root keys are to sign, for machines that run what runs here.
pub fn challenge<I: StoreIo>(
    store: &Store<I>,
    facts: &Facts,
    image: &SealedImage,
) -> Result<Recovery, SealError> {
    let named = facts.booted.as_ref().ok().and_then(Option::as_ref);
    let named = named.and_then(|booted| booted.deployment);
    let name = named.or_else(|| facts.runs.first().copied());
    let name = name.ok_or_else(|| SealError::NothingRuns {
        location: store.location().into(),
    })?;
    Ok(Recovery::of(&image.keyset, name.commit))
}

/// What [`seal`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// The entries that were removed: the partition and the file.
    pub entries: Vec<(PathBuf, String)>,
    /// Directories of kernels that were removed: the partition and the path there.
    pub kernels: Vec<(PathBuf, String)>,
}

/// Removes what a plan removes from these partitions, the first of which boots, and the kernels that
/// only that had. What seals is never removed, whatever the plan says: it is looked at again under the
/// store's lock. The same once more finishes what was interrupted.
pub fn seal<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    partitions: &[&Boot<B>],
    plan: &SealPlan,
    monitor: &dyn Monitor,
) -> Result<Sealed, SealError> {
    if let Some(reason) = plan.missing.first() {
        return Err(SealError::NotYet {
            missing: plan.missing.len(),
            first: reason.what.clone(),
        });
    }
    let transaction = store.begin(monitor)?;
    let mut done = Sealed::default();
    let mut going: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for (place, file, _) in &plan.removes {
        going.entry(place.clone()).or_default().insert(file.clone());
    }
    let mut has_way = false;
    let mut names = Vec::new();
    for boot in partitions {
        let found = ways(boot, &boot.entries()?)?;
        let seals = |file: &String| {
            let way = found.iter().find(|way| way.file == *file);
            way.is_some_and(|way| way.image.is_ok())
        };
        has_way |= found
            .iter()
            .any(|way| way.kind == WayKind::Entry && way.image.is_ok());
        let mut going = going.remove(boot.location()).unwrap_or_default();
        going.retain(|file| !seals(file));
        names.push(going);
    }
    if !has_way && names.iter().any(|going| !going.is_empty()) {
        return Err(SealError::NothingLeft);
    }
    for (boot, names) in partitions.iter().zip(&names) {
        let removed = boot.clear_out(names, monitor)?;
        let place = || boot.location().to_owned();
        done.entries
            .extend(removed.entries.into_iter().map(|file| (place(), file)));
        let ours = removed
            .kernels
            .iter()
            .map(|files| format!("sealroot/{files}"));
        let kernels = ours.chain(removed.directories);
        done.kernels.extend(kernels.map(|path| (place(), path)));
    }
    transaction.finish()?;
    Ok(done)
}
