// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots that were sealed and found good, remembered with their deployment until it is removed.
//!
//! They guard against accidents: root can write them. What boots is decided by none of it.

use std::collections::BTreeSet;

use sealroot_format::limits::MAX_GOOD_BOOTS;
use sealroot_format::policy::DeploymentName;

use super::ways::Way;
use super::{SealError, ways};
use crate::deploy::{self, Flag};
use crate::entry::{Boot, BootIo};
use crate::machine::{Booted, Runtime, running};
use crate::monitor::Monitor;
use crate::store::{Store, StoreIo};

/// Remembers that the boot that runs, which the kernel calls `boot_id`, was found good, if it was sealed
/// and a boot entry starts an image of it that seals. How many good boots of its deployment are
/// remembered then; `None` if this was none.
pub fn remember_good_boot<I: StoreIo, B: BootIo>(
    store: &Store<I>,
    runtime: &Runtime,
    boot: &Boot<B>,
    boot_id: &str,
    monitor: &dyn Monitor,
) -> Result<Option<usize>, SealError> {
    let booted = Booted::read(runtime)?;
    let is_sealed = |booted: &Booted| booted.mode == "sealed" && booted.insecure.is_empty();
    if !booted.is_some_and(|booted| is_sealed(&booted)) {
        return Ok(None);
    }
    let transaction = store.begin(monitor)?;
    let entries = boot.entries()?;
    let ours: Vec<_> = entries.ours().map(|(_, ours)| ours).collect();
    let Some(name) = running(runtime, store, &ours)? else {
        return Ok(None);
    };
    let is_way = |way: &Way| way.deployment == Some(name) && way.image.is_ok();
    if !ways(boot, &entries)?.iter().any(is_way) {
        return Ok(None);
    }
    let mut boots = good_boots(store, &name)?;
    if !boots.iter().any(|known| known == boot_id) {
        boots.push(boot_id.to_owned());
    }
    let from = boots.len().saturating_sub(MAX_GOOD_BOOTS);
    let kept = boots.split_off(from);
    let text = kept.join("\n") + "\n";
    deploy::raise_flag(&transaction, &name, Flag::SealedBoots, text.as_bytes())?;
    transaction.finish()?;
    Ok(Some(kept.len()))
}

/// The good boots of a deployment, the newest last, as the kernel called them.
pub fn good_boots<I: StoreIo>(
    store: &Store<I>,
    name: &DeploymentName,
) -> Result<Vec<String>, SealError> {
    let text = deploy::read_flag(store, name, Flag::SealedBoots)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut seen = BTreeSet::new();
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(lines
        .filter(|line| seen.insert((*line).to_owned()))
        .map(str::to_owned)
        .collect())
}
