// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `ls`, `cat`, `dump`, `unpack` and `mount` look at: a release, a deployment or a pack file.

use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use sealroot::release;
use sealroot::store::Store;
use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::Pack;
use sealroot_format::policy::DeploymentName;

use crate::args::Common;

/// How a target is named on the command line.
pub(crate) const HELP: &str = "A commit, a deployment (<commit>.<serial>), or the file of a pack";

/// A pack to look at.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A release of the store; its signatures are verified first.
    Commit(CommitId),
    /// A deployment of the store; its signatures are verified first.
    Deployment(DeploymentName),
    /// A file, which nobody vouches for.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(commit) = CommitId::from_hex(text) {
            return Ok(Self::Commit(commit));
        }
        Ok(text
            .parse()
            .map_or_else(|_| Self::File(text.into()), Self::Deployment))
    }
}

/// A pack whose bytes come from wherever the target is.
pub(crate) type AnyPack<'b> = Pack<&'b dyn ReadAt>;

impl Target {
    /// Opens the pack and hands it to `look`.
    pub(crate) fn with_pack<T>(
        &self,
        common: &Common,
        look: impl FnOnce(&AnyPack<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match self {
            Self::File(path) => {
                let name = path.display();
                let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
                let pack = Pack::open(&file as &dyn ReadAt)
                    .with_context(|| format!("{name} is not a pack"))?;
                look(&pack)
            }
            Self::Commit(commit) | Self::Deployment(DeploymentName { commit, .. }) => {
                let store = common.open_store()?;
                let digest = verified_pack(&store, common, *commit)?;
                let bytes = release::open_pack_bytes(&store, &digest)?;
                look(&Pack::open(&bytes as &dyn ReadAt)?)
            }
        }
    }
}

/// The pack of a release, named by a statement that enough keys have signed.
pub(crate) fn verified_pack(
    store: &Store,
    common: &Common,
    commit: CommitId,
) -> anyhow::Result<VerityDigest> {
    let keyset = common.trusted_keyset()?;
    let statement = release::verify_statement(store, &keyset, commit, None)
        .context("to look at a pack that nobody has signed, name its file")?;
    Ok(statement.pack_digest)
}

/// The components of a path inside a pack.
pub(crate) fn components(path: &str) -> impl Iterator<Item = &[u8]> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::as_bytes)
}
