// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which pack to boot, and what is known of it before it is opened.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::BorrowedFd;

use sealroot_format::digest::{CommitId, TreeDigest, VerityDigest};
use sealroot_format::limits::MAX_SIGN_FILE_BYTES;
use sealroot_format::policy::{DeploymentName, Error as PolicyError, Policy};
use sealroot_format::sign::{Keyset, Statement, Unverified, Verified};

use crate::plan::Choice;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::sysroot::open_file_beneath;

/// A release that may be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// The pack.
    pub pack: VerityDigest,
    /// The deployment, where one was named.
    pub deployment: Option<DeploymentName>,
    /// What its verified statement says, where one was asked for.
    pub stated: Option<Stated>,
}

/// What of a verified statement matters at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    pub commit: CommitId,
    pub tree_digest: TreeDigest,
    pub pack_size_bytes: u64,
    pub index: u64,
    pub epoch: u64,
    /// The text itself, for the record of this boot.
    pub text: String,
}

/// Finds the release of a plan: the pinned pack, or what the signed statement of the named
/// deployment says.
pub(crate) fn choose(
    choice: Choice,
    policy: &Policy,
    keyset: &Verified<Keyset>,
    store: BorrowedFd<'_>,
    kernel: &str,
) -> Result<Release, Refusal> {
    let name = match choice {
        Choice::Pinned(pack) => {
            return Ok(Release {
                pack,
                deployment: None,
                stated: None,
            });
        }
        Choice::Deployment(name) => name,
    };
    let path = format!("pack/{}.{}.sign", name.commit, policy.stream);
    let file = read_statement(store, &path)?;
    judge(&file, name, policy, keyset, kernel)
}

/// The bytes of a statement, not more than there may be.
fn read_statement(store: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Refusal> {
    let (file, _) = open_file_beneath(store, path, Code::Statement)?;
    let mut bytes = Vec::new();
    // One more than allowed, so that the parser sees that it is too long.
    let limit_bytes = (MAX_SIGN_FILE_BYTES as u64).saturating_add(1);
    File::from(file)
        .take(limit_bytes)
        .read_to_end(&mut bytes)
        .or_refuse(Code::Statement, path, "a readable file")?;
    Ok(bytes)
}

/// Verifies a statement file and checks that the policy wants what it says.
fn judge(
    file: &[u8],
    name: DeploymentName,
    policy: &Policy,
    keyset: &Verified<Keyset>,
    kernel: &str,
) -> Result<Release, Refusal> {
    let statement = Unverified::<Statement>::parse(file)
        .and_then(|unverified| unverified.verify(keyset))
        .map_err(|error| Refusal::of(Code::Statement, &error))?;
    policy
        .check_release(&statement, Some(&name), kernel)
        .map_err(|error| {
            let code = match error {
                PolicyError::OtherRelease { field: "epoch", .. } => Code::Epoch,
                _ => Code::Release,
            };
            Refusal::of(code, &error)
        })?;
    Ok(Release {
        pack: statement.pack_digest,
        deployment: Some(name),
        stated: Some(Stated {
            commit: statement.commit,
            tree_digest: statement.tree_digest,
            pack_size_bytes: statement.pack_size_bytes,
            index: statement.index,
            epoch: statement.epoch,
            text: statement.to_string(),
        }),
    })
}
