// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding the boot loader and the partition it reads.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sealroot::entry::{Boot, EntryError, Loader, Places};
use sealroot_format::ErrorClass;
use tempfile::TempDir;

use crate::support::{Wanted, all};

/// Paths and contents.
type Sources<'s> = &'s [(&'s str, &'s str)];

/// A sysroot with these files.
fn sysroot(files: Sources<'_>) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().expect("not the root")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    directory
}

fn find(sysroot: &Path) -> Result<Boot, EntryError> {
    Boot::find(&Places::of(sysroot))
}

const MENU: &str = "set default=0\nif true; then\n  insmod blscfg\n  blscfg\nfi\n";

#[test]
fn each_loader_is_found_where_it_is() {
    let cases: [(Sources<'_>, Loader, &str); 7] = [
        (
            &[("efi/EFI/systemd/systemd-bootx64.efi", "")],
            Loader::SystemdBoot,
            "efi",
        ),
        (
            &[("boot/efi/EFI/systemd/SYSTEMD-BOOTAA64.EFI", "")],
            Loader::SystemdBoot,
            "boot/efi",
        ),
        (
            &[("boot/loader/loader.conf", "timeout 1\n")],
            Loader::SystemdBoot,
            "boot",
        ),
        (&[("boot/grub2/grub.cfg", MENU)], Loader::GrubFedora, "boot"),
        (
            &[(
                "boot/grub/grub.cfg",
                "insmod blsuki; blscfg --path (hd0)/\n",
            )],
            Loader::GrubFedora,
            "boot",
        ),
        (
            &[
                ("boot/grub/grub.cfg", MENU),
                ("boot/grub/x86_64-efi/blsuki.mod", ""),
            ],
            Loader::Grub,
            "boot",
        ),
        (
            &[
                ("boot/grub2/grub.cfg", MENU),
                ("boot/efi/EFI/fedora/grubx64.efi", ""),
            ],
            Loader::GrubFedora,
            "boot",
        ),
    ];
    for (files, loader, place) in cases {
        let sysroot = sysroot(files);
        let boot = find(sysroot.path()).unwrap_or_else(|error| panic!("{files:?}: {error}"));
        assert_eq!(boot.loader(), loader, "{files:?}");
        assert_eq!(boot.location(), sysroot.path().join(place), "{files:?}");
    }
}

// Rules: L1
#[test]
fn what_reads_no_entries_is_refused_with_advice() {
    let plain = "menuentry 'Debian' {\n  linux /vmlinuz\n  # blscfg\n  echo blscfg\n}\n";
    let with_grub = sysroot(&[("boot/grub/grub.cfg", plain)]);
    let error = find(with_grub.path()).expect_err("it reads none");
    assert!(
        matches!(error, EntryError::UnsupportedLoader { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("use systemd-boot, or GRUB 2.14"),
        "{error}"
    );
    assert_eq!(error.class(), ErrorClass::Unsupported);

    let empty = sysroot(&[("boot/vmlinuz", "")]);
    let error = find(empty.path()).expect_err("there is none");
    assert!(matches!(error, EntryError::NoBootLoader { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::NotFound);
}

// Rules: L2
#[test]
fn two_loaders_are_told_apart_by_what_the_firmware_says() {
    let sysroot = sysroot(&[
        ("efi/EFI/systemd/systemd-bootx64.efi", ""),
        ("boot/grub2/grub.cfg", MENU),
    ]);
    let error = find(sysroot.path()).expect_err("either may start");
    let text = error.to_string();
    assert!(
        text.contains("systemd-boot in ") && text.contains("GRUB in "),
        "{text}"
    );

    let variables = sysroot.path().join("variables");
    fs::create_dir(&variables).expect("a directory");
    for (name, loader) in [
        ("systemd-boot 257", Loader::SystemdBoot),
        ("GRUB 2.14", Loader::GrubFedora),
    ] {
        let mut content = vec![6, 0, 0, 0];
        content.extend(name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        let variable = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
        fs::write(variables.join(variable), content).expect("a file");
        let places = Places {
            efi_variables: Some(variables.clone()),
            ..Places::of(sysroot.path())
        };
        assert_eq!(Boot::find(&places).expect("found").loader(), loader);
    }
}

#[test]
fn of_this_machine_the_mounted_partitions_are_looked_at() {
    for sysroot in ["/", "/sysroot"] {
        let places = Places::of(Path::new(sysroot));
        let expected = ["/efi", "/boot/efi", "/boot", "/sysroot/boot"].map(PathBuf::from);
        assert_eq!(places.directories, expected);
        assert!(places.efi_variables.is_some());
    }
}

// Rules: L4
/// GRUB finds files by their path on the filesystem: `/boot` is a directory of it here.
#[test]
fn paths_for_grub_begin_where_its_filesystem_does() {
    let sysroot = sysroot(&[("boot/grub2/grub.cfg", MENU)]);
    let boot = find(sysroot.path()).expect("found");
    Wanted::of(1).add(&boot, &all).expect("added");
    let path = sysroot
        .path()
        .join("boot/loader/entries/sealroot-00000001-010101010101.0.conf");
    let text = fs::read_to_string(path).expect("the entry");
    let linux = text
        .lines()
        .find_map(|line| line.strip_prefix("linux "))
        .expect("a kernel");
    assert!(
        linux.starts_with('/') && linux.contains("/boot/sealroot/"),
        "{linux}"
    );
    // The directory is somewhere below the mount point of its filesystem.
    let whole = sysroot.path().join("boot/sealroot");
    let below = linux.split("/sealroot/").next().expect("a directory");
    assert!(whole.to_str().expect("text").contains(below), "{linux}");
    assert_eq!(boot.entries().expect("read").ours().count(), 1);
}

// Rules: L3
/// OSTree's `loader` is a link to one of two directories; a link elsewhere is not followed.
#[test]
fn only_ostrees_own_link_is_followed() {
    let sysroot = sysroot(&[
        ("boot/grub2/grub.cfg", MENU),
        (
            "boot/loader.1/entries/ostree-1.conf",
            "title OSTree\nlinux /ostree/k\n",
        ),
        ("elsewhere/entries/x.conf", "linux /k\n"),
    ]);
    let link = sysroot.path().join("boot/loader");
    symlink("loader.1", &link).expect("a link");
    let boot = find(sysroot.path()).expect("found");
    Wanted::of(1).add(&boot, &all).expect("added");
    assert_eq!(boot.entries().expect("read").in_boot_order().len(), 2);
    assert_eq!(
        fs::read_dir(sysroot.path().join("boot/loader.1/entries"))
            .expect("read")
            .count(),
        2
    );

    fs::remove_file(&link).expect("removed");
    symlink("../elsewhere", &link).expect("a link");
    let error = boot.entries().expect_err("it leads out");
    assert!(matches!(error, EntryError::NotRegular { .. }), "{error}");
}
