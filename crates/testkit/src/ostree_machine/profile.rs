// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kinds of machines: where they keep their kernels, and on what filesystem the rest.

use crate::disk::Filesystem;

/// What a machine's disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// ext4 with `/boot` in it, started by GRUB.
    Ext4,
    /// btrfs with `/boot` in it, started by GRUB.
    Btrfs,
    /// ext4, and a partition for `/boot`, started by GRUB.
    SeparateBoot,
    /// ext4, and a FAT partition with kernels and entries for systemd-boot. OSTree cannot write
    /// there (it needs symlinks): who runs it so copies what it has written to `/boot`.
    SystemdBoot,
    /// ext4 with a repository of the mode `bare-user`, started by GRUB.
    BareUser,
}

/// What GRUB is told.
pub(super) struct GrubConfigs {
    /// Beside its program.
    pub(super) first: String,
    /// In `/boot/grub`.
    pub(super) main: String,
}

impl Profile {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Ext4,
        Self::Btrfs,
        Self::SeparateBoot,
        Self::SystemdBoot,
        Self::BareUser,
    ];

    pub(super) const fn root_filesystem(self) -> Filesystem {
        match self {
            Self::Btrfs => Filesystem::Btrfs,
            Self::Ext4 | Self::SeparateBoot | Self::SystemdBoot | Self::BareUser => {
                Filesystem::Ext4Verity
            }
        }
    }

    pub(super) const fn repository_mode(self) -> &'static str {
        match self {
            Self::BareUser => "bare-user",
            Self::Ext4 | Self::Btrfs | Self::SeparateBoot | Self::SystemdBoot => "bare",
        }
    }

    /// Whether the paths in boot entries begin with `/boot`.
    pub(super) const fn has_boot_prefix(self) -> bool {
        match self {
            Self::Ext4 | Self::Btrfs | Self::BareUser => true,
            Self::SeparateBoot | Self::SystemdBoot => false,
        }
    }

    /// What mounts the partitions beside the root, which the kernel command line names.
    pub(super) const fn fstab(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Btrfs | Self::BareUser => "",
            Self::SeparateBoot => "LABEL=boot /boot ext4 defaults 0 2\n",
            Self::SystemdBoot => "LABEL=ESP /efi vfat umask=0077 0 2\n",
        }
    }

    /// The configurations of GRUB, as Debian installs it: one beside its program, which finds the
    /// other in `/boot/grub`. None where it is not the boot loader.
    pub(super) fn grub_configs(self) -> Option<GrubConfigs> {
        let (label, boot) = match self {
            Self::Ext4 | Self::Btrfs | Self::BareUser => ("root", "/boot"),
            Self::SeparateBoot => ("boot", ""),
            Self::SystemdBoot => return None,
        };
        Some(GrubConfigs {
            first: format!(
                "search --no-floppy --label {label} --set=root\n\
                 set prefix=($root){boot}/grub\n\
                 configfile $prefix/grub.cfg\n"
            ),
            main: format!(
                "serial --unit=0 --speed=115200\n\
                 terminal_output serial\n\
                 insmod blsuki\n\
                 blscfg --path {boot}/loader/entries\n\
                 set timeout=0\n"
            ),
        })
    }
}
