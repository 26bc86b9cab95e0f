// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sealed machines whose other disks were written by somebody else: a second root, a hibernated
//! system, all that other systems look for on a root: A26, A31, A32, A45.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Result;

use super::bench::Bench;
use super::{ChainAttack, root_disk};
use crate::attack::Accept;
use crate::disk::Disk;

pub(super) fn attacks() -> Vec<ChainAttack> {
    let mut attacks = vec![two_roots(true), two_roots(false)];
    attacks.push(hibernated());
    attacks.push(marks());
    attacks
}

/// A second disk with the same label and UUID, and state of the attacker's.
fn two_roots(is_first: bool) -> ChainAttack {
    let order = if is_first { "before" } else { "behind" };
    let name = format!("another disk with the same label and UUID, {order} the genuine one");
    let accept = Accept::refused(&["root-device"]);
    ChainAttack::new(&[("A26", 1)], name, accept, move |bench, directory| {
        let mut stage = bench.stage(directory)?;
        let twin = bench.release().disk().copy_to(&directory.join("twin"))?;
        twin.mounted(|root| {
            let var = root.join("ostree/deploy/test/var");
            Ok(fs::write(var.join("state"), "the attacker's")?)
        })?;
        let at = if is_first { 0 } else { stage.disks.len() };
        stage
            .disks
            .insert(at, ("twin".to_owned(), twin.path().to_owned()));
        Ok(stage)
    })
}

/// A swap partition that says it holds the memory of a system.
fn hibernated() -> ChainAttack {
    let name = "a hibernated system in swap";
    ChainAttack::new(
        &[("A32", 1)],
        name,
        Accept::same_tree(),
        |bench, directory| {
            let mut stage = bench.stage(directory)?;
            let path = directory.join("swap");
            write_hibernated(&path)?;
            stage.disks.insert(0, ("swap".to_owned(), path));
            Ok(stage)
        },
    )
}

/// `swsusp_header` of Linux, in the first page of a swap partition: what it was is kept behind what
/// says that there is an image.
pub(in crate::attack) fn write_hibernated(path: &Path) -> Result<()> {
    const SIZE_BYTES: u64 = 16 << 20;
    const SIGNATURE_AT: u64 = 4096 - 10;
    const ORIGINAL_AT: u64 = 4096 - 20;
    let file = fs::File::create(path)?;
    file.set_len(SIZE_BYTES)?;
    // Where the image begins, in sectors, and its flags: not compressed, no checksum.
    file.write_all_at(&8_u64.to_le_bytes(), ORIGINAL_AT - 16)?;
    file.write_all_at(b"SWAPSPACE2", ORIGINAL_AT)?;
    file.write_all_at(b"S1SUSPEND\0", SIGNATURE_AT)?;
    // Version 1, last page, no bad pages.
    file.write_all_at(&1_u32.to_le_bytes(), 1024)?;
    file.write_all_at(&u32::try_from(SIZE_BYTES / 4096 - 1)?.to_le_bytes(), 1028)?;
    Ok(())
}

/// What OSTree, systemd and initramfs generators would find on the physical root, by id.
const MARKS: [(&str, &str, &str); 14] = [
    (
        "A31",
        "etc/fstab",
        "/dev/vda /usr ext4 x-initrd.mount 0 0\n",
    ),
    (
        "A31",
        "etc/crypttab",
        "evil /dev/vda none x-initrd.attach\n",
    ),
    ("A31", "etc/initrd-release", "ID=evil\n"),
    (
        "A31",
        "etc/systemd/system/sysroot-usr.mount",
        "[Mount]\nWhat=/dev/vda\nWhere=/sysroot/usr\n",
    ),
    (
        "A31",
        "var/lib/sealroot/etc/fstab",
        "/dev/vda /usr ext4 rw 0 0\n",
    ),
    (
        "A31",
        "var/lib/sealroot/etc/crypttab",
        "evil /dev/vda none\n",
    ),
    (
        "A30",
        "var/lib/extensions/evil/usr/lib/extension-release.d/extension-release.evil",
        "ID=_any\n",
    ),
    (
        "A30",
        "var/lib/confexts/evil/etc/extension-release.d/extension-release.evil",
        "ID=_any\n",
    ),
    (
        "A45",
        "ostree/deploy/test/.usr-ovl-upper/bin/evil",
        "canary",
    ),
    ("A45", "ostree/deploy/test/.usr-ovl-work/work", ""),
    ("A45", "ostree/deploy/test/.ostree-unlocked", "hotfix"),
    ("A45", "ostree/verity/deploy/.usr-ovl-work/work", ""),
    ("A45", "run/ostree/deployment-state/unlocked", "development"),
    (
        "A45",
        "usr/lib/systemd/system/evil.service",
        "[Service]\nExecStart=/bin/sh\n",
    ),
];

fn marks() -> ChainAttack {
    let name = "mounts, extensions, hotfixes on the physical root";
    let of = |id| (id, MARKS.iter().filter(|mark| mark.0 == id).count());
    let ids = ["A31", "A30", "A45"].map(of);
    ChainAttack::new(
        &ids,
        name,
        Accept::same_tree(),
        |bench: &Bench, directory| {
            let mut stage = bench.stage(directory)?;
            let disk = bench.release().disk().copy_to(&directory.join("marked"))?;
            plant(&disk)?;
            stage.disks = vec![root_disk(disk.path())];
            Ok(stage)
        },
    )
}

fn plant(disk: &Disk) -> Result<()> {
    disk.mounted(|root| {
        for (_, name, content) in MARKS {
            let path = match name.strip_prefix("var/") {
                Some(rest) => root.join("ostree/deploy/test/var").join(rest),
                None => root.join(name),
            };
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            fs::write(path, content)?;
        }
        Ok(())
    })
}
