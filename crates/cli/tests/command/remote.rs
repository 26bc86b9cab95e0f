// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing and pulling by commands.

use std::fs;
use std::process::Command;

use sealroot_format::ErrorClass;
use sealroot_testkit::content::bytes;

use crate::support::{STORE, Scratch};

const DEVICE: &str = "--store device --keyset vendor.keyset";

/// Publishes what is in `tree` as a release of this index.
fn publish(scratch: &Scratch, index: u64) -> String {
    let commit = scratch.release(index);
    scratch.ok(&format!(
        "{STORE} publish {commit} --to www --key vendor.secret"
    ));
    commit
}

/// A vendor who has published a release, and a device that follows.
fn followed() -> (Scratch, String) {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("keys new vendor");
    let commit = publish(&scratch, 1);
    let add = "remote add vendor www --os exampleos --stream stable";
    scratch.ok(&format!("{DEVICE} {add}"));
    (scratch, commit)
}

#[test]
fn a_release_comes_and_the_next_by_a_delta() {
    let (scratch, first) = followed();
    let pulled = scratch.ok(&format!("{DEVICE} --json pull")).json();
    assert_eq!(pulled["commit"], *first);
    assert_eq!(pulled["steps"][0]["by"], "bundles");
    scratch.write("tree/etc/hostname", "another\n");
    let second = publish(&scratch, 2);
    let plan = scratch.ok(&format!("{DEVICE} --json pull --plan")).json();
    assert_eq!(
        (&plan["index"], &plan["steps"][0]["by"]),
        (&2.into(), &"delta".into())
    );
    let pulled = scratch.ok(&format!("{DEVICE} --json pull vendor")).json();
    assert_eq!(pulled["commit"], *second);
    assert_eq!(pulled["requests"], 3);
    scratch.ok(&format!("{DEVICE} verify {second} --full"));
    let again = scratch.ok(&format!("{DEVICE} pull")).text();
    assert!(again.contains("it was here already"), "{again}");
    let listed = scratch.ok(&format!("{DEVICE} --json remote list")).json();
    assert_eq!(listed[0]["last"]["newest"], 2);
}

#[test]
fn errors_say_how_to_go_on() {
    let (scratch, commit) = followed();
    for (line, code, text) in [
        (format!("{DEVICE} pull nobody"), 6, "no remote nobody"),
        (
            format!("{DEVICE} pull --index 7"),
            6,
            "no release with index 7",
        ),
        (
            format!("{DEVICE} remote add vendor www --os x --stream y"),
            2,
            "already",
        ),
        (
            format!("{DEVICE} remote remove nobody"),
            6,
            "no remote nobody",
        ),
        (format!("{DEVICE} pull --from nowhere"), 6, "nowhere"),
        (
            format!("{DEVICE} pull --from ftp://example.org"),
            2,
            "http://",
        ),
        (format!("{STORE} pull"), 6, "there is no remote"),
        (
            format!("{STORE} publish {commit} --to www --key other.secret"),
            2,
            "no channel key",
        ),
        ("remote prune nowhere".into(), 6, "no directory nowhere"),
        (
            "remote prune file://nowhere".into(),
            6,
            "no directory nowhere",
        ),
    ] {
        if line.contains("other.secret") {
            scratch.ok("keys new other");
        }
        let ran = scratch.run(&line);
        assert_eq!(ran.code, code, "{line}: {}", ran.err);
        assert!(ran.err.contains(text), "{line}: {}", ran.err);
    }
}

#[test]
fn a_dry_run_puts_and_removes_nothing() {
    let (scratch, _) = followed();
    let files = || {
        let mut names: Vec<_> = walk(&scratch.path("www"));
        names.sort();
        names
    };
    let before = files();
    scratch.write("tree/etc/hostname", "another\n");
    let commit = scratch.release(2);
    let line = format!("{STORE} --json publish {commit} --to www --key vendor.secret --dry-run");
    let published = scratch.ok(&line).json();
    assert_eq!(published["put"].as_array().map(Vec::len), Some(4));
    assert_eq!(files(), before);
    // Nor does a look at a directory of something else.
    scratch.refused(ErrorClass::NotFound, "remote prune tree --dry-run", &[]);
    assert!(!scratch.path("tree/.publish.lock").exists());
    let line = format!("{STORE} publish {commit} --to tree --key vendor.secret");
    scratch.ok(&format!("{line} --dry-run"));
    assert!(!scratch.path("tree/.publish.lock").exists());
    let line = line.replace("--to tree", "--to store");
    scratch.refused(ErrorClass::Usage, &line, &["store is a store"]);
    // No delta comes from what is not offered any more.
    let published = scratch.ok(&format!(
        "{STORE} --json publish {commit} --to www --key vendor.secret --keep 1"
    ));
    let put = published.json()["put"].to_string();
    assert!(put.contains("bundle/") && !put.contains("delta/"), "{put}");
    let all = files();
    let www = scratch.path("www");
    let line = format!(
        "--json remote prune file://{} --older-than 0",
        www.display()
    );
    let pruned = scratch.ok(&format!("{line} --dry-run")).json();
    assert_eq!(files(), all);
    let removed = scratch.ok(&line).json()["removed"].clone();
    assert_eq!(pruned["removed"], removed);
    assert_eq!(
        files().len() + removed.as_array().map_or(0, Vec::len),
        all.len()
    );
}

#[test]
fn a_channel_is_renewed_alone() {
    let (scratch, _) = followed();
    fs::remove_dir_all(scratch.path("store")).expect("a store");
    let renew = |channel: &str, options: &str| {
        format!(
            "--keyset vendor.keyset --json publish --renew {channel} --to www --key vendor.secret \
             {options}"
        )
    };
    let channel = format!("exampleos/-/stable/{}", std::env::consts::ARCH);
    let path = format!("channel/{channel}.channel");
    let before = fs::read(scratch.path("www").join(&path)).expect("a channel");
    for (options, is_dry_run) in [("--dry-run", true), ("--expires 90", false)] {
        let renewed = scratch.ok(&renew(&channel, options)).json();
        assert_eq!(renewed["channel"], channel);
        assert_eq!(
            (&renewed["version"], &renewed["releases"]),
            (&2.into(), &1.into())
        );
        let put = renewed["put"].as_array().expect("a list");
        assert_eq!(put.len(), 1);
        assert_eq!(put[0]["path"], path);
        let now = fs::read(scratch.path("www").join(&path)).expect("a channel");
        assert_eq!(now == before, is_dry_run);
    }
    scratch.ok(&format!("{DEVICE} pull"));
    let line = renew(&channel.replace("stable", "testing"), "").replace("--json", "");
    let error = scratch.refused(ErrorClass::NotFound, &line, &["no channel", "hint: "]);
    assert!(error.contains("exampleos/-/testing"), "{error}");
    for (channel, options) in [("exampleos/stable", ""), (&*channel, "--level 3")] {
        let ran = scratch.run(&renew(channel, options));
        assert_eq!(ran.code, 2, "{}", ran.err);
    }
    let neither = "--keyset vendor.keyset publish --to www --key vendor.secret";
    assert_eq!(scratch.run(neither).code, 2);
}

// Rules: M3
#[test]
fn what_came_of_a_download_that_nobody_offers_is_collected() {
    let (scratch, _) = followed();
    scratch.ok(&format!("{DEVICE} pull --plan"));
    let bundle = scratch.only("www/bundle", ".bundle");
    let head = bundle.file_stem().expect("a name").to_str().expect("text");
    let (offered, gone) = (
        format!("device/remote/{head}.part"),
        format!("device/remote/{}.part", "0".repeat(64)),
    );
    for part in [&offered, &gone] {
        scratch.write(part, "what came");
    }
    let line = format!("{DEVICE} --json prune --boot boot --boot-loader systemd-boot --run run");
    fs::create_dir(scratch.path("boot")).expect("a directory");
    fs::create_dir(scratch.path("run")).expect("a directory");
    let locked = fs::File::open(scratch.path(&gone)).expect("opened");
    locked.lock().expect("locked");
    assert_eq!(scratch.ok(&line).json()["downloads"], 0);
    // Closing it would not do while another test starts a program, which holds it too for a moment.
    locked.unlock().expect("unlocked");
    for (option, is_there) in [(" --dry-run", true), ("", false)] {
        let pruned = scratch.ok(&format!("{line}{option}")).json();
        assert_eq!(pruned["downloads"], 1);
        assert_eq!(pruned["download_bytes"], 9);
        assert_eq!(scratch.path(&gone).exists(), is_there);
        assert!(scratch.path(&offered).exists());
    }
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).expect("listed");
    let below = |entry: fs::DirEntry| match entry.path() {
        path if path.is_dir() => walk(&path),
        path => vec![path],
    };
    entries
        .flat_map(|entry| below(entry.expect("an entry")))
        .collect()
}

#[test]
fn a_delta_is_made_for_a_look() {
    let scratch = Scratch::new();
    let first = scratch.built();
    scratch.write(
        "tree/usr/bin/large",
        [vec![7; 100_000], vec![8; 10]].concat(),
    );
    let second = scratch.build("--index 2");
    let (from, to) = (&first[..12], &second[..12]);
    let line = format!("{STORE} --json delta {from} {to} -o update.delta");
    let made = scratch.ok(&line).json();
    let written = fs::metadata(scratch.path("update.delta")).expect("written");
    assert_eq!(made["delta_bytes"], written.len());
    assert_eq!(
        (&made["objects"], &made["object_bytes"]),
        (&1.into(), &100_010.into())
    );
    let text = scratch.ok(&format!("{STORE} delta {from} {to}")).text();
    assert!(
        text.contains("makes 1 new object of 100010 bytes"),
        "{text}"
    );
    scratch.refused(
        ErrorClass::NotFound,
        &format!("{STORE} delta {from} 0000"),
        &["no commit in the store begins with 0000"],
    );
}

#[test]
fn a_vendor_sees_what_makes_an_update_large() {
    let scratch = Scratch::new();
    let noise = |seed: u64| bytes(seed, 50_000);
    scratch.write("tree/usr/lib/modules/6.1/a.ko", noise(1));
    scratch.write("tree/usr/lib/modules/6.1/b.ko", noise(2));
    scratch.write("tree/usr/share/doc/one/changelog", "old\n");
    scratch.write("tree/usr/share/kept", bytes(4, 3000));
    let first = scratch.built();
    fs::remove_file(scratch.path("tree/usr/lib/modules/6.1/b.ko")).expect("removed");
    scratch.write("tree/usr/lib/modules/6.1/c.ko", noise(3));
    scratch.write("tree/usr/share/doc/one/changelog", "new\n");
    let second = scratch.build("--index 2");
    let diff = scratch
        .ok(&format!("{STORE} --json diff {first} {second}"))
        .json();
    let modules = &diff["groups"][0];
    assert_eq!(modules["path"], "/usr/lib/modules");
    let keys = ["added", "removed", "changed", "content_bytes"];
    let numbers = keys.map(|key| modules[key].as_u64());
    assert_eq!(numbers, [1, 1, 0, 50_000].map(Some));
    let cost = modules["cost_bytes"].as_u64().expect("a number");
    assert!((50_000..50_200).contains(&cost), "{cost}");
    let doc = &diff["groups"][1];
    assert_eq!(
        (&doc["path"], &doc["changed"]),
        (&"/usr/share/doc".into(), &1.into())
    );
    assert_eq!(doc["cost_bytes"], 0, "it lies in the pack");
    let delta = scratch
        .ok(&format!("{STORE} --json delta {first} {second}"))
        .json();
    assert_eq!(diff["pack_cost_bytes"], delta["pack_bytes"]);
    let quick = scratch
        .ok(&format!("{STORE} diff {first} {second} --quick"))
        .text();
    assert!(
        quick.contains("/usr/lib/modules") && !quick.contains("in all"),
        "{quick}"
    );
    let same = scratch.ok(&format!("{STORE} diff {first} {first}")).text();
    assert_eq!(same, "nothing has changed\n");
    // With another threshold a file that has not changed is a new object.
    scratch.write("tree/etc/hostname", "other\n");
    let third = scratch.build("--index 3 --threshold 64");
    let line = format!("{STORE} --json diff {second} {third}");
    let diff = scratch.ok(&line).json();
    let etc = &diff["groups"][0];
    assert_eq!(
        (&etc["path"], &etc["cost_bytes"]),
        (&"/etc".into(), &0.into())
    );
    let unchanged = diff["unchanged_cost_bytes"].as_u64().expect("a number");
    assert!(unchanged > 3000, "{unchanged}");
}

#[test]
fn a_vendor_is_told_what_makes_updates_large() {
    let scratch = Scratch::new();
    scratch.write("tree/usr/lib/modules/6.1/a.ko.xz", vec![1; 5000]);
    scratch.write("tree/usr/lib/modules/6.1/b.ko.xz", vec![2; 9000]);
    scratch.write("tree/usr/lib/python3/__pycache__/a.pyc", vec![3; 10]);
    let advice = scratch.ok("--json advise tree").json();
    let modules = &advice["findings"][0];
    assert_eq!(modules["code"], "compressed-modules");
    let numbers = ["files", "bytes"].map(|key| modules[key].as_u64());
    assert_eq!(numbers, [2, 14_000].map(Some));
    assert_eq!(modules["example"], "/usr/lib/modules/6.1/b.ko.xz");
    assert_eq!(advice["findings"][1]["code"], "bytecode");
    let commit = scratch.signed();
    let text = scratch.ok(&format!("{STORE} advise {commit}")).text();
    assert!(
        text.contains("compressed-modules: 2 files of 14000 bytes"),
        "{text}"
    );
    fs::remove_dir_all(scratch.path("tree/usr/lib")).expect("removed");
    let text = scratch.ok("advise tree").text();
    assert!(text.contains("nothing here"), "{text}");
}

#[test]
fn what_is_compressed_can_be_built_as_it_is() {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.write("tree/usr/share/doc/NEWS.gz", "no gzip");
    let module = "tree/usr/lib/modules/6.1/a.ko";
    scratch.write(module, vec![1; 5000]);
    let mut zstd = Command::new("zstd");
    let status = zstd
        .args(["--rm", "--quiet"])
        .arg(scratch.path(module))
        .status();
    assert!(status.expect("zstd").success());
    scratch.ok("keys new vendor");
    let line = "build --dir tree --os exampleos --stream stable --normalize --index 1";
    let built = scratch.ok(&format!("{STORE} {line}"));
    let warned = "usr/share/doc/NEWS.gz stays compressed";
    assert!(built.err.contains(warned), "{}", built.err);
    let built = built.text();
    let first = built.lines().next().and_then(|line| line.split_once(' '));
    let (_, commit) = first.expect("a commit");
    scratch.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
    let listed = scratch
        .ok(&format!("{STORE} ls {commit} usr/lib/modules/6.1"))
        .text();
    assert!(listed.ends_with("5000 a.ko\n"), "{listed}");
    scratch.refused(
        ErrorClass::Usage,
        "build --ostree repo main --os a --stream b --index 1 --normalize",
        &["--normalize", "cannot be used with", "--ostree"],
    );
}
