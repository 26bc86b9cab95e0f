// SPDX-License-Identifier: MIT OR Apache-2.0
//! The OSTree repository that may have what is missing here.

use std::path::PathBuf;

use clap::Args;
use sealroot::ostree::Repository;

use crate::args::Common;
use crate::output::Output;

/// Where OSTree's objects are looked at, if anywhere.
#[derive(Debug, Args)]
pub(crate) struct RepositoryArgs {
    /// Look for missing objects in this OSTree repository before they are fetched [default: ostree/repo
    /// of the sysroot, if it is there and no --store was named].
    #[arg(long, value_name = "DIR")]
    ostree_repo: Option<PathBuf>,

    /// Look in no OSTree repository, whatever it has.
    #[arg(long, conflicts_with = "ostree_repo")]
    no_ostree: bool,
}

impl RepositoryArgs {
    /// Opens it. The usual one need not be there; if it cannot be used, that is told.
    pub(crate) fn find(
        &self,
        common: &Common,
        output: Output,
    ) -> anyhow::Result<Option<Repository>> {
        if let Some(path) = &self.ostree_repo {
            return Ok(Some(Repository::open(path)?));
        }
        let path = common.physical_root().join("ostree/repo");
        if self.no_ostree || common.store.is_some() || !path.is_dir() {
            return Ok(None);
        }
        let opened = Repository::open(&path).inspect_err(|error| {
            output.warn(&format!("nothing is taken over from OSTree: {error}"));
        });
        Ok(opened.ok())
    }
}
