// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the way back would take away for good: what is in the store and OSTree does not have.

use std::path::{Path, PathBuf};

use sealroot_format::digest::CommitId;
use sealroot_format::sign::Name;

use super::AdoptError;
use crate::check::{Depth, FindingCode, check};
use crate::monitor::Monitor;
use crate::ostree::Repository;
use crate::store::{Store, full_path};

/// What would be gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// What others have put into the store, or directories of it.
    pub strays: Vec<PathBuf>,
    /// Releases whose commit OSTree does not have whole, with their streams.
    pub releases: Vec<(CommitId, Name)>,
}

/// Looks for it in the store of a sysroot. A store that cannot be opened is not looked at.
pub fn loss(sysroot: &Path, monitor: &dyn Monitor) -> Result<Loss, AdoptError> {
    let Ok(store) = Store::open_in_sysroot(sysroot) else {
        return Ok(Loss::default());
    };
    let found = check(&store, Depth::Quick, monitor)?.findings;
    let strays = (found.iter()).filter(|finding| finding.code == FindingCode::Stray);
    let strays = strays.map(|finding| full_path(store.io(), &finding.path));
    let repository = Repository::open(&sysroot.join("ostree/repo"))?;
    let is_ostrees = |commit: CommitId| {
        repository.commit(commit).is_ok() && repository.check_complete(commit).is_ok()
    };
    let mut releases = store.list_statements()?;
    releases.retain(|(commit, _)| !is_ostrees(*commit));
    Ok(Loss {
        strays: strays.collect(),
        releases,
    })
}
