// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests in virtual machines: `cargo xtask vm`.

#![forbid(unsafe_code)]

mod vm {
    mod adopt;
    mod attacks;
    mod debian;
    mod dracut;
    mod entries;
    mod etc;
    mod etc_allowlist;
    mod firmware;
    mod floor;
    mod foreign;
    mod initramfs_tools;
    mod keyring;
    mod late_failure;
    mod life;
    mod mkinitcpio;
    mod ostree_machine;
    mod page;
    mod power;
    mod race;
    mod repair;
    mod repair_image;
    mod sealed_life;
    mod shared;
    mod stolen_key;
    mod store;
    mod test_os;
    mod verity;
    mod worker;
}
