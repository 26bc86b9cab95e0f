// SPDX-License-Identifier: MIT OR Apache-2.0
//! A16: a release in the mode `integrity`, on a filesystem without fs-verity. The boot program
//! copies the pack once into memory that nobody can change, and hashes there; it hashes every
//! object before anything is mounted.
//!
//! What comes before the boot must be refused, or be as good as nothing. What comes after it must
//! not reach names, attributes and small files; that it reaches the content of large files is what
//! the mode says it does not hold against, and is shown as that.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::content::{self, BLOCK_BYTES, FIRST, RUNNING_DISK};
use super::{Accept, Attack, Kind, Stage, hostile, metadata, names, policy};
use crate::os_tree::TARGETS;
use crate::release::{Layer, Release};

/// All attacks on a release in the mode `integrity`.
pub fn integrity_catalogue() -> Vec<Attack> {
    let mut attacks = Vec::new();
    attacks.extend(as_sealed());
    attacks.extend(content::swaps().into_iter().map(refused_for_object));
    attacks.extend(content::replacements().into_iter().map(refused_for_object));
    attacks.extend(hostile::attacks().into_iter().map(refused_for_grammar));
    attacks.extend(one_byte());
    attacks.extend(lengths());
    attacks.extend(kinds());
    attacks.extend(one_layer());
    attacks.extend(while_running());
    for attack in &mut attacks {
        attack.name = format!("integrity: {} {}", attack.id, attack.name);
        attack.id = "A16";
    }
    attacks
}

/// Attacks that must end as they do in the mode `sealed`.
fn as_sealed() -> impl Iterator<Item = Attack> {
    let attacks = names::attacks().into_iter();
    attacks
        .chain(metadata::attacks())
        .chain(policy::attacks())
        .filter(|attack| attack.stage == Stage::Machine)
}

/// In the mode `sealed` an object that is not the one does not open; here nothing boots.
fn refused_for_object(mut attack: Attack) -> Attack {
    if attack.name == "object without fs-verity" {
        // That is what they all are.
        attack.accept = Accept::same_tree();
    } else if attack.name.starts_with("object") || attack.name.starts_with("all objects") {
        attack.accept = Accept::refused(&["object"]);
    }
    attack
}

/// The whole grammar of a pack is checked where its objects are hashed, so that what is hashed is
/// what the kernel will read.
fn refused_for_grammar(mut attack: Attack) -> Attack {
    if attack.layers == [Layer::Erofs] {
        attack.accept = Accept::refused(&["pack"]);
    }
    attack
}

fn overwrite(path: &Path, offset_bytes: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset_bytes)?;
    Ok(file.write_all_at(&[byte[0] ^ 1], offset_bytes)?)
}

/// Where a file is changed.
#[derive(Clone, Copy, Debug)]
enum At {
    First,
    Middle,
    Last,
}

impl At {
    const ALL: [Self; 3] = [Self::First, Self::Middle, Self::Last];

    fn offset_bytes(self, path: &Path) -> Result<u64> {
        let length = fs::metadata(path)?.len();
        Ok(match self {
            Self::First => 0,
            Self::Middle => length / 2,
            Self::Last => length - 1,
        })
    }
}

/// One bit of a byte of each object there is, and of the pack.
fn one_byte() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for at in At::ALL {
        let refused = Accept::refused(&["pack"]);
        let name = format!("pack changed: {at:?} byte");
        attacks.push(Attack::new("A16", "write", name, refused, move |target| {
            let path = target.release.pack_path();
            target.disk.mounted(|root| {
                let path = root.join(path);
                overwrite(&path, at.offset_bytes(&path)?)
            })
        }));
        for object in TARGETS {
            let refused = Accept::refused(&["object"]);
            let name = format!("{object} changed: {at:?} byte");
            attacks.push(Attack::new("A16", "write", name, refused, move |target| {
                let path = target.release.shared_object_path(object)?;
                target.disk.mounted(|root| {
                    let path = root.join(path);
                    overwrite(&path, at.offset_bytes(&path)?)
                })
            }));
        }
    }
    attacks
}

/// Files that are longer or shorter, with the same beginning.
fn lengths() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (name, code) in [("pack", "pack"), ("object", "object")] {
        for more in [true, false] {
            let title = format!("{name} {}", if more { "longer" } else { "shorter" });
            let refused = Accept::refused(&[code]);
            let change = move |target: super::Target<'_>| {
                let path = match name {
                    "pack" => target.release.pack_path(),
                    _ => target.release.shared_object_path(FIRST[0])?,
                };
                target.disk.mounted(|root| {
                    let file = OpenOptions::new().write(true).open(root.join(path))?;
                    let length = file.metadata()?.len();
                    Ok(file.set_len(if more { length + 1 } else { length - 1 })?)
                })
            };
            attacks.push(Attack::new("A16", "length", title, refused, change));
        }
    }
    attacks
}

/// An object, in the layer that is looked at first, that is no regular file.
fn kinds() -> Vec<Attack> {
    let attack = |name: &str, accept: Accept, make: fn(&Path) -> Result<()>| {
        let name = format!("object replaced by a {name}");
        Attack::new("A16", "kind", name, accept, move |target| {
            let path = deployed_object_path(target.release)?;
            target.disk.mounted(|root| {
                let path = root.join(path);
                fs::rename(&path, path.with_extension("aside"))?;
                make(&path)
            })
        })
    };
    let refused = || Accept::refused(&["object"]);
    vec![
        attack("symlink", refused(), |path| {
            let name = path.with_extension("aside");
            Ok(symlink(name.file_name().context("a name")?, path)?)
        }),
        attack("directory", refused(), |path| Ok(fs::create_dir(path)?)),
        attack("fifo", refused(), |path| {
            Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)?)
        }),
        attack("device", refused(), |path| {
            let device = makedev(1, 5);
            let kind = FileType::CharacterDevice;
            Ok(mknodat(CWD, path, kind, Mode::RUSR, device)?)
        }),
        attack("hole of its size", refused(), |path| {
            let length = fs::metadata(path.with_extension("aside"))?.len();
            Ok(File::create(path)?.set_len(length)?)
        }),
    ]
}

fn deployed_object_path(release: &Release) -> Result<String> {
    let object = release.object_name(FIRST[0])?;
    Ok(format!("{}/objects/{object}", release.deployment_path()))
}

/// An object that is right in one of the two layers only: what is hashed must be what is read.
fn one_layer() -> Vec<Attack> {
    let replace = |path: &Path| -> Result<()> {
        let length = fs::metadata(path)?.len();
        fs::remove_file(path)?;
        let length = usize::try_from(length)?;
        Ok(fs::write(path, crate::content::bytes(666, length))?)
    };
    vec![
        Attack::new(
            "A16",
            "layer",
            "other bytes among the deployment's objects alone",
            Accept::refused(&["object"]),
            move |target| {
                let path = deployed_object_path(target.release)?;
                target.disk.mounted(|root| replace(&root.join(path)))
            },
        ),
        Attack::new(
            "A16",
            "layer",
            "other bytes among the shared objects alone",
            Accept::same_tree(),
            move |target| {
                let path = target.release.shared_object_path(FIRST[0])?;
                target.disk.mounted(|root| replace(&root.join(path)))
            },
        ),
        Attack::new(
            "A16",
            "layer",
            "missing among the deployment's objects alone",
            Accept::same_tree(),
            |target| {
                let path = deployed_object_path(target.release)?;
                target
                    .disk
                    .mounted(|root| Ok(fs::remove_file(root.join(path))?))
            },
        ),
    ]
}

/// The disk changes under the running machine, behind the kernel's back.
fn while_running() -> Vec<Attack> {
    let attack = |name: &str, accept: Accept, change: super::Change| Attack {
        kind: Kind::Change(change),
        ..Attack::new("A16", RUNNING_DISK, name, accept, |_| Ok(()))
    };
    vec![
        attack(
            "every block of the pack changes while it runs",
            Accept::same_tree(),
            Box::new(|target| {
                let blocks = target.release.pack_size_bytes / BLOCK_BYTES;
                ensure!(blocks > 0, "an empty pack");
                content::invert(target, &target.release.pack_path(), &mut (0..blocks))
            }),
        ),
        attack(
            "an object's blocks change while it runs",
            Accept::limit(&FIRST),
            Box::new(|target| {
                let path = target.release.shared_object_path(FIRST[0])?;
                content::invert(target, &path, &mut [1, 40].into_iter())
            }),
        ),
    ]
}
