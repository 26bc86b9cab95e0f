#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Dracut module: the root is a release that sealroot verifies. Takes /etc/sealroot/policy and
# /etc/sealroot/keyset from the machine that builds the initramfs, or from SEALROOT_CONFIG.

# Where the policy and the keyset are taken from.
sealroot_config="${SEALROOT_CONFIG:-/etc/sealroot}"

# Only where asked for: an initramfs with this module boots nothing but verified releases.
check() {
    require_binaries modprobe || return 1
    return 255
}

depends() {
    echo systemd
}

installkernel() {
    hostonly="" instmods =drivers/block =fs/ext4 =fs/btrfs erofs overlay loop
}

install() {
    local name
    for name in policy keyset; do
        if [[ ! -f "$sealroot_config/$name" ]]; then
            dfatal "sealroot: there is no $sealroot_config/$name; 'sealroot initramfs --help' says what belongs there"
            exit 1
        fi
        inst_simple "$sealroot_config/$name" "/etc/sealroot/$name"
    done
    inst_binary modprobe
    inst_simple /usr/lib/sealroot/sealroot-boot
    inst_simple "$systemdsystemunitdir/sealroot-verify.service"
    $SYSTEMCTL -q --root "$initdir" add-requires initrd-root-fs.target sealroot-verify.service

    # Dracut refuses to start without root=, and takes this for it.
    inst_hook cmdline 99 "$moddir/root.sh"

    # What would mount another root, or resume, because the command line or the disk says so.
    local generator
    for generator in systemd-fstab-generator systemd-gpt-auto-generator systemd-hibernate-resume-generator; do
        mkdir -p "$initdir/etc/systemd/system-generators"
        ln -sfn /dev/null "$initdir/etc/systemd/system-generators/$generator"
    done
}
