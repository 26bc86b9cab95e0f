// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in a store, and where it comes from.

use std::io;
use std::path::{Path, PathBuf};

use sealroot::adopt::AdoptError;
use sealroot::build::BuildError;
use sealroot::deploy::DeployError;
use sealroot::import::{ImportError, RefusedStatement};
use sealroot::mount::MountError;
use sealroot::release::ReleaseError;
use sealroot::repair::RepairError;
use sealroot::source::SourceError;
use sealroot::store::{CONFIG_NAME, StoreDir, StoreError};
use sealroot::unpack::UnpackError;
use sealroot_format::{ErrorClass, sign};
use sealroot_sys::verity::EnableVerityError;

use super::keys::of_sign;
use super::{GIVE_BACK, MAKE_ROOM, remove_and_build};

const NO_STORE: &str = "name the store with --store DIR, or its sysroot with --sysroot DIR; \
                        `sealroot adopt` makes one where OSTree is, `sealroot build` anywhere";

pub(super) fn of_adopt(error: &AdoptError) -> Option<String> {
    match error {
        AdoptError::Store(error) => of_store(error),
        AdoptError::Deploy(error) => of_deploy(error),
        AdoptError::Compressed { .. } => {
            Some("`sealroot build --ostree` writes the objects anew".into())
        }
        AdoptError::OtherPack { .. } => Some(
            "another version of sealroot built it; get the pack itself from the vendor. What was \
             taken over is in the store"
                .into(),
        ),
        AdoptError::NothingToReturnTo { .. } => {
            Some("deploy with OSTree first: `ostree admin deploy`; nothing was changed".into())
        }
        AdoptError::StillBooted { entries } => Some(format!(
            "nothing was changed; remove {} if nobody needs it, then run this again",
            named(entries)
        )),
        AdoptError::BadRef { .. } => Some("see what it is, and move it away".into()),
        _ => None,
    }
}

fn named(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(" and ")
}

pub(super) fn of_build(error: &BuildError) -> Option<String> {
    match error {
        BuildError::Source(error) => of_source(error),
        BuildError::Store(error) => of_store(error),
        BuildError::Signed { commit, stream, .. } => Some(format!(
            "give it another --stream; or, if nothing deployed needs those signatures, remove \
             pack/{commit}.{stream}.sign in the store first"
        )),
        BuildError::Index {
            highest,
            commit,
            stream,
            ..
        } => Some(match highest.checked_add(1) {
            Some(next) => format!(
                "--index {next}; or another --stream, which has its own numbers. If that release was built for nothing, \
                 {GIVE_BACK}; for that one alone, remove pack/{commit}.{stream}.sign in the store first"
            ),
            None => "another --stream, which has its own numbers".into(),
        }),
        _ => None,
    }
}

pub(super) fn of_deploy(error: &DeployError) -> Option<String> {
    match error {
        DeployError::Store(error) => of_store(error),
        DeployError::NeedsVerity { .. } => Some(
            "--mode integrity does without fs-verity: every object is then hashed at each boot. \
             Or make a new store where fs-verity is: `sealroot --store NEW build`, and sign again; \
             a store never changes from one to the other"
                .into(),
        ),
        DeployError::NoDeployment { .. } => {
            Some("`sealroot status` lists the deployments of a store".into())
        }
        DeployError::Record { .. } => Some(
            "deploy the release again: it gets a new number; then remove this deployment".into(),
        ),
        _ => None,
    }
}

pub(super) fn of_import(error: &ImportError) -> Option<String> {
    match error {
        ImportError::Store(error) => of_store(error),
        ImportError::Refused { why, .. } => match &**why {
            RefusedStatement::Statement(error) => of_sign(error),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn of_mount(error: &MountError) -> Option<String> {
    match error {
        MountError::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some(format!("make it first: mkdir {}", path.display()))
        }
        _ => None,
    }
}

pub(super) fn of_release(error: &ReleaseError) -> Option<String> {
    match error {
        ReleaseError::Store(error) => of_store(error),
        ReleaseError::NoStatement { .. } => {
            Some("`sealroot status` lists the releases of a store".into())
        }
        ReleaseError::SeveralStreams { .. } => Some("choose one with --stream NAME".into()),
        ReleaseError::Statement { path, source, .. }
            if source.class() == ErrorClass::Corrupt
                || matches!(source, sign::Error::BadSignature { .. }) =>
        {
            Some(remove_and_build([&**path]))
        }
        ReleaseError::OtherPack { .. } => Some("build the release again and sign it".into()),
        _ => None,
    }
}

pub(super) fn of_repair(error: &RepairError) -> Option<String> {
    match error {
        RepairError::Store(error) => of_store(error),
        RepairError::Deploy(error) => of_deploy(error),
        RepairError::NoRelease { .. } => {
            Some("`sealroot status` lists the releases of a store".into())
        }
        _ => None,
    }
}

pub(super) fn of_source(error: &SourceError) -> Option<String> {
    match error {
        SourceError::Changed { .. } => {
            Some("let nothing write to the tree while it is read, and try again".into())
        }
        SourceError::Device { .. } => Some(
            "leave it out of the tree: /dev is made at boot; or take it over with --devices keep"
                .into(),
        ),
        SourceError::Spool(source) if source.kind() == io::ErrorKind::StorageFull => {
            Some(MAKE_ROOM.into())
        }
        SourceError::Sink { source, .. } => {
            let inner = source.get_ref()?.downcast_ref::<StoreError>()?;
            of_store(inner)
        }
        _ => None,
    }
}

pub(super) fn of_store(error: &StoreError) -> Option<String> {
    let hint = match error {
        StoreError::Io { path, source, .. }
            if source.kind() == io::ErrorKind::NotFound && is_part_of_a_store(path) =>
        {
            return Some(format!(
                "`mkdir {}`: a store has it though it may be empty, and some ways to copy one leave \
                 it out",
                path.display()
            ));
        }
        StoreError::Io {
            operation: "open",
            source,
            ..
        } if source.kind() == io::ErrorKind::NotFound => NO_STORE,
        StoreError::NotAStore { .. } => NO_STORE,
        StoreError::Config { .. } => {
            "if it was damaged, remove it: `sealroot build` makes a new one and keeps the rest; \
             then look at that with `sealroot check --full`"
        }
        StoreError::NoSpace { .. } => MAKE_ROOM,
        StoreError::EnableVerity {
            source: EnableVerityError::NotPermitted,
            ..
        } => {
            "this kernel was told to take no file without a built-in signature: `sysctl \
             fs.verity.require_signatures=0`, and take it out of /etc/sysctl.d"
        }
        StoreError::Damaged { path, .. } => return Some(remove_and_build([&**path])),
        StoreError::NotFound { .. } => return Some(remove_and_build([])),
        _ => return None,
    };
    Some(hint.into())
}

/// Whether it is a directory that every store has.
fn is_part_of_a_store(path: &Path) -> bool {
    let is_part = |name| StoreDir::ALL.iter().any(|part| part.name() == name);
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(is_part)
        && path
            .parent()
            .is_some_and(|store| store.join(CONFIG_NAME).is_file())
}

pub(super) fn of_unpack(error: &UnpackError) -> Option<String> {
    match error {
        UnpackError::NoStore { .. } => Some(NO_STORE.into()),
        UnpackError::Object { source, .. } => of_store(source),
        UnpackError::NoSpace { .. } => Some("unpack where there is more room".into()),
        _ => None,
    }
}
