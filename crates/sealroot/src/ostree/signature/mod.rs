// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures over commits: what a remote demands, and whether a commit meets it.
//!
//! Signed are the bytes of the commit object. One good signature by one key that is trusted and
//! not revoked is enough, as it is for OSTree; signatures that are malformed or by others are passed
//! over, so that nobody can spoil a good one by adding to them. GPG is left to OSTree.

#[cfg(feature = "fuzz")]
pub(super) mod fuzz;
mod key;
mod remote;
mod ring;

use std::io;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::limits;

use super::commit::CommitObject;
use super::error::OstreeError;
use super::gvariant::Dictionary;
use super::refs::RefName;
use super::repository::Repository;
use crate::monitor::Monitor;

pub use key::{BadKey, Engine, Key};
pub use remote::RemoteDemands;
pub use ring::KeyDirectories;

/// The key of GPG's signatures in a commit's detached metadata.
const GPG_KEY: &str = "ostree.gpgsigs";

/// Why a commit does not meet what its remote demands, or why that cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Nothing says what the remote demands.
    #[error(
        "{} has no remote {remote:?}, so nothing says which signatures its commits need; add it \
         again with `ostree remote add`, or name the commit by its checksum to do without",
        repository.display()
    )]
    NoRemote {
        /// The remote.
        remote: String,
        /// The repository.
        repository: PathBuf,
    },
    /// There is no signature of the right kind.
    #[error(
        "the remote {remote:?} demands a signature ({wanted}), and commit {commit} has none; \
         `ostree pull` brings those that were added since"
    )]
    Unsigned {
        /// The commit.
        commit: CommitId,
        /// The remote.
        remote: String,
        /// The kinds of which one would do.
        wanted: String,
    },
    /// There is no key that could have made the signature.
    #[error(
        "the remote {remote:?} demands a signature, and no key is trusted to make it: expected \
         verification-ed25519-key, verification-spki-key or a -file of them in its configuration, \
         or the file trusted.ed25519 or trusted.spki in /etc/ostree or /usr/share/ostree, and not \
         revoked"
    )]
    NoTrustedKey {
        /// The remote.
        remote: String,
    },
    /// None of the signatures is by a trusted key.
    #[error(
        "none of the {signatures} signatures of commit {commit} is good by one of the {keys} keys \
         that the remote {remote:?} trusts"
    )]
    Untrusted {
        /// The commit.
        commit: CommitId,
        /// The remote.
        remote: String,
        /// How many signatures of the right kind there are.
        signatures: usize,
        /// How many keys were tried.
        keys: usize,
    },
    /// A GPG signature is demanded, and there is none.
    #[error(
        "the remote {remote:?} demands a GPG signature, and commit {commit} has none, so \
         `ostree pull` cannot have checked it; pull it again, or set gpg-verify=false for a remote \
         that has none"
    )]
    NoGpgSignature {
        /// The commit.
        commit: CommitId,
        /// The remote.
        remote: String,
    },
    /// A kind of signature is demanded that is not verified.
    #[error(
        "the remote {remote:?} demands a signature of type {name:?}, which is not verified here: \
         expected ed25519 or spki"
    )]
    Engine {
        /// The remote.
        remote: String,
        /// The type.
        name: String,
    },
    /// A kind of signature is demanded, and no key is named for it.
    #[error(
        "the remote {remote:?} demands a signature of type {engine} and names no key: expected \
         verification-{engine}-key or verification-{engine}-file"
    )]
    NoKeys {
        /// The remote.
        remote: String,
        /// The type.
        engine: Engine,
    },
    /// A key cannot be used.
    #[error("{place}: this key cannot be used")]
    Key {
        /// Where it stands.
        place: String,
        /// Why.
        source: BadKey,
    },
    /// A file is not made of PEM blocks.
    #[error("{place}: expected whole blocks BEGIN PUBLIC KEY to END PUBLIC KEY")]
    Pem {
        /// Where that fails.
        place: String,
    },
    /// Key files cannot be read.
    #[error("cannot read the keys in {}", path.display())]
    ReadKeys {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SignatureError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoRemote { .. } => ErrorClass::NotFound,
            Self::Unsigned { .. }
            | Self::NoTrustedKey { .. }
            | Self::Untrusted { .. }
            | Self::NoGpgSignature { .. } => ErrorClass::Untrusted,
            Self::Engine { .. } => ErrorClass::Unsupported,
            Self::NoKeys { .. } => ErrorClass::Usage,
            Self::Key { .. } | Self::Pem { .. } => ErrorClass::Corrupt,
            Self::ReadKeys { .. } => ErrorClass::Io,
        }
    }
}

/// How a commit meets what its remote demands.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// The key whose signature was verified, if one was demanded.
    pub key: Option<(Engine, Key)>,
    /// Whether the remote demands a GPG signature, which `ostree pull` checks and nobody here.
    pub is_gpg_left_to_ostree: bool,
}

impl RemoteDemands {
    /// Checks the signatures in a commit's detached metadata.
    pub fn check(
        &self,
        commit: &CommitObject,
        detached: &Dictionary,
    ) -> Result<Vouched, SignatureError> {
        let (remote, id) = (&self.remote, commit.id());
        if self.gpg
            && detached
                .byte_strings(GPG_KEY)
                .is_none_or(|all| all.is_empty())
        {
            return Err(SignatureError::NoGpgSignature {
                commit: id,
                remote: remote.clone(),
            });
        }
        let mut vouched = Vouched {
            key: None,
            is_gpg_left_to_ostree: self.gpg,
        };
        let Some(all_keys) = &self.keys else {
            return Ok(vouched);
        };
        if all_keys.iter().all(|(_, keys)| keys.is_empty()) {
            let remote = remote.clone();
            return Err(SignatureError::NoTrustedKey { remote });
        }
        let (mut tried_keys, mut tried_signatures) = (0, 0);
        for (engine, keys) in all_keys {
            let signatures = detached.byte_strings(engine.metadata_key());
            let mut signatures = signatures.unwrap_or_default();
            signatures.truncate(limits::MAX_SIGNATURES);
            tried_signatures += signatures.len();
            tried_keys += keys.len();
            let good = keys.iter().find(|key| {
                let mut signatures = signatures.iter();
                signatures.any(|signature| key.verifies(commit.bytes(), signature))
            });
            if let Some(key) = good {
                vouched.key = Some((*engine, key.clone()));
                return Ok(vouched);
            }
        }
        if tried_signatures > 0 {
            return Err(SignatureError::Untrusted {
                commit: id,
                remote: remote.clone(),
                signatures: tried_signatures,
                keys: tried_keys,
            });
        }
        let wanted: Vec<&str> = all_keys.iter().map(|(engine, _)| engine.name()).collect();
        Err(SignatureError::Unsigned {
            commit: id,
            remote: remote.clone(),
            wanted: wanted.join(" or "),
        })
    }
}

impl Repository {
    /// The commit that `rev` names, whole as far as is known, and signed as its remote demands.
    ///
    /// Only `remote:ref` has a remote: of a commit that is named by a checksum or a local ref
    /// nothing is demanded here.
    pub fn demanded_commit(
        &self,
        rev: &str,
        directories: &KeyDirectories,
        monitor: &dyn Monitor,
    ) -> Result<CommitObject, OstreeError> {
        let id = self.resolve(rev)?;
        self.check_complete(id)?;
        let commit = self.commit(id)?;
        let name = RefName::parse(rev.trim_end_matches('^'));
        if let Some(remote) = name.as_ref().and_then(RefName::remote) {
            self.check_remote(remote, &commit, directories, monitor)?;
        }
        Ok(commit)
    }

    /// Checks a commit against what a remote demands of those that come from it.
    pub fn check_remote(
        &self,
        remote: &str,
        commit: &CommitObject,
        directories: &KeyDirectories,
        monitor: &dyn Monitor,
    ) -> Result<Vouched, OstreeError> {
        let demands = self.remote_demands(remote, directories)?;
        if !demands.gpg && demands.keys.is_none() {
            return Ok(Vouched {
                key: None,
                is_gpg_left_to_ostree: false,
            });
        }
        let vouched = demands.check(commit, &self.detached(commit.id())?)?;
        if vouched.is_gpg_left_to_ostree {
            monitor.warn(format!(
                "the remote {remote:?} demands a GPG signature: that is checked by `ostree pull` \
                 when it takes a commit, and not here"
            ));
        }
        Ok(vouched)
    }
}
