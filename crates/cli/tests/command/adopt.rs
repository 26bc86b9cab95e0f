// SPDX-License-Identifier: MIT OR Apache-2.0
//! A system that `ostree admin` has deployed, taken over and given back by the commands.

use std::fs;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::support::{Ran, Scratch};

/// Where the boot menu is.
const BOOT: &str = "--boot root/boot --boot-loader grub --run run";

/// What makes an adopted commit boot next.
const TO_BOOT: &str = "--mode integrity --initramfs initramfs.img --boot root/boot \
                       --boot-loader grub --run run";

struct Machine {
    scratch: Scratch,
    commit: String,
}

impl Machine {
    /// A sysroot with one deployment of a commit that has a signed statement.
    fn new() -> Option<Self> {
        need::tool("ostree")?;
        if !need::root() {
            return None;
        }
        let mut machine = Self {
            scratch: Scratch::new(),
            commit: String::new(),
        };
        let scratch = &machine.scratch;
        scratch.write("tree/usr/bin/large", vec![7; 100_000]);
        scratch.write("tree/usr/bin/larger", vec![8; 200_000]);
        scratch.write("tree/usr/etc/hostname", "example\n");
        scratch.write("tree/usr/lib/os-release", "ID=exampleos\n");
        scratch.write("tree/usr/lib/modules/6.1.0/vmlinuz", "kernel");
        scratch.write("tree/usr/lib/modules/6.1.0/initramfs.img", "initramfs");
        for directory in ["root/boot", "root/ostree/deploy", "root/ostree/repo"] {
            fs::create_dir_all(scratch.path(directory)).expect("a directory");
        }
        let repo = "--repo=root/ostree/repo";
        machine.ostree(&format!("{repo} init --mode=bare"));
        machine.ostree("admin os-init exampleos --sysroot=root");
        let commit = format!("{repo} commit --branch=main --no-xattrs --tree=dir=tree");
        machine.commit = machine.ostree(&commit);
        machine.ostree("admin deploy main --os=exampleos --karg=root=LABEL=x --sysroot=root");
        machine.scratch.ok("keys new vendor");
        Some(machine)
    }

    fn sign(&self) {
        self.sign_as(&self.commit, 1);
    }

    /// A further commit with a signed statement.
    fn next(&self, index: u32) -> String {
        self.scratch.write("tree/usr/number", index.to_string());
        let commit = "--repo=root/ostree/repo commit --branch=main --no-xattrs --tree=dir=tree";
        let commit = self.ostree(commit);
        self.sign_as(&commit, index);
        commit
    }

    fn sign_as(&self, commit: &str, index: u32) {
        let origin = format!("--ostree root/ostree/repo {commit}");
        self.scratch.ok(&format!(
            "--store vendor build {origin} --os exampleos --stream stable --index {index}"
        ));
        self.scratch
            .ok(&format!("--store vendor sign {origin} --key vendor.secret"));
    }

    fn ostree(&self, line: &str) -> String {
        let output = self.scratch.command_of("ostree", line).output();
        let output = output.expect("ostree starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {errors}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim_end().to_owned()
    }

    fn fsck(&self) {
        self.ostree("--repo=root/ostree/repo fsck --quiet");
    }

    /// A release of another tree, whose files OSTree has in part, is published to `www`.
    fn publish(&self) {
        self.scratch.write("tree/usr/bin/larger", vec![9; 200_000]);
        let build =
            "--store vendor --json build --dir tree --os exampleos --stream stable --index 1";
        let built = self.scratch.ok(build).json();
        let commit = built["commit"].as_str().expect("a commit");
        let vendor = "--store vendor --keyset vendor.keyset";
        for line in [
            format!("sign {commit}"),
            format!("publish {commit} --to www"),
        ] {
            self.scratch
                .ok(&format!("{vendor} {line} --key vendor.secret"));
        }
    }

    fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        ran
    }

    fn run(&self, line: &str) -> Ran {
        let keyset = if line.contains("--keyset") {
            ""
        } else {
            "--keyset vendor.keyset"
        };
        let common = format!("--sysroot root {keyset} --json");
        self.scratch.run(&format!("{common} {line}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // OSTree makes the roots of its deployments immutable.
        let line = "-R -f -i root/ostree/deploy";
        let _ = self.scratch.command_of("chattr", line).output();
    }
}

#[test]
fn a_deployed_commit_is_adopted_and_given_back() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.sign();
    let looked = machine.run("adopt --dry-run --mode integrity");
    assert_eq!(looked.code, 0, "{}", looked.err);
    let looked = looked.json();
    assert_eq!(looked["commit"], *machine.commit);
    assert_eq!(looked["stateroot"], "exampleos");
    assert_eq!(looked["objects"], 2);
    assert!(looked["done"].is_null());
    assert!(!machine.scratch.path("root/ostree/verity").exists());

    let adopted = machine.run("adopt --mode integrity");
    assert_eq!(adopted.code, 0, "{}", adopted.err);
    let adopted = adopted.json();
    assert_eq!(adopted["done"]["linked_objects"], 2);
    assert_eq!(adopted["done"]["linked_bytes"], 300_000);
    assert_eq!(adopted["done"]["added_bytes"], 0);
    assert_eq!(
        adopted["done"]["deployment"],
        format!("{}.0", machine.commit)
    );
    machine.fsck();
    machine.ostree("admin cleanup --sysroot=root");
    let check = machine.run("check --full");
    assert_eq!(check.code, 0, "{}", check.err);
    let again = machine.run("adopt --mode integrity").json();
    assert_eq!(again["done"]["linked_objects"], 0);
    assert_eq!(again["done"]["is_new"], false);

    let line = format!(
        "deploy {} --mode integrity --stateroot exampleos",
        machine.commit
    );
    let deployed = machine.run(&line);
    assert_eq!(deployed.code, 0, "{}", deployed.err);
    assert_eq!(deployed.json()["is_reused"], true);

    let asked = machine.run("revert --run run");
    assert_eq!(asked.code, i32::from(ErrorClass::Usage.exit_code()));
    assert!(asked.err.contains(&machine.commit), "{}", asked.err);
    let reverted = machine.run("revert --yes --run run");
    assert_eq!(reverted.code, 0, "{}", reverted.err);
    let reverted = reverted.json();
    assert_eq!(reverted["commit"], *machine.commit);
    let name = format!("sealroot/exampleos/{}", machine.commit);
    assert_eq!(reverted["removed_refs"], serde_json::json!([name]));
    assert!(!machine.scratch.path("root/ostree/verity").exists());
    machine.fsck();
    let again = machine.run("revert --yes --run run").json();
    assert_eq!(again["removed_files"], 0);
    let again = machine.scratch.ok("--sysroot root revert --yes --run run");
    assert!(
        again.text().contains("nothing of sealroot"),
        "{}",
        again.text()
    );
}

#[test]
fn without_a_statement_it_must_be_said_and_nothing_is_deployed() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let refused = machine.run("adopt");
    assert_eq!(refused.code, i32::from(ErrorClass::NotFound.exit_code()));
    assert!(
        refused.err.contains("no release statement"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("--unsigned"), "{}", refused.err);
    let elsewhere = machine.run(&format!("adopt {} --stateroot exampleos", "f".repeat(64)));
    assert!(elsewhere.err.contains("commit"), "{}", elsewhere.err);
    assert!(!elsewhere.err.contains("statement"), "{}", elsewhere.err);
    assert!(!machine.scratch.path("root/ostree/verity").exists());
    let unsigned = machine.run("adopt --unsigned").json();
    assert!(unsigned["done"]["deployment"].is_null());
    machine.fsck();
    // One's own word for it: nothing is written twice.
    let built = machine
        .run("build --ostree root/ostree/repo main --os exampleos --stream stable --index 1");
    assert_eq!(built.code, 0, "{}", built.err);
    let built = built.json();
    assert_eq!(built["pack"], unsigned["done"]["pack"]);
    assert_eq!(built["added_objects"], 0);
    let commit = &machine.commit;
    for line in [
        format!("sign {commit} --key vendor.secret"),
        format!("deploy {commit} --mode integrity"),
        "adopt --unsigned --threshold 0".into(),
    ] {
        machine.ok(&line);
    }
    machine.fsck();
}

#[test]
fn nothing_is_removed_while_ostree_could_not_boot() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.run("adopt --unsigned");
    let kernels = machine.scratch.path("root/boot/ostree");
    fs::rename(&kernels, machine.scratch.path("root/boot/aside")).expect("moved");
    let refused = machine.run("revert --yes --run run");
    assert_eq!(refused.code, i32::from(ErrorClass::NotFound.exit_code()));
    assert!(refused.err.contains("vmlinuz"), "{}", refused.err);
    assert!(machine.scratch.path("root/ostree/verity").exists());
}

#[test]
fn entries_stay_where_the_store_cannot_be_removed() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.sign();
    machine.scratch.write("initramfs.img", "initramfs");
    machine.ok(&format!("adopt {TO_BOOT}"));
    let [store, aside] = ["verity", "aside"].map(|name| {
        let name = format!("root/ostree/{name}");
        machine.scratch.path(&name)
    });
    fs::rename(&store, &aside).expect("moved");
    std::os::unix::fs::symlink("aside", &store).expect("a symlink");
    let refused = machine.run(&format!("revert --yes {BOOT}"));
    assert_eq!(refused.code, i32::from(ErrorClass::Io.exit_code()));
    assert!(refused.err.contains("verity/lock"), "{}", refused.err);
    assert!(only_entry(&machine).exists());
}

#[test]
fn nothing_is_removed_while_an_entry_that_is_not_ours_boots_it() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.sign();
    machine.scratch.write("initramfs.img", "initramfs");
    let adopted = machine.run(&format!("adopt {TO_BOOT}"));
    assert_eq!(adopted.code, 0, "{}", adopted.err);
    let entry = only_entry(&machine);
    let name = format!("{}.0", machine.commit);
    // Without a boot loader that is known, nothing can be removed that a menu boots.
    for line in [format!("undeploy {name}"), "revert --yes --run run".into()] {
        let refused = machine.run(&line);
        assert_eq!(refused.code, i32::from(ErrorClass::Unsupported.exit_code()));
        assert!(refused.err.contains("--boot-loader"), "{}", refused.err);
    }
    let refused = machine.run(&format!("undeploy {name} {BOOT}"));
    assert_eq!(refused.code, i32::from(ErrorClass::Usage.exit_code()));
    assert!(refused.err.contains("boots next"), "{}", refused.err);

    let text = fs::read_to_string(&entry).expect("an entry");
    let copy = entry.with_file_name("mine.conf");
    for file in [&copy, &entry] {
        fs::write(file, format!("{text}# mine\n")).expect("written");
        let refused = machine.run(&format!("revert --yes {BOOT}"));
        assert_eq!(refused.code, i32::from(ErrorClass::Usage.exit_code()));
        let named = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("text");
        assert!(refused.err.contains(named), "{}", refused.err);
        assert!(refused.err.contains("\"hint\""), "{}", refused.err);
        assert!(machine.scratch.path("root/ostree/verity").exists());
        assert!(entry.exists());
        fs::write(&entry, &text).expect("written");
        let _ = fs::remove_file(&copy);
    }
    // One of ours that was changed to boot nothing may be what boots by default.
    let elsewhere = format!("{}.0", "f".repeat(64));
    fs::write(&entry, text.replace(&name, &elsewhere)).expect("written");
    let refused = machine.run(&format!("revert --yes {BOOT}"));
    assert_eq!(refused.code, i32::from(ErrorClass::Usage.exit_code()));
    assert!(machine.scratch.path("root/ostree/verity").exists());
    fs::write(&entry, &text).expect("written");
    let reverted = machine.run(&format!("revert --yes {BOOT}"));
    assert_eq!(reverted.code, 0, "{}", reverted.err);
    assert!(!entry.exists());
    assert!(!machine.scratch.path("root/boot/sealroot").exists());
}

#[test]
fn a_commit_that_nothing_needs_any_more_is_left_to_ostree() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.sign();
    machine.scratch.write("initramfs.img", "initramfs");
    let commits = [machine.commit.clone(), machine.next(2), machine.next(3)];
    for commit in &commits {
        let adopted = machine.run(&format!("adopt {commit} {TO_BOOT}"));
        assert_eq!(adopted.code, 0, "{}", adopted.err);
    }
    let refs = || machine.ostree("--repo=root/ostree/repo refs");
    let first = format!("sealroot/exampleos/{}", commits[0]);
    assert!(refs().contains(&first));
    let planned = machine.run(&format!("prune --dry-run {BOOT}")).json();
    assert_eq!(planned["refs"], serde_json::json!([first]));
    assert!(refs().contains(&first), "only looked");
    let text = machine.scratch.ok(&format!("--sysroot root prune {BOOT}"));
    let expected = format!("OSTree may collect the commit {}", commits[0]);
    assert!(text.text().contains(&expected), "{}", text.text());
    let left = refs();
    assert!(!left.contains(&first), "{left}");
    for commit in &commits[1..] {
        assert!(
            left.contains(&format!("sealroot/exampleos/{commit}")),
            "{left}"
        );
    }
    let again = machine.run(&format!("prune {BOOT}")).json();
    assert_eq!(again["refs"], serde_json::json!([]));
    machine.fsck();
    let check = machine.run("check --full");
    assert_eq!(check.code, 0, "{}", check.err);
}

#[test]
fn an_update_is_for_what_the_deployment_before_was_for() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.sign();
    machine.scratch.write("initramfs.img", "initramfs");
    let commits = [machine.next(2), machine.next(3)];
    let adopted = machine.run(&format!("adopt {TO_BOOT}"));
    assert_eq!(adopted.code, 0, "{}", adopted.err);
    let record = |commit: &str| format!("root/ostree/verity/deploy/{commit}.0/deployment.toml");
    let own = |commit: &str| format!("root/ostree/verity/deploy/{commit}.0/etc/hostname");
    machine.scratch.write(&own(&machine.commit), "changed\n");
    let update =
        |commit: &str| machine.run(&format!("adopt {commit} --initramfs initramfs.img {BOOT}"));
    let updated = update(&commits[0]);
    assert_eq!(updated.code, 0, "{}", updated.err);
    let text = fs::read_to_string(machine.scratch.path(&record(&commits[0]))).expect("a record");
    assert!(text.contains("integrity"), "{text}");

    // The record says nothing any more; the deployment's own /etc is there.
    machine.scratch.write(&record(&commits[0]), "");
    let updated = machine.run(&format!("adopt {} {TO_BOOT}", commits[1]));
    assert_eq!(updated.code, 0, "{}", updated.err);
    assert!(updated.err.contains("--etc merge"), "{}", updated.err);
    let hostname = fs::read_to_string(machine.scratch.path(&own(&commits[1])));
    assert_eq!(hostname.expect("merged"), "changed\n");

    machine.scratch.write(&record(&commits[1]), "");
    let line = format!("deploy {} --initramfs initramfs.img {BOOT}", commits[0]);
    let refused = machine.run(&line);
    assert_eq!(refused.code, i32::from(ErrorClass::Corrupt.exit_code()));
    assert!(refused.err.contains("--stateroot NAME"), "{}", refused.err);
    let named = machine.run(&format!("{line} --stateroot exampleos --mode integrity"));
    assert_eq!(named.code, 0, "{}", named.err);
}

#[test]
fn the_pre_flight_sees_what_an_adoption_would_fail_with() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.scratch.write("initramfs.img", "initramfs");
    let unsupported = i32::from(ErrorClass::Unsupported.exit_code());
    let found = |line: &str| {
        let looked = machine.run(line);
        let findings = looked.json()["findings"]
            .as_array()
            .expect("a list")
            .clone();
        let blocking = findings.iter().filter(|finding| finding["blocks"] == true);
        let codes: Vec<_> = blocking.map(|finding| finding["code"].clone()).collect();
        let expected = if codes.is_empty() { 0 } else { unsupported };
        assert_eq!(looked.code, expected, "{line}: {}", looked.err);
        assert!(!machine.scratch.path("root/ostree/verity").exists());
        codes
    };
    let look = format!("adopt --dry-run {TO_BOOT}");
    assert_eq!(found(&look), ["statement"]);
    assert_eq!(found("adopt --dry-run --unsigned"), [""; 0]);
    machine.sign();
    assert_eq!(found(&look), [""; 0]);
    for (line, expected) in [("", true), ("--no-entry", false), (BOOT, false)] {
        let looked = machine.run(&format!("adopt --dry-run --mode integrity {line}"));
        let is_told = String::from_utf8_lossy(&looked.out).contains("no-boot-loader");
        assert_eq!(is_told, expected, "{line}");
    }
    machine.scratch.write("garbage", "garbage");
    assert_eq!(found(&format!("{look} --statement garbage")), ["statement"]);
    assert_eq!(found(&format!("{look} --keyset garbage")), ["keyset"]);

    // Where the release has a directory, the administrator has made a file.
    machine.scratch.write("tree/usr/etc/service/config", "1\n");
    let commit = machine.next(2);
    let name = format!("root/ostree/deploy/exampleos/deploy/{}.0", machine.commit);
    machine
        .scratch
        .write(&format!("{name}/etc/service"), "mine\n");
    let line = format!("{commit} {TO_BOOT}");
    assert_eq!(found(&format!("adopt --dry-run {line}")), ["etc"]);
    let refused = machine.run(&format!("adopt {line}"));
    assert!(
        refused.err.contains("/etc cannot be merged"),
        "{}",
        refused.err
    );
    assert!(!machine.scratch.path("root/ostree/verity").exists());
    assert!(
        !machine
            .ostree("--repo=root/ostree/repo refs")
            .contains("sealroot/")
    );
    let transient = machine.run(&format!("adopt {line} --etc transient"));
    assert_eq!(transient.code, 0, "{}", transient.err);
}

/// The boot entry of sealroot's.
fn only_entry(machine: &Machine) -> PathBuf {
    let entries = fs::read_dir(machine.scratch.path("root/boot/loader/entries"));
    let paths = entries
        .expect("entries")
        .map(|entry| entry.expect("an entry").path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("sealroot-"))
    };
    let found: Vec<_> = paths.filter(is_ours).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn what_ostree_has_is_not_fetched() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.publish();
    let scratch = &machine.scratch;
    let pull = |device: &str, options: &str| {
        let device = format!("{device} --keyset vendor.keyset --json");
        let add = "remote add vendor www --os exampleos --stream stable";
        scratch.ok(&format!("{device} {add}"));
        let ran = scratch.run(&format!("{device} pull {options}"));
        scratch.ok(&format!("{device} check --full"));
        ran
    };
    let numbers = |ran: &Ran| {
        assert_eq!(ran.code, 0, "{}", ran.err);
        let pulled = ran.json();
        let keys = [
            "linked_objects",
            "linked_bytes",
            "added_objects",
            "added_bytes",
        ];
        keys.map(|key| pulled[key].as_u64().expect("a number"))
    };
    let forget = || fs::remove_dir_all(scratch.path("root/ostree/verity")).expect("a store");
    let (in_part, all) = ([1, 100_000, 1, 200_000], [0, 0, 2, 300_000]);

    assert_eq!(numbers(&pull("--sysroot root", "")), in_part);
    machine.fsck();
    forget();
    assert_eq!(numbers(&pull("--sysroot root", "--no-ostree")), all);
    assert_eq!(numbers(&pull("--store one", "")), all);
    let named = "--ostree-repo root/ostree/repo";
    assert_eq!(numbers(&pull("--store two", named)), in_part);
    let again = "remote add vendor www --os exampleos --stream stable";
    scratch.ok(&format!("--store three --keyset vendor.keyset {again}"));
    let text = scratch.ok(&format!("--store three pull {named}")).text();
    assert!(
        text.contains("taken over from OSTree: 1 file of 100000 bytes"),
        "{text}"
    );

    forget();
    scratch.write("root/ostree/repo/config", "nonsense");
    let ran = pull("--sysroot root", "");
    assert_eq!(numbers(&ran), all);
    assert!(
        ran.err.contains("nothing is taken over from OSTree"),
        "{}",
        ran.err
    );
    let ran = pull("--store four", named);
    assert_ne!(ran.code, 0);
}

/// What `status` says of a deployment.
fn deployment(machine: &Machine, name: &str) -> serde_json::Value {
    let status = machine.run(&format!("status {BOOT}")).json();
    let all = status["deployments"].as_array().expect("deployments");
    let found = all.iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("{status:#}")).clone()
}

#[test]
fn a_release_of_ones_own_has_the_var_and_etc_that_ostree_had() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.scratch.write("initramfs.img", "initramfs");
    let commit = &machine.commit;
    for line in [
        "adopt --unsigned".to_owned(),
        "build --ostree root/ostree/repo main --os exampleos --stream stable --index 1".into(),
        format!("sign {commit} --key vendor.secret"),
        format!("deploy {commit} {TO_BOOT}"),
    ] {
        machine.ok(&line);
    }
    let deployed = deployment(&machine, &format!("{commit}.0"));
    assert_eq!(deployed["stateroot"], "exampleos");
    assert_eq!(deployed["etc"], "merge");

    // OSTree's repository knows nothing of the statement.
    let line = format!("adopt {commit} {TO_BOOT}");
    let adopted = machine.ok(&line).json();
    assert_eq!(adopted["done"]["deployment"], format!("{commit}.0"));
    assert_eq!(none_is_ours(&machine), false);
    // As when OSTree writes its own entries.
    fs::remove_file(only_entry(&machine)).expect("removed");
    assert_eq!(none_is_ours(&machine), true);
    let said = machine.scratch.ok(&format!("--sysroot root status {BOOT}"));
    let said = said.text();
    assert!(said.contains("no boot entry is sealroot's"), "{said}");
    machine.ok(&line);
    assert_eq!(none_is_ours(&machine), false);
}

fn none_is_ours(machine: &Machine) -> serde_json::Value {
    let status = machine.ok(&format!("status {BOOT}")).json();
    status["boot_entries"]["none_is_ours"].clone()
}

#[test]
fn changes_in_the_etc_of_a_deployment_are_not_merged_away() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.sign();
    machine.scratch.write("initramfs.img", "initramfs");
    let adopt = || {
        let adopted = machine.ok(&format!("adopt {TO_BOOT}")).json();
        adopted["done"]["deployment"].clone()
    };
    let name = |serial| format!("{}.{serial}", machine.commit);
    assert_eq!(adopt(), name(0));
    assert_eq!(adopt(), name(0));
    let etc = |serial| format!("root/ostree/verity/deploy/{}/etc", name(serial));
    // What was not merged from here can be merged again.
    let stateroot = format!("root/ostree/deploy/exampleos/deploy/{}.0", machine.commit);
    machine
        .scratch
        .write(&format!("{stateroot}/etc/theirs"), "1");
    assert_eq!(adopt(), name(0));
    assert!(machine.scratch.path(&etc(0)).join("theirs").exists());

    // What was changed here stays, and nothing of what was changed there comes into it.
    machine.scratch.write(&format!("{}/app/ours", etc(0)), "2");
    assert_eq!(adopt(), name(0));
    let ours = |serial| machine.scratch.path(&etc(serial)).join("app/ours");
    assert!(ours(0).exists());
    machine.scratch.write(&format!("{stateroot}/etc/more"), "3");
    for _ in 0..2 {
        let adopted = machine.ok(&format!("adopt {TO_BOOT}"));
        assert_eq!(adopted.json()["done"]["deployment"], name(0));
        let word = "is not merged into it";
        assert!(adopted.err.contains(word), "{}", adopted.err);
    }
    assert!(ours(0).exists());

    // Of another commit than the default's, a further deployment is made for the changes of both.
    let next = machine.next(2);
    machine.ok(&format!("adopt {next} {TO_BOOT}"));
    machine.scratch.write(&format!("{}/later", etc(0)), "4");
    let back = || {
        let adopted = machine
            .ok(&format!("adopt {} {TO_BOOT}", machine.commit))
            .json();
        adopted["done"]["deployment"].clone()
    };
    assert_eq!(back(), name(1));
    assert_eq!(back(), name(1));
    assert!(ours(0).exists() && ours(1).exists());
    assert!(machine.scratch.path(&etc(0)).join("later").exists());
}

#[test]
fn what_ostree_does_not_have_is_not_taken_back_unseen() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.run("adopt --unsigned");
    machine.scratch.write("tree/etc/hostname", "other\n");
    let line = "build --dir tree --os exampleos --stream stable --index 1";
    let built = machine.run(line).json();
    let release = format!("{} (stable)", built["commit"].as_str().expect("a commit"));
    machine
        .scratch
        .write("root/ostree/verity/objects/mine.txt", "mine");
    let refused = machine.run("revert --yes --run run");
    assert_eq!(refused.code, i32::from(ErrorClass::Usage.exit_code()));
    for word in ["objects/mine.txt", "\"hint\""] {
        assert!(refused.err.contains(word), "{}", refused.err);
    }
    fs::remove_file(machine.scratch.path("root/ostree/verity/objects/mine.txt")).expect("gone");
    let asked = machine.run("revert --run run");
    assert!(asked.err.contains(&release), "{}", asked.err);
    let reverted = machine.ok("revert --yes --run run").json();
    assert_eq!(reverted["lost_releases"], serde_json::json!([release]));
}
