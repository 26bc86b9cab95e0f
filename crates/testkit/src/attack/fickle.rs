// SPDX-License-Identifier: MIT OR Apache-2.0
//! Live storage that answers two reads of one block differently: A25.

use std::collections::BTreeSet;

use anyhow::Result;

use super::content::{BLOCK_BYTES, FIRST};
use super::{Accept, Attack, Blocks, Kind, Target};
use crate::guest::ProbeJob;
use crate::release::{Layer, Release};

/// The blocks of an ext4 group with superblock, tables and directories.
const FIRST_BLOCKS: u64 = 4096;

pub(super) fn attacks() -> Vec<Attack> {
    let stops = || {
        Accept::some_unreadable()
            .or_same_tree()
            .or_refused(&["pack", "metadata", "overlay", "tree", "init", "state"])
    };
    let metadata = stops().or_refused(&[
        "store",
        "statement",
        "object",
        "root-device",
        "root-filesystem",
        "self-test",
    ]);
    vec![
        attack("an object", Accept::unreadable(&FIRST), |target| {
            of_file(target, &target.release.shared_object_path(FIRST[0])?, 3..30)
        }),
        attack("every block of the pack", stops(), |target| {
            let blocks = target.release.pack_size_bytes / BLOCK_BYTES;
            of_file(target, &target.release.pack_path(), 0..blocks)
        }),
        attack("tables and directories of the filesystem", metadata, |_| {
            Ok((1..FIRST_BLOCKS).collect())
        }),
    ]
}

/// The probe looks twice, the second time with empty caches.
fn attack(what: &str, accept: Accept, blocks: Blocks) -> Attack {
    let name = format!("another answer at the second read: {what}");
    let look_again = |_: Target<'_>| {
        Ok(Some(ProbeJob {
            disk: Release::DISK_SERIAL.into(),
            ..ProbeJob::default()
        }))
    };
    Attack {
        kind: Kind::Change(Box::new(look_again)),
        fickle: Some(blocks),
        ..Attack::new("A25", "fickle", name, accept, |_| Ok(()))
    }
    .only(&[Layer::Erofs])
}

fn of_file(
    target: Target<'_>,
    path: &str,
    mut indices: std::ops::Range<u64>,
) -> Result<BTreeSet<u64>> {
    indices.try_fold(BTreeSet::new(), |mut blocks, index| {
        blocks.insert(target.disk.block_of(path, index)?);
        Ok(blocks)
    })
}
