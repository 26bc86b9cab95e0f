// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content: objects swapped, replaced, damaged, stripped of fs-verity: A03, A04, A16, A17, A18,
//! A22, A23.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;

use super::{Accept, Attack, Target};
use crate::content;
use crate::guest::ProbeJob;
use crate::os_tree::{TARGET_BYTES, TARGETS};
use crate::release::{Layer, Release};

/// The size of a block of the disk, of fs-verity and of EROFS.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// ext4's flag of inodes that have extents, without the one of fs-verity.
pub const EXTENTS_ONLY: &str = "0x80000";

/// The mutator of attacks on the disk of a machine that runs.
pub(super) const RUNNING_DISK: &str = "running disk";

/// Every path that has the content of the first target.
pub(super) const FIRST: [&str; 2] = ["usr/lib/target-a.so", "usr/share/copy-of-target-a"];

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = swaps();
    attacks.extend(replacements());
    attacks.extend(damage());
    attacks.extend(stripped());
    attacks.extend(while_running());
    attacks
}

/// A genuine object under another's name.
pub(super) fn swaps() -> Vec<Attack> {
    let pairs = [
        (
            "same size",
            TARGETS[0],
            TARGETS[1],
            vec![FIRST[0], TARGETS[1], FIRST[1]],
        ),
        (
            "other size",
            TARGETS[1],
            TARGETS[2],
            vec![TARGETS[1], TARGETS[2]],
        ),
    ];
    let mut attacks: Vec<Attack> = pairs
        .into_iter()
        .map(|(name, a, b, paths)| {
            let accept = Accept::unreadable(&paths).or_refused(&["object"]);
            Attack::new(
                "A03",
                "swap",
                format!("objects of {name} swapped"),
                accept,
                move |target| {
                    let (a, b) = (
                        target.release.object_name(a)?,
                        target.release.object_name(b)?,
                    );
                    target.disk.mounted(|root| {
                        for directory in object_directories(target.release) {
                            let (a, b) = (
                                root.join(&directory).join(&a),
                                root.join(&directory).join(&b),
                            );
                            let aside = a.with_extension("aside");
                            fs::rename(&a, &aside)?;
                            fs::rename(&b, &a)?;
                            fs::rename(&aside, &b)?;
                        }
                        Ok(())
                    })
                },
            )
        })
        .collect();
    let accept = Accept::refused(&["object", "init", "self-test"]);
    attacks.push(Attack::new(
        "A03",
        "rotate",
        "all objects rotated",
        accept,
        |target| {
            target.disk.mounted(|root| {
                for directory in object_directories(target.release) {
                    rotate(&root.join(directory))?;
                }
                Ok(())
            })
        },
    ));
    attacks
}

fn rotate(objects: &Path) -> Result<()> {
    let mut paths = Vec::new();
    for prefix in fs::read_dir(objects)? {
        for object in fs::read_dir(prefix?.path())? {
            paths.push(object?.path());
        }
    }
    paths.sort();
    let Some(last) = paths.last() else {
        return Ok(());
    };
    let aside = objects.join("aside");
    fs::rename(last, &aside)?;
    for pair in paths.windows(2).rev() {
        fs::rename(&pair[0], &pair[1])?;
    }
    Ok(fs::rename(aside, &paths[0])?)
}

/// An object that is not one: other bytes, the right bytes without fs-verity, nothing at all.
pub(super) fn replacements() -> Vec<Attack> {
    let replace = |name: &str, id, bytes: fn() -> Option<Vec<u8>>| {
        let accept = Accept::unreadable(&FIRST).or_refused(&["object"]);
        Attack::new(id, "object file", name, accept, move |target| {
            let object = target.release.object_name(FIRST[0])?;
            target.disk.mounted(|root| {
                for directory in object_directories(target.release) {
                    let path = root.join(directory).join(&object);
                    fs::remove_file(&path)?;
                    if let Some(bytes) = bytes() {
                        fs::write(&path, bytes)?;
                    }
                }
                Ok(())
            })
        })
    };
    let pack = |name: &str, id, bytes: fn(&Path) -> Result<()>| {
        let refused = Accept::refused(&["pack"]);
        Attack::new(id, "pack file", name, refused, move |target| {
            let pack = target.release.pack_path();
            target.disk.mounted(|root| {
                let path = root.join(pack);
                fs::remove_file(&path)?;
                bytes(&path)
            })
        })
    };
    vec![
        replace("object without fs-verity", "A04", || {
            Some(content::bytes(100, TARGET_BYTES))
        }),
        replace("object with other bytes", "A04", || {
            Some(content::bytes(666, TARGET_BYTES))
        }),
        replace("object missing", "A04", || None),
        pack("pack with other bytes", "A22", |path| {
            Ok(fs::write(path, content::bytes(1, 999_424))?)
        }),
        pack("pack that claims to be an image", "A22", |path| {
            let mut bytes = content::bytes(2, 999_424);
            bytes[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
            Ok(fs::write(path, bytes)?)
        }),
        pack("pack of a terabyte", "A23", |path| {
            Ok(File::create(path)?.set_len(1 << 40)?)
        }),
        pack("pack of no bytes", "A22", |path| Ok(fs::write(path, "")?)),
    ]
}

/// Where fs-verity keeps its part of a file, in blocks: after the data, at the next 64 KiB.
fn merkle_block(size_bytes: u64) -> u64 {
    size_bytes.next_multiple_of(65536) / BLOCK_BYTES
}

/// One bit of each part of a file with fs-verity: a measurement alone would not see it.
fn damage() -> Vec<Attack> {
    let size = TARGET_BYTES as u64;
    // One hash per block: a level of one block, or two levels.
    let blocks = size.div_ceil(BLOCK_BYTES);
    assert!(blocks <= 128, "the tree of a target has one block");
    let object = |part: &str, index: u64, accept: Accept| {
        Attack::new(
            "A17",
            "bit of an object",
            format!("object damaged: {part}"),
            accept,
            move |target| flip(target, &target.release.shared_object_path(FIRST[0])?, index),
        )
    };
    let pack = |part: &'static str, accept: Accept| {
        Attack::new(
            "A17",
            "bit of the pack",
            format!("pack damaged: {part}"),
            accept,
            move |target| {
                let size_bytes = target.release.pack_size_bytes;
                let tree = merkle_block(size_bytes);
                let index = match part {
                    "first block" => 0,
                    "middle block" => size_bytes / BLOCK_BYTES / 2,
                    "last block" => size_bytes / BLOCK_BYTES - 1,
                    "tree" => tree,
                    _ => tree + merkle_blocks(size_bytes),
                };
                flip(target, &target.release.pack_path(), index)
            },
        )
    };
    let unreadable = || Accept::unreadable(&FIRST).or_refused(&["object"]);
    // What of the pack is read, and when, is the kernel's choice.
    let stops = || {
        Accept::some_unreadable()
            .or_refused(&["pack", "metadata", "overlay", "tree", "init", "state"])
    };
    vec![
        object("first block", 0, unreadable()),
        object("last block", blocks - 1, unreadable()),
        object("tree", merkle_block(size), unreadable()),
        object("descriptor", merkle_block(size) + 1, unreadable()),
        pack("first block", Accept::refused(&["pack", "metadata"])),
        pack("middle block", stops()),
        pack("last block", stops()),
        pack("tree", stops()),
        pack("descriptor", Accept::refused(&["pack"])),
    ]
}

/// Blocks of the Merkle tree of a file.
fn merkle_blocks(size_bytes: u64) -> u64 {
    let mut blocks = size_bytes.div_ceil(BLOCK_BYTES);
    let mut total = 0;
    while blocks > 1 {
        blocks = blocks.div_ceil(128);
        total += blocks;
    }
    total
}

fn flip(target: Target<'_>, path: &str, index: u64) -> Result<()> {
    let block = target.disk.block_of(path, index)?;
    target.disk.patch_block(block, |bytes| bytes[17] ^= 0x10)
}

/// fs-verity switched off behind the filesystem's back, and the content changed then.
fn stripped() -> Vec<Attack> {
    vec![
        Attack::new(
            "A18",
            "flag of an object",
            "fs-verity cleared from an object, content changed",
            Accept::unreadable(&FIRST).or_refused(&["object"]),
            |target| {
                let path = target.release.shared_object_path(FIRST[0])?;
                target
                    .disk
                    .debugfs(&format!("set_inode_field /{path} flags {EXTENTS_ONLY}"))?;
                flip(target, &path, 3)
            },
        ),
        Attack::new(
            "A18",
            "flag of the pack",
            "fs-verity cleared from the pack",
            Accept::refused(&["pack"]),
            |target| {
                let path = target.release.pack_path();
                target
                    .disk
                    .debugfs(&format!("set_inode_field /{path} flags {EXTENTS_ONLY}"))?;
                Ok(())
            },
        ),
    ]
}

/// What inverts a byte of each of these blocks of a file, behind the filesystem's back.
pub(super) fn invert(
    target: Target<'_>,
    path: &str,
    blocks: &mut dyn Iterator<Item = u64>,
) -> Result<Option<ProbeJob>> {
    let positions = blocks
        .map(|index| Ok(target.disk.block_of(path, index)? * BLOCK_BYTES + 99))
        .collect::<Result<Vec<_>>>()?;
    Ok(Some(ProbeJob {
        disk: Release::DISK_SERIAL.into(),
        invert_bytes_at: positions,
        ..ProbeJob::default()
    }))
}

/// The disk changes under the running machine.
fn while_running() -> Vec<Attack> {
    let attack = |name: &str, accept: Accept, change: super::Change| Attack {
        kind: super::Kind::Change(change),
        ..Attack::new("A16", RUNNING_DISK, name, accept, |_| Ok(()))
    };
    vec![
        attack(
            "an object's blocks change while it runs",
            Accept::unreadable(&FIRST),
            Box::new(move |target| {
                let path = target.release.shared_object_path(FIRST[0])?;
                invert(target, &path, &mut [1, 40].into_iter())
            }),
        ),
        attack(
            "every block of the pack changes while it runs",
            Accept::some_unreadable().or_same_tree(),
            Box::new(move |target| {
                let path = target.release.pack_path();
                let blocks = target.release.pack_size_bytes / BLOCK_BYTES;
                invert(target, &path, &mut (0..blocks))
            }),
        )
        .only(&[Layer::Erofs]),
        attack(
            "every block of the unpacked pack changes while it runs",
            Accept::same_tree(),
            Box::new(move |target| {
                let path = target.release.pack_path();
                let blocks = target.release.pack_size_bytes / BLOCK_BYTES;
                invert(target, &path, &mut (0..blocks))
            }),
        )
        .only(&[Layer::Tmpfs]),
    ]
}

fn object_directories(release: &Release) -> [String; 2] {
    [
        format!("{}/objects", Release::STORE),
        format!("{}/objects", release.deployment_path()),
    ]
}
