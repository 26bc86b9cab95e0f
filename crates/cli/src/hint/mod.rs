// SPDX-License-Identifier: MIT OR Apache-2.0
//! How to go on after an error, in terms of this command.

mod boot;
mod content;
mod keys;
mod remote;

use std::error::Error;
use std::io;
use std::path::Path;

use crate::failure::Failure;

use self::boot::{of_activate, of_etc, of_floor, of_machine, of_seal};
use self::content::{
    of_adopt, of_build, of_deploy, of_import, of_mount, of_release, of_repair, of_source, of_store,
    of_unpack,
};
use self::keys::{of_keyring, of_keys, of_sign, of_uki};
use self::remote::of_remote;

/// How to get back what is missing.
const BUILD_AGAIN: &str = "build or fetch the release again, or `sealroot import` it where OSTree \
                           has it";

/// How a release that was only built gives its number back.
const GIVE_BACK: &str = "`sealroot prune --releases` removes all releases that were never deployed";

/// Most files that a hint names.
const MAX_NAMED: usize = 5;

/// What replaces damaged files where they can be had.
const REPAIR: &str = "`sealroot repair --full` gets it from OSTree, a remote or a copy";

const MAKE_ROOM: &str = "make room and do the same again: what is in the store already stays. `sealroot prune` \
                         deletes what an earlier run had put aside; on a disk full to the last \
                         block, first remove some other file of 2 MiB or more on it";

/// A way out of the first cause that has one.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    let mut causes = error.chain();
    let hint = causes.find_map(of_cause);
    hint.or_else(|| error.chain().find_map(of_missing_rights))
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    macro_rules! first_hint {
        ($($of:ident),+ $(,)?) => {
            $(if let Some(hint) = cause.downcast_ref().and_then($of) {
                return Some(hint);
            })+
        };
    }
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return failure.own_hint().map(str::to_owned);
    }
    first_hint!(
        of_activate,
        of_adopt,
        of_build,
        of_deploy,
        of_etc,
        of_floor,
        of_import,
        of_keyring,
        of_keys,
        of_machine,
        of_mount,
        of_release,
        of_remote,
        of_repair,
        of_seal,
        of_sign,
        of_source,
        of_store,
        of_uki,
        of_unpack
    );
    None
}

fn of_missing_rights(cause: &(dyn Error + 'static)) -> Option<String> {
    let refused = cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    (refused && !rustix::process::geteuid().is_root()).then(|| "try it as root".into())
}

/// How to replace damaged files: without fs-verity one of the right size is not noticed when it is
/// in the way. Those that are missing need no removing.
pub(crate) fn remove_and_build<'p>(paths: impl IntoIterator<Item = &'p Path>) -> String {
    let there = paths
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok());
    let mut names: Vec<String> = there.map(|path| path.display().to_string()).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 => format!("{REPAIR}; or {BUILD_AGAIN}"),
        1..=MAX_NAMED => format!(
            "{REPAIR}; or remove {}, then {BUILD_AGAIN}",
            names.join(" and ")
        ),
        count => {
            format!("{REPAIR}; or remove the {count} damaged files named above, then {BUILD_AGAIN}")
        }
    }
}
