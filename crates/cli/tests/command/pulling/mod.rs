// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pull` where it cannot go on: killed at any moment, on a disk of any size.

mod full;
mod killed;

use std::fs;
use std::path::{Path, PathBuf};

use sealroot_testkit::content::{Numbers, bytes};
use sealroot_testkit::efi;

use crate::support::{STORE, Scratch};

/// The options of a command that looks at the device's store.
const DEVICE: &str = "--store disk/device --keyset vendor.keyset";

/// A boot partition and records of their own, for `prune`.
const BOOT: &str = "--boot boot --boot-loader systemd-boot --run run";

/// How large a release is.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Objects of 5 to 25 KB.
    small_objects: u64,
    /// Objects of 1.5 MB, in which one byte changes from release to release.
    large_objects: u64,
    /// Objects that come with the second release, an eighth of which does not compress.
    new_objects: u64,
    new_bytes: usize,
}

/// The way that a release comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To a device that has nothing.
    Bundle,
    /// To a device that has the first release.
    Delta,
    /// The same, and its image.
    Image,
}

impl Way {
    const ALL: [Self; 3] = [Self::Bundle, Self::Delta, Self::Image];

    /// How it is asked for.
    fn pull(self) -> &'static str {
        match self {
            Self::Bundle | Self::Delta => "pull",
            Self::Image => "pull --image default",
        }
    }

    /// The store of a device to begin with.
    fn template(self) -> &'static str {
        match self {
            Self::Bundle => "new-device",
            Self::Delta | Self::Image => "old-device",
        }
    }

    fn template_options(self) -> String {
        format!("--store {} --keyset vendor.keyset", self.template())
    }
}

/// A vendor who has published two releases, and devices that follow.
struct Place {
    scratch: Scratch,
}

impl Place {
    fn new(shape: Shape, parent: &Path) -> Self {
        let place = Self {
            scratch: Scratch::new_in(parent),
        };
        let scratch = &place.scratch;
        scratch.ok("keys new vendor");
        for directory in ["boot", "run", "disk"] {
            fs::create_dir(scratch.path(directory)).expect("a directory");
        }
        write_parts(scratch);
        shape.write_first(scratch);
        place.publish(1, "");
        let add = "remote add vendor www --os exampleos --stream stable";
        for way in [Way::Bundle, Way::Delta] {
            scratch.ok(&format!("{} {add}", way.template_options()));
        }
        scratch.ok(&format!("{} pull", Way::Delta.template_options()));
        shape.write_second(scratch);
        place.publish(2, "--uki os.efi");
        place
    }

    fn publish(&self, index: u64, options: &str) {
        let scratch = &self.scratch;
        let commit = scratch.build(&format!("--index {index}"));
        scratch.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
        let build =
            "--stub stub --boot-program program --root LABEL=root --stateroot exampleos -o os.efi";
        scratch.ok(&format!("{STORE} uki build {commit} {build}"));
        let publish = format!("{STORE} publish {commit} --to www --key vendor.secret --level 1");
        scratch.ok(&format!("{publish} {options}"));
    }

    /// Makes the device as it is before the release comes.
    fn begin(&self, way: Way) {
        let device = self.scratch.path("disk/device");
        if device.exists() {
            fs::remove_dir_all(&device).expect("removed");
        }
        let copy = format!("--archive {} disk/device", way.template());
        let copied = self.scratch.command_of("cp", &copy).status();
        assert!(copied.expect("cp starts").success());
    }

    /// That nothing of the device's store is damaged.
    fn assert_sound(&self, about: &dyn std::fmt::Display) {
        let ran = self.scratch.run(&format!("{DEVICE} check --full"));
        assert_eq!(ran.code, 0, "{about}: {}{}", ran.text(), ran.err);
    }

    /// That a pull has left nothing behind.
    fn assert_tidy(&self, about: &dyn std::fmt::Display) {
        let listing = self.scratch.listing("disk/device");
        let left = listing.iter().find(|(path, _)| {
            path.extension().is_some_and(|ending| ending == "part")
                || path.parent().is_some_and(|parent| parent.ends_with("tmp"))
        });
        assert_eq!(left, None, "{about}");
    }

    /// All that the device's store has when what nothing uses was collected.
    fn pruned_listing(&self) -> Vec<(PathBuf, u64)> {
        for _ in 0..2 {
            self.scratch.ok(&format!("{DEVICE} prune {BOOT}"));
        }
        self.scratch.listing("disk/device")
    }
}

impl Shape {
    fn write_first(self, scratch: &Scratch) {
        let mut sizes = Numbers::new(1);
        for number in 0..self.small_objects {
            let len = 5000 + usize::try_from(sizes.below(20_000)).expect("small");
            let path = format!("tree/usr/lib/{}/small{number}", number % 7);
            scratch.write(&path, bytes(1000 + number, len));
            scratch.write(&format!("tree/etc/{number}"), number.to_string());
        }
        for number in 0..self.large_objects {
            scratch.write(&large(number), bytes(number, 1_500_000));
        }
    }

    fn write_second(self, scratch: &Scratch) {
        for number in 0..self.large_objects {
            let mut content = bytes(number, 1_500_000);
            content[700_000] ^= 1;
            scratch.write(&large(number), content);
        }
        for number in 0..self.new_objects {
            let random = bytes(500 + number, self.new_bytes / 8);
            let content = [random, vec![b'.'; self.new_bytes / 8 * 7]].concat();
            scratch.write(&format!("tree/usr/share/new{number}"), content);
        }
        scratch.write("tree/etc/0", "changed\n");
    }
}

/// What images are made of: most of one is the boot program, which the release does not have.
fn write_parts(scratch: &Scratch) {
    scratch.write("stub", efi::stub());
    scratch.write("program", [efi::BOOT_PROGRAM, &bytes(70, 900_000)].concat());
    let modules = format!("tree/usr/lib/modules/{}", efi::UNAME);
    scratch.write(&format!("{modules}/vmlinuz"), efi::linux());
    scratch.write(&format!("{modules}/modules.dep"), "");
    scratch.write(
        &format!("{modules}/modules.builtin"),
        ["ext4", "erofs", "overlay", "loop"]
            .map(|name| format!("kernel/{name}.ko\n"))
            .concat(),
    );
    scratch.write("tree/usr/lib/os-release", "ID=exampleos\n");
}

fn large(number: u64) -> String {
    format!("tree/usr/bin/large{number}")
}
