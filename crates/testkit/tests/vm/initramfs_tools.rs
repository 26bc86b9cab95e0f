// SPDX-License-Identifier: MIT OR Apache-2.0
//! An initramfs that initramfs-tools makes, with the hook and the boot script of
//! `integration/initramfs-tools`: its init is a shell script, to which the boot program gives the
//! root.

use anyhow::Result;
use sealroot_testkit::need;

use super::foreign::{self, Tool};

/// What opens a shell in an initramfs without the boot script, mounts another root, or starts
/// another init.
const HOSTILE: &str = "break=top,modules,premount,mount,mountroot,bottom,init boot=local \
    root=/dev/vda rootfstype=ext4 resume=/dev/vda init=/bin/sh drop_capabilities=cap_sys_admin \
    ip=dhcp rw";

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_an_initramfs_of_initramfs_tools_boots_what_is_signed_and_nothing_else() -> Result<()> {
    let tool = Tool {
        trees: vec![need::cache().join("initramfs-tools")],
        files: &[
            (
                "initramfs-tools/hooks/sealroot",
                "usr/share/initramfs-tools/hooks/sealroot",
            ),
            (
                "initramfs-tools/scripts/sealroot",
                "usr/share/initramfs-tools/scripts/sealroot",
            ),
        ],
        script: "mkdir -p /etc/initramfs-tools/conf.d && \
            echo BOOT=sealroot >/etc/initramfs-tools/conf.d/sealroot && \
            mkinitramfs -o /tmp/initramfs \"$1\"",
    };
    foreign::boots_what_is_signed_and_nothing_else(&tool, HOSTILE)
}
