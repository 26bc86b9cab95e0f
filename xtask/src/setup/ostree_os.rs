// SPDX-License-Identifier: MIT OR Apache-2.0
//! What test machines that run OSTree are made of: a Debian in the layout that OSTree deploys, and
//! a boot loader that reads boot entries.
//!
//! `<cache>/ostree-os` is the tree of a release: a Debian 13 with systemd, ostree and its program
//! for the initramfs, the guest kernel, an initramfs made by dracut, and systemd-boot.
//! `<cache>/grub` is GRUB 2.14, the first that has `blscfg` without patches of a distribution.

use std::path::Path;

use anyhow::{Context, Result};

use super::{apt, fill_directory, kernel, later, say};
use crate::run::{root_command, run_quietly};

pub(super) const RELEASE: &str = "trixie";
const INCLUDED: &str = "systemd,systemd-sysv,udev,dbus,kmod,zstd,e2fsprogs,ostree,ostree-boot,\
    dracut-core,systemd-boot-efi";

const GRUB_SUITE: &str = "forky";
const GRUB_PACKAGES: [&str; 2] = ["grub-efi-amd64-bin", "grub-efi-amd64-unsigned"];

/// Gives the tree `$1` the kernel of `$2`, and an initramfs with what the test machines need.
const ADD_KERNEL: &str = r#"
version=$(ls "$2/lib/modules")
modules=usr/lib/modules/$version
mkdir -p "$1/usr/lib/modules"
cp -a --no-preserve=ownership "$2/lib/modules/$version" "$1/usr/lib/modules/"
cp "$2/boot/vmlinuz-$version" "$1/$modules/vmlinuz"
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
chroot "$1" dracut --force --quiet --reproducible --zstd --kver "$version" \
    --no-hostonly --no-hostonly-cmdline \
    --modules 'dracut-systemd systemd-initrd ostree kernel-modules rootfs-block fs-lib udev-rules shutdown' \
    --drivers 'virtio_pci virtio_blk virtio_console ext4 btrfs overlay erofs loop vfat nls_ascii nls_cp437' \
    "/$modules/initramfs.img"
chmod 644 "$1/$modules/initramfs.img"
"#;

/// Brings the tree `$1` into OSTree's layout: nothing in `/var`, `/etc` as `/usr/etc`, and links
/// to `/var` for what belongs to the machine. What a small image would not have is dropped.
const LAY_OUT: &str = r#"
cd "$1"
chown 0:0 . && chmod 755 .
rm -rf boot/* dev/* run/* tmp/* var/* usr/share/doc usr/share/info usr/share/locale usr/share/man
find usr -name __pycache__ -prune -exec rm -rf {} +
rm -rf home media mnt opt root srv
mkdir -p efi media sysroot
ln -s sysroot/ostree ostree
for directory in home mnt opt srv; do ln -s "var/$directory" "$directory"; done
ln -s var/roothome root
cat > usr/lib/tmpfiles.d/ostree-os.conf <<END
d /var/cache 0755 root root -
d /var/home 0755 root root -
d /var/lib 0755 root root -
d /var/log 0755 root root -
d /var/mnt 0755 root root -
d /var/opt 0755 root root -
d /var/roothome 0700 root root -
d /var/srv 0755 root root -
d /var/tmp 1777 root root -
END
: > etc/machine-id
rm -f etc/resolv.conf etc/fstab
echo machine > etc/hostname
mv etc usr/etc
"#;

/// Makes `<cache>/ostree-os` with debootstrap.
pub(super) fn make_tree(cache: &Path) -> Result<()> {
    let directory = cache.join("ostree-os");
    if directory.exists() {
        return Ok(());
    }
    say(&format!(
        "debootstrap of a Debian for OSTree into {}",
        directory.display()
    ));
    fill_directory(&directory, |partial| {
        run_quietly(
            root_command("debootstrap")?
                .args(["--variant=minbase", &format!("--include={INCLUDED}")])
                .arg(RELEASE)
                .arg(partial)
                .arg(apt::mirror()?),
        )?;
        // In a mount namespace of its own: what is mounted is gone with it.
        run_quietly(
            root_command("unshare")?
                .args(["--mount", "sh", "-ec", ADD_KERNEL, "sh"])
                .arg(partial)
                .arg(cache.join("kernels").join(kernel::BOOTS)),
        )
        .context("making an initramfs")?;
        run_quietly(
            root_command("sh")?
                .args(["-ec", LAY_OUT, "sh"])
                .arg(partial),
        )
    })
}

/// Fetches `<cache>/grub`.
pub(super) fn fetch_grub(cache: &Path) -> Result<()> {
    let directory = cache.join("grub");
    if directory.exists() {
        return Ok(());
    }
    say(&format!("fetching GRUB of {GRUB_SUITE}"));
    fill_directory(&directory, |partial| {
        later::unpack(
            cache,
            GRUB_SUITE,
            &GRUB_PACKAGES,
            later::Which::Named,
            partial,
        )
    })
}
