// SPDX-License-Identifier: MIT OR Apache-2.0
//! An initramfs that dracut makes, with the module of `integration/dracut`: systemd runs in it, the
//! boot program verifies and mounts the root for it.

use anyhow::Result;

use super::foreign::{self, Tool};

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_dracut_initramfs_boots_what_is_signed_and_nothing_else() -> Result<()> {
    let tool = Tool {
        trees: Vec::new(),
        files: &[
            (
                "systemd/sealroot-verify.service",
                "usr/lib/systemd/system/sealroot-verify.service",
            ),
            (
                "dracut/98sealroot/module-setup.sh",
                "usr/lib/dracut/modules.d/98sealroot/module-setup.sh",
            ),
            (
                "dracut/98sealroot/root.sh",
                "usr/lib/dracut/modules.d/98sealroot/root.sh",
            ),
        ],
        script: "dracut --quiet --kver \"$1\" --no-hostonly --no-hostonly-cmdline \
            --omit ostree --add sealroot --drivers 'virtio_pci virtio_blk virtio_console' \
            /tmp/initramfs",
    };
    foreign::boots_what_is_signed_and_nothing_else(&tool, "root=/dev/vda rootfstype=ext4")
}
