// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers and buckets.

use sealroot::delta::DeltaError;
use sealroot::import::ImportError;
use sealroot_remote::source::{self, Obstacle};
use sealroot_remote::trust::Distrust;
use sealroot_remote::{Fault, RemoteError};

use super::content::{of_release, of_store};
use super::keys::of_uki;
use super::{GIVE_BACK, MAKE_ROOM};

pub(super) fn of_remote(error: &RemoteError) -> Option<String> {
    let hint = match error {
        RemoteError::NoSpace { .. } => MAKE_ROOM,
        RemoteError::Source {
            source: source::SourceError::Unreachable { obstacle, .. },
            ..
        } => of_obstacle(*obstacle),
        RemoteError::Distrusted {
            source:
                Distrust::Older {
                    what: "version",
                    seen,
                    ..
                },
            ..
        } => {
            return Some(format!(
                "take another mirror with --from; if the vendor has lost the channel, `publish --after-version {seen}` goes on"
            ));
        }
        RemoteError::Document { .. } => {
            "what is there is not what the keyset's keys have signed: see that the address and the \
             keyset are the right ones, or take another mirror with --from"
        }
        RemoteError::Store(error)
        | RemoteError::Delta(DeltaError::Store(error))
        | RemoteError::Import(ImportError::Store(error)) => return of_store(error),
        RemoteError::Release(error) => return of_release(error),
        RemoteError::Bucket { fault, .. } => match fault {
            Fault::NotThere => "make the bucket first, with the tools of whoever runs the store",
            Fault::Denied | Fault::Settings => {
                "set what the store knows you by: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \
                 GOOGLE_SERVICE_ACCOUNT; AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
            }
            Fault::Unsupported => {
                "if it cannot replace an object on a condition, set AWS_CONDITIONAL_PUT=disabled, and \
                 let only one publish at a time"
            }
            Fault::Other => return None,
        },
        RemoteError::Image { source, .. } => return of_uki(source),
        RemoteError::ImageWithoutCertificate { .. } => {
            "build it with `sealroot uki build --verity-certificate`, once for each certificate by which machines may have \
             signed files"
        }
        RemoteError::NoImage { .. } => {
            "`publish --uki` offers one; --image takes another; `upgrade --initramfs` boots without one"
        }
        RemoteError::NoRemote { .. } => {
            "`sealroot remote list` shows those there are, `sealroot remote add` makes one"
        }
        RemoteError::State { name, .. } => {
            return Some(format!(
                "`sealroot remote remove {name}` forgets it, `sealroot remote add` makes it again, with the vendor's \
                 keyset; releases that are here stay"
            ));
        }
        RemoteError::NotAChannelKey { .. } => {
            "sign with a key that `sealroot keys show` lists for the role channel; a keyset in which this one \
             has it follows the old one: `sealroot keys keyset NEW --after OLD`"
        }
        RemoteError::Index { newest, .. } => {
            return Some(format!(
                "build it with a higher number: `sealroot build --index {}`. A release keeps the number that it was \
                 built with; where that is in the way, {GIVE_BACK}",
                newest.saturating_add(1)
            ));
        }
        RemoteError::NothingPublished { .. } => {
            "see that it is the right place; `sealroot publish COMMIT --to PLACE` makes a repository there with \
             the first release"
        }
        RemoteError::NoChannel { .. } => {
            "`publish COMMIT` begins a channel; its name is OS/VARIANT/STREAM/ARCH, with - for no \
             variant"
        }
        RemoteError::Conflict { .. } => {
            "do the same again when they are done: what was put is there, and is not put twice"
        }
        _ => return None,
    };
    Some(hint.into())
}

pub(super) const fn of_obstacle(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Name => {
            "see that the name in the address is right, and that this machine has a network and finds \
             names (`getent hosts NAME`); --from takes another address"
        }
        Obstacle::Nobody => {
            "see that the server runs, and that address and port are right; --from takes another address"
        }
        Obstacle::Tls => {
            "see that the address begins as it should: https:// is for servers that speak TLS on that port"
        }
        Obstacle::Certificate => {
            "see that the clock is right (`date`), and that this machine trusts who has signed the server's \
             certificate; --from takes another address"
        }
        Obstacle::Redirection => {
            "see where the server leads (`curl -IL ADDRESS`), and name where the files are; from https:// it \
             may lead to https:// only"
        }
    }
}
