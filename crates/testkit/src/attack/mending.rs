// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an attack leaves broken, mended with one command from another copy of the release: the
//! machine then boots the signed tree again.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};

use super::content::EXTENTS_ONLY;
use super::{Accept, Attack, Stage, Target};
use crate::binaries::Program;
use crate::guest::Worker;
use crate::os_tree::TARGETS;
use crate::release::{Layer, Release, usual_kernel};

const TIME_OUT: Duration = Duration::from_secs(300);

/// One of each kind of damage.
const CLASSES: [&str; 12] = [
    "objects of same size swapped",
    "all objects rotated",
    "object without fs-verity",
    "object with other bytes",
    "object missing",
    "object damaged: first block",
    "object damaged: tree",
    "fs-verity cleared from an object, content changed",
    "fs-verity cleared from the pack",
    "pack with other bytes",
    "pack damaged: first block",
    "alone: statement random",
];

pub(super) fn attacks() -> Vec<Attack> {
    let mut damages = catalogue_of_damages();
    damages.push(interrupted());
    damages.into_iter().map(mended).collect()
}

fn catalogue_of_damages() -> Vec<Attack> {
    let mut attacks = super::content::attacks();
    attacks.extend(super::policy::attacks());
    attacks.retain(|attack| CLASSES.contains(&&*attack.name));
    attacks
}

/// What a disk is that came back from a backup: the content without fs-verity.
fn interrupted() -> Attack {
    let refused = Accept::refused(&["pack"]);
    let name = "pack and large files without fs-verity";
    Attack::new("A61", "flags", name, refused, |target| {
        let release = target.release;
        let mut script = format!(
            "set_inode_field /{} flags {EXTENTS_ONLY}\n",
            release.pack_path()
        );
        for path in TARGETS {
            let object = release.shared_object_path(path)?;
            writeln!(script, "set_inode_field /{object} flags {EXTENTS_ONLY}")?;
        }
        target.disk.debugfs_script(&script)
    })
}

fn mended(damage: Attack) -> Attack {
    let name = format!("mended: {}", damage.name);
    let attack = Attack::new(
        damage.id,
        "mend",
        name,
        Accept::same_tree(),
        move |target| {
            damage.change(target)?;
            repair(target)
        },
    );
    Attack {
        is_mended: true,
        ..attack.on(Stage::Shared).only(&[Layer::Erofs])
    }
}

/// What an administrator does, from a rescue system.
fn repair(target: Target<'_>) -> Result<()> {
    let release = target.release;
    let mut worker = Worker::new(&usual_kernel().context("no kernel")?, &[])?;
    worker.add_file("sealroot", &Program::Sealroot.build()?)?;
    worker.add_file("test.keyset", &release.keyset_path())?;
    let directory = tempfile::tempdir()?;
    let good = release.disk().copy_to(&directory.path().join("good"))?;
    worker.mount("good", good.path(), "ext4");
    worker.mount(Release::DISK_SERIAL, target.disk.path(), "ext4");
    let from = format!("/mnt/good/{}", Release::STORE);
    worker.command([
        "/sealroot",
        "--sysroot",
        "/mnt/root",
        "--keyset",
        "/test.keyset",
        "repair",
        "--full",
        "--from",
        &from,
    ]);
    worker.command(["/init", "umount", "/mnt/root"]);
    worker.run(TIME_OUT).map(drop)
}
