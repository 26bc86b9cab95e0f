// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other chains, and what lies beside a signed image on the boot partition or comes from the
//! machine's maker: A27 to A30, A35, A36, A62.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sealroot_format::policy::{KEYSET_PATH, POLICY_PATH, REPAIR_TOOL_PATH};

use super::bench::{Bench, Variant};
use super::{ChainAttack, Files, Stage};
use crate::attack::Accept;
use crate::attack::judge::DENIED;
use crate::cpio::Archive;
use crate::esp::DEFAULT_LOADER;
use crate::release::Layer;
use crate::vm::Firmware;

pub(super) fn attacks() -> Vec<ChainAttack> {
    let mut attacks = vec![
        other_images(),
        foreign_chain(),
        files_beside(),
        registered_initramfs(),
        signed_addon(),
        old_kernel(),
    ];
    attacks.extend(firmware_states());
    attacks
}

fn file(name: &str, content: impl AsRef<[u8]>) -> (String, Vec<u8>) {
    (name.to_owned(), content.as_ref().to_vec())
}

/// Four disks with images that are not as signed, before the good one.
fn other_images() -> ChainAttack {
    let accept = Accept::same_tree();
    let prepare = |bench: &Bench, directory: &Path| {
        let mut stage = bench.stage(directory)?;
        let unsigned = bench.image(Variant::AsSigned)?;
        let mut flipped = bench.genuine(Variant::AsSigned)?.to_vec();
        // In the kernel, which comes last.
        flipped[unsigned.len() - 100_000] ^= 1;
        let images = [&*unsigned, &*bench.rogue()?, &flipped];
        let esps = images.map(|image| vec![file(DEFAULT_LOADER, image)]);
        stage.esps.splice(0..0, esps);
        Ok(stage)
    };
    ChainAttack::new(
        &[("A27", 3)],
        "images unsigned, foreign, changed, before the good one",
        accept,
        prepare,
    )
    .said(DENIED, 3)
    .short()
}

/// Boot loader, kernel and initramfs of somebody else, whose key this firmware does not have.
fn foreign_chain() -> ChainAttack {
    let prepare = |bench: &Bench, directory: &Path| {
        let mut stage = bench.stage(directory)?;
        let mut files = legacy_entry(bench, directory)?;
        files.push(file(DEFAULT_LOADER, &*bench.rogue_loader()?));
        stage.esps = vec![files];
        Ok(stage)
    };
    ChainAttack::new(
        &[("A27", 1)],
        "the whole chain of somebody else",
        Accept::denied(),
        prepare,
    )
    .said(DENIED, 1)
}

/// What would weaken the policy, if it were unpacked over the image's.
fn further_initramfs(bench: &Bench, directory: &Path) -> Result<Vec<u8>> {
    let orders = directory.join("orders");
    fs::create_dir(&orders)?;
    bench.release().write_orders(&orders, Layer::Erofs)?;
    let mut archive = Archive::new();
    archive.file(POLICY_PATH, 0o444, &fs::read(orders.join("policy"))?);
    archive.file(KEYSET_PATH, 0o444, &fs::read(orders.join("keyset"))?);
    Ok(archive.finish())
}

/// All that systemd's boot loader and stub look for beside an image.
fn files_beside() -> ChainAttack {
    let prepare = |bench: &Bench, directory: &Path| {
        let mut stage = bench.stage(directory)?;
        let addon = bench.unsigned_addon()?;
        let image = bench.genuine(Variant::AsSigned)?;
        let unit = "[Service]\nExecStart=/bin/sh\n";
        stage.esps = vec![vec![
            file(DEFAULT_LOADER, &*bench.loader()?),
            file("EFI/Linux/os.efi", &*image),
            file("EFI/Linux/os.efi.extra.d/debug.addon.efi", &addon),
            file(
                "EFI/Linux/os.efi.extra.d/systemd.extra-unit.evil.service.cred",
                unit,
            ),
            file("EFI/Linux/os.efi.extra.d/evil.raw", "a system extension"),
            file("EFI/Linux/os.efi.extra.d/evil.confext.raw", "another one"),
            file("loader/addons/debug.addon.efi", &addon),
            file("loader/credentials/passwd.hashed-password.root.cred", "x"),
            file(
                "loader/credentials/fstab.extra.cred",
                "/dev/vda /verified ext4\n",
            ),
            file("evil.img", further_initramfs(bench, directory)?),
            file(
                "loader/loader.conf",
                "timeout 0\ndefault evil.conf\neditor yes\nconsole-mode max\n",
            ),
            file(
                "loader/entries/evil.conf",
                "title evil\nefi /EFI/Linux/os.efi\ninitrd /evil.img\n\
                 options rdinit=/bin/sh init=/bin/sh initrd=\\evil.img lockdown=none\n",
            ),
        ]];
        stage.strings = [
            "io.systemd.boot.kernel-cmdline-extra=rdinit=/bin/sh lockdown=none",
            "io.systemd.credential:systemd.extra-unit.evil.service=[Service]",
            "io.systemd.credential:fstab.extra=/dev/vda /verified ext4",
        ]
        .map(str::to_owned)
        .to_vec();
        Ok(stage)
    };
    let ids = [("A28", 4), ("A29", 2), ("A30", 7), ("A35", 3)];
    ChainAttack::new(
        &ids,
        "everything that is looked for beside an image",
        Accept::same_tree(),
        prepare,
    )
    .said("Failed to read 'debug.addon.efi'", 2)
    .short()
}

/// What a boot loader registers for an image where an entry calls it a kernel: unpacked in front of the
/// image's, it would hold a program for `/init` to start, and certificates.
fn registered_initramfs() -> ChainAttack {
    let prepare = |bench: &Bench, directory: &Path| {
        let mut stage = bench.stage(directory)?;
        let mut archive = Archive::new();
        archive.file(REPAIR_TOOL_PATH, 0o755, b"#!/bin/sh\n");
        stage.esps = vec![vec![
            file(DEFAULT_LOADER, &*bench.loader()?),
            file("os.efi", &*bench.genuine(Variant::AsSigned)?),
            file("evil.img", archive.finish()),
            file("loader/loader.conf", "timeout 0\ndefault evil.conf\n"),
            file(
                "loader/entries/evil.conf",
                "title evil\nlinux /os.efi\ninitrd /evil.img\n",
            ),
        ]];
        Ok(stage)
    };
    ChainAttack::new(
        &[("A28", 1)],
        "an initramfs that the boot loader registers for an image",
        Accept::denied(),
        prepare,
    )
    .short()
}

/// Stubs of this age append both, with Secure Boot too: without `--` there would be no boot program.
fn signed_addon() -> ChainAttack {
    let prepare = |bench: &Bench, directory: &Path| {
        let mut stage = bench.stage(directory)?;
        let addon = bench.signed_addon("rdinit=/none")?;
        let files = stage.esps.first_mut().context("a boot partition")?;
        files.push(file(
            "EFI/BOOT/BOOTX64.EFI.extra.d/debug.addon.efi",
            &*addon,
        ));
        let extra = "io.systemd.stub.kernel-cmdline-extra=root=/dev/vda init=/bin/sh";
        stage.strings.push(extra.to_owned());
        Ok(stage)
    };
    let ids = [("A29", 1), ("A28", 1)];
    let accept = Accept::refused(&["command-line"]);
    ChainAttack::new(
        &ids,
        "an add-on that the same key has signed",
        accept,
        prepare,
    )
    .said("found \"-- rdinit=/none root=/dev/vda init=/bin/sh\"", 1)
    .short()
}

/// The entry of an unsealed system, as it is left behind where a machine has moved to sealed images.
fn legacy_entry(bench: &Bench, directory: &Path) -> Result<Files> {
    let kernel = fs::read(bench.kernel().packed())?;
    Ok(vec![
        file("legacy/vmlinuz", kernel),
        file("legacy/initrd", further_initramfs(bench, directory)?),
        file("loader/loader.conf", "timeout 0\ndefault legacy.conf\n"),
        file(
            "loader/entries/legacy.conf",
            "title before\nlinux /legacy/vmlinuz\ninitrd /legacy/initrd\noptions rdinit=/bin/sh\n",
        ),
    ])
}

/// The kernel of the unsealed system from before, which firmware may still have a boot option for.
fn old_kernel() -> ChainAttack {
    let prepare = |bench: &Bench, directory: &Path| {
        let mut stage = bench.stage(directory)?;
        let kernel = fs::read(bench.kernel().packed())?;
        stage.esps.insert(0, vec![file(DEFAULT_LOADER, kernel)]);
        Ok(stage)
    };
    let name = "the kernel of an unsealed system, before the image";
    ChainAttack::new(&[("A62", 1)], name, Accept::same_tree(), prepare).said(DENIED, 1)
}

/// The firmware verifies nothing, in three ways.
fn firmware_states() -> Vec<ChainAttack> {
    type Change = fn(&mut Stage, &Path) -> Result<()>;
    let states: [(&str, Change); 3] = [
        ("firmware without Secure Boot", |stage, variables| {
            stage.firmware = Firmware::create(variables)?.context("no firmware")?;
            Ok(())
        }),
        ("firmware in setup mode", |stage, variables| {
            stage.firmware = Firmware::in_setup_mode(variables)?.context("no firmware")?;
            Ok(())
        }),
        ("Secure Boot turned off", |stage, _| {
            stage.firmware.turn_secure_boot_off()
        }),
    ];
    let attack = |(name, change): (&'static str, Change)| {
        let accept = Accept::refused(&["secure-boot"]);
        let attack = ChainAttack::new(&[("A36", 1)], name, accept, move |bench, directory| {
            let mut stage = bench.stage(directory)?;
            change(&mut stage, &directory.join("other-variables"))?;
            Ok(stage)
        });
        if name.starts_with("firmware without") {
            attack.short()
        } else {
            attack
        }
    };
    states.into_iter().map(attack).collect()
}
