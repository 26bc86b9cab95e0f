// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names where none should be, and other things in the place of ours: A01, A15.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};

use super::{Accept, Attack};
use crate::release::Release;

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = vec![inject_entries()];
    attacks.extend(replace_components());
    attacks
}

/// Kinds of entries an intruder may leave.
const KINDS: [&str; 12] = [
    "file",
    "directory",
    "symlink",
    "fifo",
    "socket",
    "character",
    "block",
    "whiteout",
    "opaque",
    "dotfile",
    "long",
    "non-utf8",
];

/// Every kind of entry at every place of the physical root that has to do with the release, some
/// with the names of the tree's own directories.
fn inject_entries() -> Attack {
    let mutants = KINDS.len() * 20;
    Attack::new(
        "A01",
        "inject",
        "entries injected everywhere",
        Accept::same_tree(),
        move |target| {
            target.disk.mounted(|root| {
                let places = places(target.release)?;
                let mut injected = 0;
                for place in &places {
                    let directory = root.join(place);
                    fs::create_dir_all(&directory)?;
                    for kind in KINDS {
                        inject(&directory, kind)
                            .with_context(|| format!("{kind} in {}", directory.display()))?;
                        injected += 1;
                    }
                }
                anyhow::ensure!(injected == mutants, "{injected} entries, not {mutants}");
                Ok(())
            })
        },
    )
    .mutants(mutants)
}

fn places(release: &Release) -> Result<[String; 20]> {
    let store = Release::STORE;
    let deployment = release.deployment_path();
    let object = release.object_name(crate::os_tree::TARGETS[0])?;
    let prefix = &object[..2];
    Ok([
        String::new(),
        "boot".into(),
        "etc".into(),
        "usr".into(),
        "usr/lib/systemd/system-generators".into(),
        "var".into(),
        "ostree".into(),
        "ostree/repo".into(),
        "ostree/deploy".into(),
        store.into(),
        format!("{store}/pack"),
        format!("{store}/objects"),
        format!("{store}/objects/{prefix}"),
        format!("{store}/objects/usr/lib"),
        format!("{store}/deploy"),
        deployment.clone(),
        format!("{deployment}/etc"),
        format!("{deployment}/usr/lib/systemd/system-generators"),
        format!("{deployment}/objects"),
        format!("{deployment}/objects/{prefix}"),
    ])
}

fn inject(directory: &Path, kind: &str) -> Result<()> {
    let node = |name: &str, kind, device| {
        mknodat(
            CWD,
            directory.join(name),
            kind,
            Mode::from_raw_mode(0o6777),
            device,
        )
    };
    match kind {
        "file" => fs::write(directory.join("init"), "#!/bin/evil\n")?,
        "directory" => fs::create_dir_all(directory.join("sbin/evil"))?,
        "symlink" => symlink("/etc/shadow", directory.join("evil-link"))?,
        "fifo" => node("evil-fifo", FileType::Fifo, 0)?,
        "socket" => node("evil-socket", FileType::Socket, 0)?,
        "character" => node("evil-mem", FileType::CharacterDevice, makedev(1, 1))?,
        "block" => node("evil-disk", FileType::BlockDevice, makedev(254, 0))?,
        "whiteout" => node("proc", FileType::CharacterDevice, makedev(0, 0))?,
        "opaque" => {
            let path = directory.join("usr");
            fs::create_dir_all(&path)?;
            lsetxattr(&path, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
        }
        "dotfile" => fs::write(directory.join(".evil"), "hidden\n")?,
        "long" => fs::write(directory.join("e".repeat(255)), "long\n")?,
        _ => fs::write(directory.join(OsStr::from_bytes(b"\xff\xfe")), "bytes\n")?,
    }
    Ok(())
}

/// What stands in the place of a component on the way to pack and objects.
#[derive(Clone, Copy, Debug)]
enum Impostor {
    /// A symbolic link, absolute, to the real thing moved aside.
    Symlink,
    /// A symbolic link, relative, to the real thing beside it.
    RelativeLink,
    Fifo,
    Device,
    /// A file where a directory was, a directory where a file was.
    OtherKind,
    Nothing,
}

impl Impostor {
    const fn mutator(self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::RelativeLink => "relative link",
            Self::Fifo => "fifo",
            Self::Device => "device",
            Self::OtherKind => "other kind",
            Self::Nothing => "nothing",
        }
    }
}

const IMPOSTORS: [Impostor; 6] = [
    Impostor::Symlink,
    Impostor::RelativeLink,
    Impostor::Fifo,
    Impostor::Device,
    Impostor::OtherKind,
    Impostor::Nothing,
];

/// Which component, and what must come of replacing it. The deployment is no trust input: where it
/// is missing, the shared objects are what boots.
fn components() -> Vec<(&'static str, Accept)> {
    let store = || Accept::refused(&["store"]);
    vec![
        ("ostree", store()),
        ("ostree/verity", store()),
        (
            "pack directory",
            Accept::refused(&["store", "statement", "pack"]),
        ),
        ("statement", Accept::refused(&["statement", "store"])),
        ("pack", Accept::refused(&["pack", "store"])),
        ("shared objects", store().or_same_tree()),
        ("deployments", store().or_same_tree()),
        ("deployment", store().or_same_tree()),
        ("deployment objects", store().or_same_tree()),
    ]
}

fn component_path(release: &Release, component: &str) -> String {
    let store = Release::STORE;
    let deployment = release.deployment_path();
    match component {
        "ostree" | "ostree/verity" => component.to_owned(),
        "pack directory" => format!("{store}/pack"),
        "statement" => release.statement_path(),
        "pack" => release.pack_path(),
        "shared objects" => format!("{store}/objects"),
        "deployments" => format!("{store}/deploy"),
        "deployment" => deployment,
        _ => format!("{deployment}/objects"),
    }
}

/// Each component by two impostors, so that all pairs of neighbours in both lists are tried.
fn replace_components() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (index, (component, accept)) in components().into_iter().enumerate() {
        let second = 2 + index % (IMPOSTORS.len() - 2);
        for impostor in [IMPOSTORS[index % 2], IMPOSTORS[second]] {
            let name = format!("{component} replaced: {impostor:?}");
            let change = move |target: super::Target<'_>| {
                target.disk.mounted(|root| {
                    let path = component_path(target.release, component);
                    replace(&root.join(&path), &path, impostor)
                })
            };
            attacks.push(Attack::new(
                "A15",
                impostor.mutator(),
                name,
                accept.clone(),
                change,
            ));
        }
    }
    attacks
}

fn replace(path: &Path, inside: &str, impostor: Impostor) -> Result<()> {
    let mut aside = OsString::from(path);
    aside.push(".aside");
    let was_directory = path.is_dir();
    fs::rename(path, &aside).with_context(|| format!("moving {} aside", path.display()))?;
    match impostor {
        Impostor::Symlink => symlink(format!("/{inside}.aside"), path)?,
        Impostor::RelativeLink => {
            let name = Path::new(&aside).file_name().context("a last component")?;
            symlink(name, path)?;
        }
        Impostor::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?,
        Impostor::Device => {
            let mode = Mode::from_raw_mode(0o644);
            mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 5))?;
        }
        Impostor::OtherKind if was_directory => fs::write(path, "not a directory\n")?,
        Impostor::OtherKind => fs::create_dir(path)?,
        Impostor::Nothing => {}
    }
    Ok(())
}
