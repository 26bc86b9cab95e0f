// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages on publishing, on updates, on keys and on repairs, followed word by word: a vendor's
//! directory, a server, and a device that trusts the vendor's keyset.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use sealroot_format::ErrorClass;
use sealroot_testkit::efi;
use sealroot_testkit::http_server::{Answer, HttpServer};

use crate::support::Scratch;

const PUBLISH: &str = include_str!("../../../../docs/publish.md");
const UPDATES: &str = include_str!("../../../../docs/updates.md");
const KEYS: &str = include_str!("../../../../docs/keys.md");
const REPAIR: &str = include_str!("../../../../docs/repair.md");
const DOCTOR: &str = include_str!("../../../../docs/doctor.md");

/// The address in the page.
const ADDRESS: &str = "https://updates.example.org/os";

/// Who types the commands of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Vendor,
    Device,
}

/// The commands of a page in their order; those below a heading "On a device" are typed there.
pub(crate) fn commands(page: &str, otherwise: Place) -> Vec<(Place, &str)> {
    let mut place = otherwise;
    let mut is_command = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("## ") {
            place = if line.contains("On a device") {
                Place::Device
            } else {
                otherwise
            };
        } else if line.starts_with("```") {
            is_command = line == "```sh";
        } else if is_command {
            found.push((place, line));
        }
    }
    found
}

struct Follower {
    scratch: Scratch,
    server: HttpServer,
    /// What stands in the place of words of the page.
    words: Vec<(&'static str, String)>,
}

impl Follower {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.write("tree/usr/bin/large", vec![7; 100_000]);
        scratch.write("tree/etc/hostname", "example\n");
        scratch.write("stub", efi::stub());
        scratch.write("boot", efi::BOOT_PROGRAM);
        let modules = format!("tree/usr/lib/modules/{}", efi::UNAME);
        scratch.write(&format!("{modules}/vmlinuz"), efi::linux());
        scratch.write(&format!("{modules}/modules.dep"), "");
        let built_in = ["ext4", "erofs", "overlay", "loop"];
        let built_in = built_in.map(|name| format!("kernel/{name}.ko\n")).concat();
        scratch.write(&format!("{modules}/modules.builtin"), built_in);
        scratch.write("tree/usr/lib/os-release", "ID=exampleos\n");
        fs::create_dir(scratch.path("www")).expect("made");
        let server = HttpServer::serve(&scratch.path("www"), |_| Answer::Honest);
        // On a device the store and the keyset are where they are looked for.
        let script = format!(
            "#!/bin/sh\nexec {} --store device --keyset vendor.keyset \"$@\"\n",
            env!("CARGO_BIN_EXE_sealroot")
        );
        scratch.write("device-bin/sealroot", script);
        let script = scratch.path("device-bin/sealroot");
        fs::set_permissions(script, Permissions::from_mode(0o755)).expect("set");
        Self {
            scratch,
            server: server.expect("a server"),
            words: Vec::new(),
        }
    }

    /// Types a command; what it wrote.
    fn follow(&self, place: Place, command: &str) -> String {
        let mut line = command.replace(ADDRESS, &self.server.url());
        for (word, value) in &self.words {
            line = line.replace(word, value);
        }
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_sealroot"));
        let bin = match place {
            Place::Vendor => program.parent().expect("a directory").to_owned(),
            Place::Device => self.scratch.path("device-bin"),
        };
        let ran = Command::new("sh")
            .args(["-ec", &line])
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .current_dir(self.scratch.directory.path())
            .output()
            .expect("sh starts");
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{line}: {error}");
        String::from_utf8(ran.stdout).expect("text")
    }

    /// Types a command; what it wrote. The commit of a build is what the page calls so afterwards.
    fn follow_building(&mut self, place: Place, command: &str) -> String {
        let written = self.follow(place, command);
        if command.contains(" build ") {
            let commit = written
                .strip_prefix("commit ")
                .and_then(|rest| rest.lines().next());
            let word = ["COMMIT", "NEXT"][self.words.len()];
            self.words
                .push((word, commit.expect("a commit").to_owned()));
        }
        written
    }
}

#[test]
fn the_pages_on_publishing_and_on_updates_are_followed() {
    let mut follower = Follower::new();
    let mut plans = Vec::new();
    for (place, command) in commands(PUBLISH, Place::Vendor) {
        if command.contains(" build ") && command.contains("--index 2") {
            follower.scratch.write("tree/etc/hostname", "another\n");
        }
        if command.contains("--uki os.efi") {
            let options = "--stub stub --boot-program boot --root LABEL=root --stateroot exampleos";
            let vendor = "sealroot --store store --keyset vendor.keyset";
            let build = format!("{vendor} uki build NEXT {options} -o os.efi");
            follower.follow(Place::Vendor, &build);
        }
        let written = follower.follow_building(place, command);
        if command.ends_with("--plan") {
            plans.push(written);
        }
    }
    assert!(
        plans[0].contains("pack and missing objects"),
        "{}",
        plans[0]
    );
    assert!(plans[1].contains("delta from 1 to 2"), "{}", plans[1]);

    // A device follows the second page, which has the newest release already.
    follower.words = vec![("COMMIT", follower.words[1].1.clone())];
    let page = commands(UPDATES, Place::Device);
    assert!(page.len() > 4, "it has commands");
    for (place, command) in page {
        follower.follow(place, command);
    }
}

/// THREATS A53: what the stolen key signs is not taken any more, from whomever it comes.
#[test]
fn the_page_on_keys_is_followed() {
    let mut follower = Follower::new();
    let tree = follower.scratch.path("tree/usr/lib/sealroot");
    fs::create_dir_all(tree).expect("made");
    for (place, command) in commands(KEYS, Place::Vendor) {
        follower.follow_building(place, command);
    }
    let scratch = &follower.scratch;
    scratch.write("tree/etc/hostname", "thief\n");
    let thief = "--store store --keyset vendor.keyset";
    let built = scratch.ok(&format!(
        "{thief} --json build --dir tree --os exampleos --stream stable --index 9 --epoch 9"
    ));
    let commit = built.json()["commit"].as_str().expect("one").to_owned();
    scratch.ok(&format!("{thief} sign {commit} --key release.secret"));
    // Whoever is in the way of a device has the channel's key too, and makes the channel newer.
    let publish = format!("{thief} publish --to thief --key channel.secret");
    scratch.ok(&format!("{publish} {commit}"));
    for _ in 0..3 {
        scratch.ok(&format!("{publish} --renew exampleos/-/stable/x86_64"));
    }
    let pull = "--store device --keyset vendor.keyset pull --from thief";
    scratch.refused(ErrorClass::Untrusted, pull, &["keyset"]);

    // A device that has the first keyset installed follows to the second for releases too.
    let installed = fs::read(scratch.path("vendor.keyset")).expect("a keyset");
    scratch.write("root/usr/lib/sealroot/keyset", installed);
    let device = "--sysroot root";
    scratch.ok(&format!(
        "{device} remote add vendor {} --os exampleos --stream stable",
        follower.server.url()
    ));
    scratch.ok(&format!("{device} upgrade --no-entry --mode integrity"));
    scratch.ok(&format!(
        "{device} build --dir tree --os exampleos --stream stable --index 9 --epoch 9"
    ));
    scratch.ok(&format!("{device} sign {commit} --key release.secret"));
    let deploy = format!("{device} deploy {commit} --no-entry --mode integrity");
    scratch.refused(ErrorClass::Untrusted, &deploy, &["keyset version 2"]);

    // Whoever renews the channel still by the first one would lead devices back.
    let renew = "--keyset vendor.keyset publish --renew exampleos/-/stable/x86_64 --to www --key \
                 channel.secret";
    let words = ["keyset version 2", "version 1 was given"];
    scratch.refused(ErrorClass::Usage, renew, &words);
}

#[test]
fn the_page_on_a_machine_that_may_not_boot_is_followed() {
    let follower = Follower::new();
    let scratch = &follower.scratch;
    scratch.ok("keys new vendor");
    let commit = scratch.release(1);
    let device = "--store device --keyset vendor.keyset";
    scratch.ok(&format!(
        "{device} build --dir tree --os exampleos --stream stable --index 1"
    ));
    scratch.ok(&format!("{device} sign {commit} --key vendor.secret"));
    scratch.ok(&format!("{device} deploy {commit} --mode integrity"));
    let page = commands(DOCTOR, Place::Device);
    assert!(page.len() > 1, "it has commands");
    for (place, command) in page {
        let written = follower.follow(place, command);
        assert!(written.contains("content"), "{command}: {written}");
    }
}

#[test]
fn the_page_on_damaged_files_is_followed() {
    let mut follower = Follower::new();
    let scratch = &follower.scratch;
    scratch.ok("keys new vendor");
    let commit = scratch.release(1);
    let vendor = "--store store --keyset vendor.keyset";
    scratch.ok(&format!(
        "{vendor} publish {commit} --to www --key vendor.secret"
    ));
    let device = "--store device --keyset vendor.keyset";
    let add = format!(
        "remote add vendor {} --os exampleos --stream stable",
        follower.server.url()
    );
    scratch.ok(&format!("{device} {add}"));
    scratch.ok(&format!("{device} pull"));
    scratch.ok(&format!("{device} deploy {commit} --mode integrity"));
    follower.words = vec![("COMMIT", commit)];
    let page = commands(REPAIR, Place::Device);
    assert!(page.len() > 4, "it has commands");
    let objects = follower.scratch.listing("device/objects");
    let (object, _) = objects.iter().find(|(_, len)| *len > 0).expect("an object");
    let object = follower.scratch.path(object.to_str().expect("plain"));
    for (place, command) in page {
        let is_repair = !command.contains("--dry-run");
        if is_repair {
            fs::remove_file(&object).expect("removed");
        }
        let written = follower.follow(place, command);
        assert_eq!(
            written.contains("REPAIRED"),
            is_repair,
            "{command}: {written}"
        );
        assert!(object.exists(), "{command}");
    }
}
