// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments over time: pinned, removed, collected, and what `status` says of them.

use std::fs;

use sealroot_format::ErrorClass;

use crate::support::{STORE, Scratch};

/// A boot partition and records of their own.
const BOOT: &str = "--boot boot --boot-loader systemd-boot --run run";

/// Two deployments, the second of which boots; their names.
fn two_deployments(scratch: &Scratch) -> [String; 2] {
    let first = scratch.signed();
    scratch.write("tree/usr/bin/large", vec![8; 100_000]);
    let second = scratch.build("--index 2");
    scratch.ok(&format!("{STORE} sign {second} --key vendor.secret"));
    for commit in [&first, &second] {
        scratch.ok(&format!("{STORE} deploy {commit} --mode integrity"));
    }
    let text = format!("title second\nlinux /linux\noptions quiet sealroot={second}.0\n");
    scratch.write("boot/loader/entries/second.conf", text);
    [format!("{first}.0"), format!("{second}.0")]
}

#[test]
fn what_nothing_uses_is_collected_and_the_rest_is_not() {
    let scratch = Scratch::new();
    let [first, second] = two_deployments(&scratch);
    let short = &first[..8];

    let status = scratch.ok(&format!("{STORE} --json status {BOOT}")).json();
    let deployments = status["deployments"].as_array().expect("a list");
    assert_eq!(deployments[0]["name"], *second);
    assert_eq!(
        deployments[0]["states"],
        serde_json::json!(["default", "entry"])
    );
    let arguments = format!("quiet sealroot={second}");
    assert_eq!(deployments[0]["kernel_arguments"], *arguments);
    assert_eq!(deployments[0]["signatures"], "signed");
    assert_eq!(
        deployments[0]["signers"].as_array().expect("a list").len(),
        1
    );
    assert_eq!(deployments[1]["states"], serde_json::json!([]));
    assert_eq!(status["migration"], "legacy", "the entry is none of ours");

    scratch.ok(&format!("{STORE} pin {short}"));
    let again = scratch.ok(&format!("{STORE} pin {first}")).text();
    assert!(again.contains("was pinned already"), "{again}");
    let pruned = scratch.ok(&format!("{STORE} --json prune {BOOT}")).json();
    assert_eq!(pruned["deployments"], serde_json::json!([]));
    let words = [&*first, "is pinned", "hint: `sealroot unpin"];
    scratch.refused(
        ErrorClass::Usage,
        &format!("{STORE} undeploy {short} {BOOT}"),
        &words,
    );

    scratch.ok(&format!("{STORE} unpin {short}"));
    let before = scratch.listing("store");
    let planned = scratch
        .ok(&format!("{STORE} prune --dry-run {BOOT}"))
        .text();
    assert!(
        planned.contains("would put aside 1 deployment, 1 statement, 1 pack, 1 object"),
        "{planned}"
    );
    assert_eq!(scratch.listing("store"), before);
    let pruned = scratch.ok(&format!("{STORE} prune {BOOT}")).text();
    assert!(pruned.contains(&first), "{pruned}");
    let freed = scratch.ok(&format!("{STORE} prune {BOOT}")).text();
    assert!(freed.starts_with("freed "), "{freed}");
    assert!(freed.contains("nothing to put aside"), "{freed}");
    let check = scratch.ok(&format!("{STORE} check --full")).text();
    assert!(
        check.contains("1 pack, 1 object, 1 statement, 1 deployment"),
        "{check}"
    );
}

#[test]
fn a_deployment_is_removed_by_name_unless_something_uses_it() {
    let scratch = Scratch::new();
    let [first, second] = two_deployments(&scratch);
    let undeploy = |name: &str| format!("{STORE} undeploy {name} {BOOT}");
    let words = [
        &*second,
        "not sealroot's to remove",
        "second.conf",
        "hint: ",
    ];
    scratch.refused(ErrorClass::Usage, &undeploy(&second), &words);
    let words = ["no deployment is called 0123", "hint: `sealroot status`"];
    scratch.refused(ErrorClass::NotFound, &undeploy("0123"), &words);
    let removed = scratch.ok(&undeploy(&first)).text();
    assert!(removed.contains("is no longer deployed"), "{removed}");
    assert!(!scratch.path(&format!("store/deploy/{first}")).exists());
    let pruned = scratch.ok(&format!("{STORE} --json prune {BOOT}")).json();
    assert_eq!(pruned["packs"].as_array().expect("a list").len(), 1);
}

#[test]
fn where_it_is_not_known_what_boots_no_deployment_is_collected() {
    let scratch = Scratch::new();
    two_deployments(&scratch);
    let pruned = scratch.ok(&format!("{STORE} prune")).text();
    assert!(pruned.contains("no deployment was removed"), "{pruned}");
    let status = scratch.ok(&format!("{STORE} status")).text();
    assert!(status.contains("what boots is not known"), "{status}");
}

#[test]
fn what_runs_is_marked_and_a_damaged_record_of_it_stops_removals() {
    let scratch = Scratch::new();
    let [first, _] = two_deployments(&scratch);
    let commit = first.split('.').next().expect("a commit");
    let pack = "ab".repeat(32);
    let booted = format!(
        "{{\"version\": 1, \"sealed\": false, \"insecure\": [\"no Secure Boot\"], \
         \"mode\": \"integrity\", \"layer\": \"erofs\", \"pack\": \"{pack}\", \
         \"commit\": \"{commit}\", \"serial\": 0}}"
    );
    scratch.write("run/booted.json", booted);
    let status = scratch.ok(&format!("{STORE} status {BOOT}")).text();
    let mark = format!("* {}.0", &commit[..12]);
    assert!(
        status.lines().any(|line| line.starts_with(&mark)),
        "{status}"
    );
    assert!(
        status.starts_with("NOT SEALED:\n  no Secure Boot -> "),
        "{status}"
    );
    let words = ["is what runs", "hint: boot another deployment first"];
    let undeploy = format!("{STORE} undeploy {first} {BOOT}");
    scratch.refused(ErrorClass::Usage, &undeploy, &words);

    scratch.write("run/booted.json", "{");
    let words = ["booted.json does not say which deployment runs", "hint: "];
    for line in [undeploy, format!("{STORE} prune {BOOT}")] {
        scratch.refused(ErrorClass::Corrupt, &line, &words);
    }
    let status = scratch.ok(&format!("{STORE} status {BOOT}")).text();
    assert!(
        status.contains("does not say which deployment runs"),
        "{status}"
    );
    fs::remove_file(scratch.path("run/booted.json")).expect("removed");
    scratch.ok(&format!("{STORE} prune {BOOT}"));
}
