// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments that become what boots: entries, rollback, kernel arguments.

use std::fs;

use sealroot_format::ErrorClass;

use sealroot_testkit::need;

use crate::support::{STORE, Scratch};

/// A boot partition and records of their own.
const BOOT: &str = "--boot boot --boot-loader systemd-boot --run run";

/// What makes a deployment the default.
const DEPLOY: &str = "--mode integrity --initramfs initramfs.img";

/// A signed release with a kernel, of which `number` tells the content; its commit.
fn release(scratch: &Scratch, number: u8) -> String {
    if number == 1 {
        scratch.small_tree();
        scratch.ok("keys new vendor");
        fs::create_dir_all(scratch.path("boot")).expect("made");
    }
    scratch.write("tree/usr/lib/modules/6.12.1/vmlinuz", vec![number; 50_000]);
    scratch.write("initramfs.img", vec![number; 3000]);
    let commit = scratch.build(&format!("--index {number}"));
    scratch.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
    commit
}

/// The entries, the newest first.
fn entries(scratch: &Scratch) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(scratch.path("boot/loader/entries"))
        .expect("entries")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.reverse();
    let read = |path| fs::read_to_string(path).expect("text");
    paths.iter().map(read).collect()
}

/// What uses each deployment, as `status` says.
fn states(scratch: &Scratch) -> Vec<(String, String)> {
    let status = scratch.ok(&format!("{STORE} --json status {BOOT}")).json();
    assert_eq!(status["migration"], "dual");
    let deployments = status["deployments"].as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    deployments
        .map(|deployment| {
            let states = deployment["states"].as_array().expect("a list").iter();
            let states: Vec<_> = states.map(text).collect();
            (text(&deployment["name"]), states.join(","))
        })
        .collect()
}

#[test]
fn a_deployment_becomes_what_boots_and_what_was_before_stays() {
    let scratch = Scratch::new();
    let first = release(&scratch, 1);
    let deploy =
        |commit: &str, more: &str| format!("{STORE} deploy {commit} {DEPLOY} {BOOT} {more}");
    let deployed = scratch.ok(&deploy(&first, "--karg quiet --karg rw")).text();
    assert!(
        deployed.contains(&format!("{first}.0 boots next: ")),
        "{deployed}"
    );
    let found = entries(&scratch);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains(&format!("options quiet rw sealroot={first}.0\n")),
        "{}",
        found[0]
    );
    let linux = found[0]
        .lines()
        .find_map(|line| line.strip_prefix("linux /"));
    let linux = scratch.path("boot").join(linux.expect("a kernel"));
    assert_eq!(fs::read(linux).expect("read"), vec![1; 50_000]);

    let second = release(&scratch, 2);
    scratch.ok(&deploy(&second, "--karg quiet"));
    let found = entries(&scratch);
    assert!(
        found[0].contains(&format!("options quiet rw sealroot={second}.0\n")),
        "{}",
        found[0]
    );
    let expected = [(&second, "default,entry"), (&first, "rollback,entry")];
    assert_states(&scratch, &expected);

    let third = release(&scratch, 3);
    scratch.ok(&deploy(&third, ""));
    let expected = [
        (&third, "default,entry"),
        (&second, "rollback,entry"),
        (&first, ""),
    ];
    assert_states(&scratch, &expected);
    scratch.ok(&format!("{STORE} prune {BOOT}"));
    assert_states(&scratch, &expected[..2]);

    let words = ["is what boots next", "hint: ", "sealroot rollback"];
    let undeploy = format!("{STORE} undeploy {third} {BOOT}");
    scratch.refused(ErrorClass::Usage, &undeploy, &words);
    assert_states(&scratch, &expected[..2]);

    let mine = scratch.path("boot/loader/entries/mine.conf");
    let text = entries(&scratch)
        .into_iter()
        .find(|text| text.contains(&third));
    fs::write(&mine, text.expect("its entry")).expect("copied");
    scratch.ok(&format!("{STORE} rollback {BOOT}"));
    let words = ["not sealroot's to remove", "mine.conf", "hint: "];
    scratch.refused(ErrorClass::Usage, &undeploy, &words);
    fs::remove_file(mine).expect("removed");
    let undeployed = scratch.ok(&undeploy).text();
    for words in ["removed the boot entry sealroot-", "boots next, as before"] {
        assert!(undeployed.contains(words), "{undeployed}");
    }
    assert_states(&scratch, &[(&second, "default,entry")]);
}

fn assert_states(scratch: &Scratch, expected: &[(&String, &str)]) {
    let expected: Vec<_> = (expected.iter())
        .map(|(commit, states)| (format!("{commit}.0"), (*states).to_owned()))
        .collect();
    assert_eq!(states(scratch), expected);
}

#[test]
fn back_and_forth_and_other_arguments() {
    let scratch = Scratch::new();
    let commits = [1, 2].map(|number| {
        let commit = release(&scratch, number);
        scratch.ok(&format!(
            "{STORE} deploy {commit} {DEPLOY} {BOOT} --karg quiet"
        ));
        commit
    });
    let [first, second] = &commits;
    let rollback = format!("{STORE} rollback {BOOT}");
    let back = scratch.ok(&rollback).text();
    assert!(back.contains(&format!("{first}.0 boots next")), "{back}");
    assert_states(
        &scratch,
        &[(first, "default,entry"), (second, "rollback,entry")],
    );
    scratch.ok(&rollback);
    assert_states(
        &scratch,
        &[(second, "default,entry"), (first, "rollback,entry")],
    );

    let kargs = |more: &str| format!("{STORE} kargs {BOOT} {more}");
    assert_eq!(scratch.ok(&kargs("")).text(), "quiet\n");
    scratch.ok(&kargs(
        "--append debug=1 --delete quiet --replace root=LABEL=x",
    ));
    assert_eq!(scratch.ok(&kargs("")).text(), "root=LABEL=x debug=1\n");
    let of_first = entries(&scratch)
        .into_iter()
        .find(|text| text.contains(&**first));
    assert!(
        of_first
            .expect("an entry")
            .contains("options quiet sealroot=")
    );
    let ran = scratch.run(&kargs("--delete nothing"));
    assert_eq!(ran.code, i32::from(ErrorClass::Usage.exit_code()));
    assert!(
        ran.err.contains("there is no such kernel argument"),
        "{}",
        ran.err
    );
}

#[test]
fn where_nothing_is_to_go_back_to_or_to_boot_from_it_says_so() {
    let scratch = Scratch::new();
    let commit = release(&scratch, 1);
    let hint = "hint: ";
    let rollback = format!("{STORE} rollback {BOOT}");
    scratch.refused(
        ErrorClass::NotFound,
        &rollback,
        &["no older boot entry", hint],
    );
    let kargs = format!("{STORE} kargs {BOOT}");
    scratch.refused(ErrorClass::NotFound, &kargs, &["none of sealroot's", hint]);
    let without = format!("{STORE} deploy {commit} {DEPLOY}");
    scratch.refused(
        ErrorClass::NotFound,
        &without,
        &["no boot entry can be made", hint],
    );
    assert!(!scratch.path(&format!("store/deploy/{commit}.0")).exists());

    let deploy = format!("{STORE} deploy {commit} --mode integrity");
    let deployed = scratch.ok(&deploy).text();
    assert!(deployed.contains("no boot entry was made: "), "{deployed}");
    let deployed = scratch.ok(&format!("{deploy} --no-entry")).text();
    assert!(!deployed.contains("no boot entry"), "{deployed}");
}

#[test]
fn a_stateroot_is_made_and_recorded() {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("keys new vendor");
    fs::create_dir(scratch.path("root")).expect("made");
    let root = "--sysroot root --keyset vendor.keyset";
    let release = "--dir tree --os exampleos --stream stable --index 1";
    let built = scratch.ok(&format!("{root} --json build {release}")).json();
    let commit = built["commit"].as_str().expect("a commit").to_owned();
    scratch.ok(&format!("{root} sign {commit} --key vendor.secret"));
    let deploy = format!("{root} deploy {commit} --mode integrity");
    scratch.ok(&format!("{deploy} --stateroot main"));
    assert!(scratch.path("root/ostree/deploy/main/var").is_dir());
    let other = scratch
        .ok(&format!("{deploy} --stateroot other --json"))
        .json();
    assert_eq!(
        other["serial"], 1,
        "another stateroot is another deployment"
    );
    let status = scratch.ok(&format!("{root} status")).text();
    assert!(
        status.contains(" main ") && status.contains(" other "),
        "{status}"
    );
}

#[test]
fn a_stateroot_begins_with_what_the_release_has_in_var() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("keys new vendor");
    fs::create_dir(scratch.path("root")).expect("made");
    scratch.write("tree/var/lib/app/seed", b"first");
    scratch.write("tree/var/lib/app/large", vec![7; 100_000]);
    let root = "--sysroot root --keyset vendor.keyset";
    let release = "--dir tree --os exampleos --stream stable --index 1";
    let built = scratch.ok(&format!("{root} --json build {release}")).json();
    let commit = built["commit"].as_str().expect("a commit").to_owned();
    scratch.ok(&format!("{root} sign {commit} --key vendor.secret"));
    let deploy = format!("{root} deploy {commit} --mode integrity --stateroot main");
    scratch.ok(&deploy);
    let var = scratch.path("root/ostree/deploy/main/var/lib/app");
    assert_eq!(fs::read(var.join("seed")).expect("read"), b"first");
    assert_eq!(fs::read(var.join("large")).expect("read"), vec![7; 100_000]);
    fs::write(var.join("seed"), b"changed").expect("written");
    scratch.ok(&deploy);
    assert_eq!(fs::read(var.join("seed")).expect("read"), b"changed");
}

#[test]
fn the_newest_release_of_another_stream_is_switched_to() {
    let scratch = Scratch::new();
    let first = release(&scratch, 1);
    scratch.ok(&format!("{STORE} deploy {first} {DEPLOY} {BOOT}"));
    let testing = |number: u8| {
        scratch.write("tree/usr/lib/modules/6.12.1/vmlinuz", vec![number; 50_000]);
        let build = "build --dir tree --os exampleos --stream testing --json";
        let built = scratch
            .ok(&format!("{STORE} {build} --index {number}"))
            .json();
        let commit = built["commit"].as_str().expect("a commit").to_owned();
        scratch.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
        commit
    };
    let [_, newest] = [2, 3].map(testing);
    let switch = format!("{STORE} switch testing {DEPLOY} {BOOT}");
    let switched = scratch.ok(&switch).text();
    assert!(
        switched.contains(&format!("{newest}.0 boots next")),
        "{switched}"
    );
    let expected = [(&newest, "default,entry"), (&first, "rollback,entry")];
    assert_states(&scratch, &expected);
    scratch.refused(
        ErrorClass::NotFound,
        &format!("{STORE} switch beta {DEPLOY} {BOOT}"),
        &["no release of the stream beta", "stable, testing"],
    );
}

#[test]
fn an_entry_is_counted_until_what_runs_is_blessed() {
    let scratch = Scratch::new();
    let commit = release(&scratch, 1);
    scratch.ok(&format!(
        "{STORE} deploy {commit} {DEPLOY} {BOOT} --tries 3"
    ));
    let names = || -> Vec<String> {
        let entries = fs::read_dir(scratch.path("boot/loader/entries")).expect("entries");
        let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("a name");
        entries
            .map(|entry| name(entry.expect("an entry")))
            .collect()
    };
    assert!(names()[0].ends_with("+3.conf"), "{:?}", names());
    let bless = format!("{STORE} bless {BOOT}");
    scratch.refused(
        ErrorClass::NotFound,
        &bless,
        &["no deployment runs here", "hint: "],
    );
    let pack = "ab".repeat(32);
    let booted = format!(
        r#"{{"version": 1, "insecure": [], "mode": "integrity", "layer": "erofs", "pack": "{pack}",
            "commit": "{commit}", "serial": 0}}"#
    );
    scratch.write("run/booted.json", booted.into_bytes());
    let blessed = scratch.ok(&bless).text();
    assert!(blessed.contains("is good"), "{blessed}");
    assert!(!names()[0].contains('+'), "{:?}", names());
    let again = scratch.ok(&bless).text();
    assert!(again.contains("nothing to do"), "{again}");
}

#[test]
fn what_cannot_boot_cannot_be_staged_and_nothing_is_left_to_finalize() {
    let scratch = Scratch::new();
    let commit = release(&scratch, 1);
    let deploy = format!("{STORE} deploy {commit} --mode integrity --stage");
    scratch.refused(
        ErrorClass::Usage,
        &deploy,
        &["nothing to stage without a boot entry"],
    );
    assert!(!scratch.path(&format!("store/deploy/{commit}.0")).exists());
    let finalized = scratch.ok(&format!("{STORE} finalize {BOOT}")).text();
    assert_eq!(finalized, "nothing is staged\n");
}

#[test]
fn what_boots_instead_is_said_with_a_way_out() {
    let scratch = Scratch::new();
    let commits = [1, 2].map(|number| {
        let commit = release(&scratch, number);
        let deploy = format!("{STORE} deploy {commit} {DEPLOY} {BOOT}");
        let text = scratch.ok(&deploy).text();
        assert_eq!(text.contains("boots next: entry"), number == 1, "{text}");
        assert_eq!(
            text.contains("default stays debian.conf"),
            number == 2,
            "{text}"
        );
        let debian = "title Debian\nsort-key debian\nlinux /l\n";
        scratch.write("boot/loader/entries/debian.conf", debian);
        commit
    });
    let status = scratch.ok(&format!("{STORE} status {BOOT}")).text();
    let line = "boots by default: debian.conf (it is none of sealroot's)";
    assert!(status.contains(line), "{status}");
    let back = scratch
        .ok(&format!("{STORE} --json rollback {BOOT}"))
        .json();
    assert_eq!(back["boots_next"], false);
    assert_eq!(back["boots_instead"], "debian.conf");
    assert_eq!(back["deployment"], format!("{}.0", commits[0]));
    scratch.write("boot/loader/loader.conf", "default sealroot-*\n");
    let kargs = scratch.ok(&format!("{STORE} --json kargs --append a {BOOT}"));
    let kargs = kargs.json();
    assert_eq!(kargs["boots_next"], true);
    assert!(kargs["boots_instead"].is_null());
}

#[test]
fn a_store_without_releases_has_no_stream_to_switch_to() {
    let scratch = Scratch::new();
    scratch.built();
    fs::remove_file(scratch.only("store/pack", ".sign")).expect("removed");
    let words = ["no release of the stream testing", "it has none at all"];
    let line = format!("{STORE} switch testing");
    scratch.refused(ErrorClass::NotFound, &line, &words);
}
