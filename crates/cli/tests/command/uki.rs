// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images from a release in a store to a signature.

use std::fs;

use sealroot::initramfs::REPAIR_TOOL_MARK;
use sealroot_format::ErrorClass;
use sealroot_testkit::efi::{self, UNAME};

use crate::support::{STORE, Scratch, finished};

pub(crate) const OPTIONS: &str =
    "--stub stub --boot-program boot --root LABEL=root --stateroot exampleos";

/// A store with a release that has a kernel, what an image takes besides, and a key; the commit.
pub(crate) fn scratch() -> Option<(Scratch, String)> {
    let scratch = Scratch::new();
    efi::key_and_certificate(scratch.directory.path(), "db", &["rsa:2048"])?;
    let commit = with_parts(&scratch);
    Some((scratch, commit))
}

/// A signed release that has a kernel, and what an image of it takes besides; the commit.
pub(crate) fn with_parts(scratch: &Scratch) -> String {
    scratch.write("stub", efi::stub());
    scratch.write("boot", efi::BOOT_PROGRAM);
    let modules = format!("tree/usr/lib/modules/{UNAME}");
    scratch.write(&format!("{modules}/vmlinuz"), efi::linux());
    let names = ["ext4", "erofs", "overlay", "loop"];
    let list = names.map(|name| format!("{name}.ko:\n")).concat();
    scratch.write(&format!("{modules}/modules.dep"), list);
    scratch.write(&format!("{modules}/modules.builtin"), "");
    for name in names {
        scratch.write(&format!("{modules}/{name}.ko"), name);
    }
    scratch.write("tree/usr/lib/os-release", "ID=exampleos\n");
    scratch.built();
    scratch.release(1)
}

#[test]
fn from_a_release_to_a_signed_image() {
    let Some((scratch, commit)) = scratch() else {
        return;
    };
    let build = format!("{STORE} uki build {commit} {OPTIONS} --cmdline console=ttyS0");
    let shown = scratch.ok(&format!("{build} -o os.efi")).text();
    for words in [
        &*format!("release {commit}, 4 modules in the initramfs\nos.efi: "),
        "\nNOT SIGNED\n",
        "\ncommand line: console=ttyS0 lockdown=integrity module.sig_enforce=1 noresume \
         systemd.import_credentials=no --\n",
        "\n  mode sealed\n",
        "\n  allow-insecure-boot no\n",
        "\n  ID=exampleos\n",
        "\n  sealroot.exampleos,1,exampleos,",
        &format!("\nkernel {UNAME}\n"),
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }
    assert!(!shown.contains("NOT SEALED"), "{shown}");
    scratch.ok(&format!("{build} -o again.efi"));
    let image = fs::read(scratch.path("os.efi")).expect("an image");
    assert!(fs::read(scratch.path("again.efi")).expect("an image") == image);

    let by_key = "--key db.key --certificate db.pem";
    let signed = scratch
        .ok(&format!("uki sign os.efi -o later.efi {by_key}"))
        .text();
    assert!(
        signed.contains("\nsigned by CN=db,O=sealroot tests, certificate "),
        "{signed}"
    );
    scratch.ok(&format!("{build} -o os.signed.efi {by_key}"));
    let signed = fs::read(scratch.path("os.signed.efi")).expect("an image");
    assert!(fs::read(scratch.path("later.efi")).expect("an image") == signed);
    if let Some(verdict) = efi::sbverify(&signed, &scratch.path("db.pem")) {
        verdict.expect("it is signed");
    }
    scratch.write(
        "sign",
        "#!/bin/sh\nexec openssl dgst -sha256 -sign db.key\n",
    );
    let by_command = "--certificate db.pem --signer";
    let mut command = scratch.command(&format!("uki sign os.efi -o hsm.efi {by_command}"));
    assert!(
        command
            .arg("sh sign")
            .status()
            .expect("it starts")
            .success()
    );
    assert!(fs::read(scratch.path("hsm.efi")).expect("an image") == signed);

    let show = scratch.ok("--json uki show os.signed.efi").json();
    assert_eq!(show["signatures"][0]["subject"], "CN=db,O=sealroot tests");
    assert_eq!(show["signatures"][0]["fault"], serde_json::Value::Null);
    assert_eq!(show["sections"].as_array().expect("sections").len(), 9);
    assert!(
        show["pack"].is_string() && show["unsealed"].is_null(),
        "{show}"
    );
}

#[test]
fn the_keyset_decides_where_that_is_chosen() {
    let Some((scratch, commit)) = scratch() else {
        return;
    };
    let build = format!(
        "{STORE} --json uki build {} {OPTIONS} -o os.efi",
        &commit[..8]
    );
    for (option, pinned, serial) in [
        ("", true, None),
        ("--serial 3", true, Some(3)),
        ("--by-keyset", false, Some(0)),
        ("--by-keyset --serial 1", false, Some(1)),
    ] {
        let image = scratch.ok(&format!("{build} {option}")).json();
        assert_eq!(image["pack"].is_string(), pinned, "{option}");
        let line = image["cmdline"].as_str().expect("a command line");
        let named = serial.map(|serial| format!(" sealroot={commit}.{serial} --"));
        match named {
            Some(named) => assert!(line.ends_with(&named), "{option}: {line}"),
            None => assert!(!line.contains("sealroot"), "{option}: {line}"),
        }
        let policy = image["policy"].as_str().expect("a policy");
        assert!(
            policy.contains("\nrelease-index 1\nrelease-epoch 0\n"),
            "{policy}"
        );
        assert!(
            policy.ends_with(&format!("cmdline {line}\n")),
            "{option}: {policy}"
        );
    }
}

#[test]
fn what_no_image_may_be_is_refused_and_nothing_written() {
    let Some((scratch, commit)) = scratch() else {
        return;
    };
    let build = format!("{STORE} uki build {commit} {OPTIONS} -o os.efi");
    let by_key = "--key db.key --certificate db.pem";
    scratch.write("elsewhere/6.1.0/modules.dep", "");
    for (class, options, words) in [
        (
            ErrorClass::Usage,
            "--cmdline init=/bin/sh",
            "kernel parameter init=/bin/sh: another program",
        ),
        (
            ErrorClass::Usage,
            "--cmdline lockdown=none",
            "expected lockdown=integrity or",
        ),
        (
            ErrorClass::Usage,
            "--cmdline sealroot=x",
            "is an option of its own",
        ),
        (
            ErrorClass::Usage,
            "--certificate db.pem",
            "a certificate does not sign",
        ),
        (
            ErrorClass::Usage,
            "--key db.key --certificate db.key",
            "expected one certificate in PEM",
        ),
        (
            ErrorClass::Usage,
            "--etc merge",
            "these options make no policy",
        ),
        (
            ErrorClass::Usage,
            &format!("--mode verity {by_key}"),
            "its policy has mode verity",
        ),
        (
            ErrorClass::Usage,
            &format!("--allow-insecure-boot {by_key}"),
            "its policy has allow-insecure-boot yes",
        ),
        (
            ErrorClass::NotFound,
            "--stub none",
            "there is no EFI stub none",
        ),
        (
            ErrorClass::Corrupt,
            "--stub boot",
            "stub: the file: expected an EFI application",
        ),
        (ErrorClass::NotFound, "--os-release none", "none"),
        (
            ErrorClass::Usage,
            "--linux stub --modules elsewhere/6.1.0 --serial x",
            "invalid value",
        ),
    ] {
        let line = build.replace(
            "--stub stub",
            if options.contains("--stub") {
                ""
            } else {
                "--stub stub"
            },
        );
        scratch.refused(class, &format!("{line} {options}"), &[words]);
        assert!(!scratch.path("os.efi").exists(), "{options}");
    }
    scratch.ok(&format!("{build} --mode verity {by_key} --sign-unsealed"));
    let shown = scratch.ok("uki show os.efi").text();
    assert!(
        shown.contains("\nNOT SEALED: the policy has mode verity\n"),
        "{shown}"
    );
    for other in ["stub", "db.pem", "tree/usr/lib/os-release"] {
        let line = format!("uki sign {other} -o out {by_key}");
        scratch.refused(ErrorClass::Corrupt, &line, &["unified kernel image: "]);
    }
    scratch.refused(
        ErrorClass::Usage,
        "uki sign os.efi -o out",
        &["name a private key"],
    );
    let again = format!("uki sign os.efi -o out --sign-unsealed {by_key}");
    scratch.refused(ErrorClass::Usage, &again, &["signed already", "hint: "]);
}

#[test]
fn parts_may_come_from_elsewhere() {
    let Some((scratch, _)) = scratch() else {
        return;
    };
    let from = scratch.path(&format!("tree/usr/lib/modules/{UNAME}"));
    fs::rename(from, scratch.path(UNAME)).expect("moved");
    fs::remove_file(scratch.path("tree/usr/lib/os-release")).expect("removed");
    let commit = scratch.release(2);
    let build = format!("{STORE} uki build {commit} {OPTIONS} -o os.efi");
    let kernel = format!("--linux {UNAME}/vmlinuz --modules {UNAME}");
    scratch.refused(ErrorClass::NotFound, &build, &["vmlinuz"]);
    let words = [
        "the release has no /usr/lib/os-release and no /etc/os-release",
        "--os-release",
    ];
    scratch.refused(ErrorClass::NotFound, &format!("{build} {kernel}"), &words);
    scratch.write("description", "ID=other\n");
    let image = scratch
        .ok(&format!("{build} {kernel} --os-release description"))
        .text();
    assert!(image.contains("\n  ID=other\n"), "{image}");
    fs::rename(scratch.path(UNAME), scratch.path("6.0.0")).expect("moved");
    let other = kernel.replace(UNAME, "6.0.0");
    let words = ["the kernel's release: expected 6.0.0, found 6.12.1-test"];
    let line = format!("{build} {other} --os-release description");
    scratch.refused(ErrorClass::Corrupt, &line, &words);
}

/// A boot partition and records of their own.
const BOOT: &str = "--boot esp --boot-loader systemd-boot --run run";

#[test]
fn an_image_becomes_what_boots() {
    let Some((scratch, commit)) = scratch() else {
        return;
    };
    fs::create_dir_all(scratch.path("esp")).expect("made");
    let build = |commit: &str, more: &str, file: &str| {
        scratch.ok(&format!(
            "{STORE} uki build {commit} {OPTIONS} {more} -o {file}"
        ));
    };
    build(&commit, "--mode integrity", "os.efi");
    let deploy = format!("{STORE} deploy {commit} {BOOT} --uki");
    let deployed = scratch.ok(&format!("{deploy} os.efi --tries 3"));
    for words in [
        &*format!("{commit}.0 boots next: "),
        "a unified kernel image",
    ] {
        assert!(deployed.text().contains(words), "{}", deployed.text());
    }
    let name = format!("sealroot-00000001-{}.0+3.conf", &commit[..12]);
    let entry = scratch.path(&format!("esp/loader/entries/{name}"));
    let entry = fs::read_to_string(entry).expect("an entry");
    assert!(
        entry.contains(&format!("\n# sealroot={commit}.0\nefi /sealroot/")),
        "{entry}"
    );
    let image = entry.lines().find_map(|line| line.strip_prefix("efi /"));
    let image = scratch.path("esp").join(image.expect("an image"));
    let right = fs::read(scratch.path("os.efi")).expect("read");
    assert!(fs::read(&image).expect("read") == right);
    let status = scratch.ok(&format!("{STORE} --json status {BOOT}")).json();
    assert_eq!(status["deployments"][0]["states"][0], "default", "{status}");

    // Its arguments are inside, and signed with it.
    let words = ["its kernel arguments are signed with it"];
    scratch.refused(ErrorClass::Usage, &format!("{STORE} kargs {BOOT}"), &words);
    scratch.refused(
        ErrorClass::Usage,
        &format!("{STORE} kargs --append quiet {BOOT}"),
        &words,
    );
    scratch.refused(
        ErrorClass::Usage,
        &format!("{deploy} os.efi --karg quiet"),
        &["cannot be used with"],
    );
    // What would not boot does not become the default.
    build(&commit, "", "sealed.efi");
    build(&commit, "--mode integrity --serial 7", "named.efi");
    scratch.write("tree/etc/more", "more");
    let other = scratch.release(2);
    build(&other, "--mode integrity", "other.efi");
    let grub = BOOT.replace("systemd-boot", "grub");
    for (class, command, words) in [
        (
            ErrorClass::Untrusted,
            format!("{deploy} other.efi"),
            "the image is for another release",
        ),
        (
            ErrorClass::Usage,
            format!("{deploy} named.efi"),
            "boots the deployment",
        ),
        (
            ErrorClass::Unsupported,
            format!("{deploy} sealed.efi"),
            "fs-verity",
        ),
        (
            ErrorClass::Corrupt,
            format!("{deploy} stub"),
            "unified kernel image: ",
        ),
        (
            ErrorClass::Unsupported,
            format!("{STORE} deploy {commit} {grub} --uki os.efi"),
            "starts no unified kernel image",
        ),
    ] {
        scratch.refused(class, &command, &[words]);
        let now = fs::read(&image).expect("read");
        assert!(now == right, "{command}");
    }
}

#[test]
fn an_image_for_repairs_boots_no_release() {
    let Some((scratch, commit)) = scratch() else {
        return;
    };
    fs::create_dir_all(scratch.path("esp")).expect("made");
    let build = format!("{STORE} uki build {commit} {OPTIONS} --repair");
    // This program needs a dynamic loader, and `boot` is another.
    for (tool, words) in [
        ("", "found one that needs a dynamic loader"),
        ("--repair-tool boot", "found another program"),
    ] {
        let line = format!("{build} -o repair.efi {tool}");
        scratch.refused(ErrorClass::Usage, &line, &[words, "hint: "]);
    }
    let mark = REPAIR_TOOL_MARK.as_bytes();
    scratch.write("tool", [efi::BOOT_PROGRAM, mark].concat());
    scratch.ok(&format!("{build} -o repair.efi --repair-tool tool"));
    let shown = scratch.ok("uki show repair.efi").text();
    assert!(
        shown.contains("\nREPAIRS the store, boots nothing\n"),
        "{shown}"
    );
    let shown = scratch.ok("--json uki show repair.efi").json();
    assert_eq!(shown["repairs"], true, "{shown}");

    let publish = format!("{STORE} publish {commit} --to www --key vendor.secret --level 1");
    for line in [
        format!("{STORE} deploy {commit} {BOOT} --uki repair.efi"),
        format!("{publish} --uki repair.efi"),
    ] {
        let words = [
            "the image repairs the store, and boots no release",
            "hint: ",
        ];
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    let install = format!("{STORE} --json uki install");
    for is_changed in [true, false] {
        let installed = scratch.ok(&format!("{install} repair.efi {BOOT}")).json();
        assert_eq!(installed["path"], "EFI/Linux/sealroot-repair.efi");
        assert_eq!(installed["is_changed"], is_changed, "{installed}");
    }
    let image = fs::read(scratch.path("repair.efi")).expect("an image");
    let installed = fs::read(scratch.path("esp/EFI/Linux/sealroot-repair.efi"));
    assert!(installed.expect("it is there") == image);
    scratch.ok(&format!("{STORE} uki build {commit} {OPTIONS} -o os.efi"));
    scratch.refused(
        ErrorClass::Usage,
        &format!("{install} os.efi {BOOT}").replace(" --json", ""),
        &["os.efi boots a release", "hint: `deploy --uki` installs it"],
    );
}

#[test]
fn certificates_for_fs_verity_are_shown() {
    let Some((scratch, commit)) = scratch() else {
        return;
    };
    let build = format!("{STORE} --json uki build {commit} {OPTIONS} --mode integrity");
    let without = scratch.ok(&format!("{build} -o without.efi")).json();
    assert_eq!(without["verity_certificates"], serde_json::json!([]));
    scratch.ok(&format!("{build} -o os.efi --verity-certificate db.pem"));
    let shown = scratch.ok("uki show os.efi").text();
    let line = "\ncertificate for fs-verity: CN=db,O=sealroot tests, sha256 ";
    let (_, fingerprint) = shown.split_once(line).expect("a certificate");
    let shown = scratch.ok("--json uki show os.efi").json();
    let certificate = &shown["verity_certificates"][0];
    let told = certificate["fingerprint"].as_str().expect("text");
    assert!(fingerprint.starts_with(told), "{fingerprint}");
    let by_openssl = scratch
        .command_of("openssl", "x509 -in db.pem -noout -fingerprint -sha256")
        .output();
    let by_openssl = finished(by_openssl.expect("openssl starts")).text();
    assert!(
        by_openssl.to_lowercase().replace(':', "").contains(told),
        "{by_openssl}"
    );

    fs::create_dir_all(scratch.path("esp")).expect("made");
    scratch.ok(&format!("{STORE} deploy {commit} {BOOT} --uki os.efi"));
    let line = format!("doctor {BOOT}");
    let examined = scratch.run(&format!("{STORE} {line}")).text();
    let words = format!(".conf: certificate for fs-verity: CN=db,O=sealroot tests, sha256 {told}");
    assert!(examined.contains(&words), "{examined}");
    let examined = scratch.run(&format!("{STORE} --json {line}")).json();
    assert_eq!(
        examined["entries"][0]["verity_certificates"][0],
        *certificate
    );
}

/// A device's store, and the boot partition and records above.
const DEVICE: &str = "--store device --keyset vendor.keyset";

/// A device that is started by the image of release 1, whose vendor has published it; the images' builder.
fn started_by_image() -> Option<(Scratch, String)> {
    let (scratch, commit) = scratch()?;
    for directory in ["esp", "run"] {
        fs::create_dir_all(scratch.path(directory)).expect("made");
    }
    scratch.publish_with_image(&commit);
    let add = "remote add vendor www --os exampleos --stream stable";
    scratch.ok(&format!("{DEVICE} {add}"));
    let pulled = scratch
        .ok(&format!("{DEVICE} --json pull --image default"))
        .json();
    let path = pulled["image"]["path"].as_str().expect("a path").to_owned();
    scratch.ok(&format!("{DEVICE} deploy {commit} {BOOT} --uki {path}"));
    Some((scratch, commit))
}

impl Scratch {
    /// Publishes a release with its image, which is `os.efi` then.
    fn publish_with_image(&self, commit: &str) {
        self.ok(&format!(
            "{STORE} uki build {commit} {OPTIONS} --mode integrity -o os.efi"
        ));
        self.ok(&format!(
            "{STORE} publish {commit} --to www --key vendor.secret --level 1 --uki os.efi"
        ));
    }

    /// Variables of a firmware that verifies images, or could.
    fn secure_boot(&self, is_on: bool) {
        for (name, value) in [("SecureBoot", u8::from(is_on)), ("SetupMode", 0)] {
            let name = format!("variables/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c");
            self.write(&name, [6, 0, 0, 0, value]);
        }
    }

    /// The image that the newest boot entry starts.
    fn newest_image(&self) -> Vec<u8> {
        let entries = self.listing("esp/loader/entries");
        let (newest, _) = entries.last().expect("an entry");
        let entry = fs::read_to_string(self.path(newest.to_str().expect("a path")));
        let entry = entry.expect("an entry");
        let image = entry.lines().find_map(|line| line.strip_prefix("efi /"));
        let image = image.unwrap_or_else(|| panic!("no image: {entry}"));
        fs::read(self.path("esp").join(image)).expect("an image")
    }
}

#[test]
fn a_machine_that_an_image_starts_is_upgraded_with_the_next_one() {
    let Some((scratch, first)) = started_by_image() else {
        return;
    };
    scratch.write("tree/etc/more", "more");
    let second = scratch.release(2);
    scratch.publish_with_image(&second);
    let plan = scratch.ok(&format!("{DEVICE} pull --plan {BOOT}")).text();
    assert!(plan.contains("  image default, made of "), "{plan}");
    let upgrade = format!("upgrade {BOOT} --efivarfs variables");
    // Nobody else vouches for what a channel names.
    let words = ["Secure Boot is not on", "hint: turn Secure Boot on"];
    let refused = || {
        let line = format!("{DEVICE} {upgrade}");
        scratch.refused(ErrorClass::Untrusted, &line, &words);
    };
    refused();
    scratch.secure_boot(false);
    refused();
    scratch.secure_boot(true);
    let upgraded = scratch.ok(&format!("{DEVICE} --json {upgrade}")).json();
    let pulled = &upgraded["pulled"];
    assert_eq!(pulled["image"]["name"], "default", "{pulled}");
    assert!(
        pulled["requests"].as_u64().expect("a number") <= 4,
        "{pulled}"
    );
    assert_eq!(upgraded["deployment"], format!("{second}.0"), "{upgraded}");
    let image = fs::read(scratch.path("os.efi")).expect("an image");
    assert!(scratch.newest_image() == image);
    // Again there is nothing to fetch, and nothing changes.
    let again = scratch.ok(&format!("{DEVICE} --json {upgrade}")).json();
    assert_eq!(again["pulled"]["image"]["by"], "nothing", "{again}");
    assert!(scratch.newest_image() == image);

    // What is staged boots with its image too.
    scratch.write("tree/etc/more", "still more");
    let third = scratch.release(3);
    scratch.publish_with_image(&third);
    scratch.ok(&format!("{DEVICE} {upgrade} --stage"));
    assert!(scratch.newest_image() == image);
    scratch.ok(&format!("{DEVICE} finalize {BOOT}"));
    let image = fs::read(scratch.path("os.efi")).expect("an image");
    assert!(scratch.newest_image() == image);

    // A release without an image would not start.
    scratch.write("tree/etc/more", "most");
    let fourth = scratch.release(4);
    scratch.ok(&format!(
        "{STORE} publish {fourth} --to www --key vendor.secret --level 1"
    ));
    let words = [
        "the channel offers no unified kernel image default for release 4",
        "hint: ",
    ];
    scratch.refused(ErrorClass::NotFound, &format!("{DEVICE} {upgrade}"), &words);
    assert!(scratch.newest_image() == image);
    let clash = format!("{DEVICE} upgrade --image default --no-entry --run run");
    scratch.refused(ErrorClass::Usage, &clash, &["--image cannot be used with"]);

    // Images go with their releases, and not before.
    let list = || {
        let listing = scratch.listing("device/pack");
        let is_image = |(path, _): &&(std::path::PathBuf, u64)| {
            path.extension().is_some_and(|ending| ending == "efi")
        };
        listing.iter().filter(is_image).count()
    };
    assert_eq!(list(), 3);
    let check = scratch.ok(&format!("{DEVICE} --json check --full")).json();
    assert_eq!(check["images"], 3, "{check}");
    let undeploy = format!("{DEVICE} undeploy {first}.0 {BOOT}");
    scratch.run(&undeploy);
    let pruned = scratch.ok(&format!("{DEVICE} --json prune {BOOT}")).json();
    let gone = pruned["images"].as_array().expect("images").len();
    assert_eq!(list(), 3 - gone);
    assert_eq!(
        gone,
        pruned["packs"].as_array().expect("packs").len(),
        "{pruned}"
    );
    scratch.ok(&format!("{DEVICE} check --full"));
}

#[test]
fn an_image_of_another_release_is_not_published() {
    let Some((scratch, first)) = scratch() else {
        return;
    };
    scratch.ok(&format!("{STORE} uki build {first} {OPTIONS} -o os.efi"));
    scratch.write("tree/etc/more", "more");
    let second = scratch.release(2);
    let publish = format!("{STORE} publish {second} --to www --key vendor.secret --level 1");
    scratch.refused(
        ErrorClass::Untrusted,
        &format!("{publish} --uki os.efi"),
        &[
            "cannot publish the image default",
            "the image is for another release",
        ],
    );
    assert!(!scratch.path("www/channel").exists());
    scratch.refused(
        ErrorClass::Usage,
        &format!("{publish} --uki os.efi --uki default=os.efi"),
        &["two images are called default"],
    );
    scratch.ok(&format!("{STORE} uki build {second} {OPTIONS} -o os.efi"));
    scratch.ok(&format!(
        "{STORE} uki build {second} {OPTIONS} --cmdline console=ttyS0 -o console.efi"
    ));
    let published = scratch.ok(&format!("{publish} --uki os.efi --uki console=console.efi"));
    assert!(
        published.text().contains(", 2 images\n"),
        "{}",
        published.text()
    );
}
