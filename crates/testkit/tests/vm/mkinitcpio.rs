// SPDX-License-Identifier: MIT OR Apache-2.0
//! An initramfs that mkinitcpio makes, with the build hook of `integration/mkinitcpio`: systemd runs
//! in it, the boot program verifies and mounts the root for it.
//!
//! No archive that `cargo xtask setup` takes packages from has mkinitcpio:
//! `SEALROOT_MKINITCPIO=DIRECTORY` has its source, which is run uninstalled, in a Debian.

use std::env;

use anyhow::Result;
use sealroot_testkit::need;

use super::foreign::{self, Tool};

const SOURCE: &str = "SEALROOT_MKINITCPIO";

/// Debian has neither bsdtar nor one directory for all programs, and keeps a library elsewhere that
/// systemd loads at run time; and its systemd lacks a program that the hook of a later one wants,
/// for which mkinitcpio makes the archive, but fails.
const SCRIPT: &str = r#"
cat >/usr/bin/bsdtar <<'END'
#!/bin/sh
case "$*" in *@-) exec cat ;; esac
exec cpio --null --quiet --create --format=newc --owner=0:0
END
sed 's|@BINDIR@|/usr/bin:/usr/sbin|' /mkinitcpio >/usr/bin/mkinitcpio
chmod 755 /usr/bin/bsdtar /usr/bin/mkinitcpio
for name in sulogin swapoff swapon; do ln -s "../sbin/$name" "/usr/bin/$name"; done
cat >/tmp/mkinitcpio.conf <<'END'
HOOKS=(systemd block sealroot)
BINARIES=(/usr/lib/x86_64-linux-gnu/libkmod.so.2)
COMPRESSION=cat
END
export MKINITCPIO_LIBRARY=/ MKINITCPIO_HOOKS=/hooks
export MKINITCPIO_INSTALL=/install:/etc/initcpio/install
mkinitcpio --config /tmp/mkinitcpio.conf --nopost --kernel "$1" --generate /tmp/initramfs ||
    test -s /tmp/initramfs
"#;

#[test]
#[ignore = "takes long and the source of mkinitcpio"]
fn nightly_an_initramfs_of_mkinitcpio_boots_what_is_signed_and_nothing_else() -> Result<()> {
    let Some(source) = env::var_os(SOURCE) else {
        need::missing(&format!("{SOURCE}, the source of mkinitcpio,"));
        return Ok(());
    };
    let tool = Tool {
        trees: vec![source.into()],
        files: &[
            (
                "systemd/sealroot-verify.service",
                "usr/lib/systemd/system/sealroot-verify.service",
            ),
            (
                "mkinitcpio/install/sealroot",
                "etc/initcpio/install/sealroot",
            ),
        ],
        script: SCRIPT,
    };
    let hostile = "rd.systemd.break=pre-mount rd.systemd.debug_shell root=/dev/vda \
        rootfstype=ext4 resume=/dev/vda";
    foreign::boots_what_is_signed_and_nothing_else(&tool, hostile)
}
