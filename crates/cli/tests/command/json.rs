// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs read: keys that stay, and errors, warnings and usage errors as JSON too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::Instant;

use serde_json::{Value, json};

use sealroot_testkit::content::bytes;
use sealroot_testkit::need;

use crate::support::{STORE, Scratch, finished};

/// The keys of an object, sorted, as one text.
fn keys(value: &Value) -> String {
    let mut keys: Vec<_> = value
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    keys.sort();
    keys.join(" ")
}

/// The lines on standard error, which all are JSON: those of progress, and all others.
fn told(lines: &str) -> (Vec<Value>, Vec<Value>) {
    let parse = |line| serde_json::from_str::<Value>(line).expect("JSON on standard error");
    lines
        .lines()
        .map(parse)
        .partition(|line| line.get("progress").is_some())
}

/// The only line on standard error that is not of progress.
fn error(lines: &str) -> Value {
    let (_, mut others) = told(lines);
    assert_eq!(others.len(), 1, "{lines}");
    others.remove(0)
}

/// That stages come one after the other, each with a start and an end between which it advances.
fn check_stages(events: &[Value]) {
    let mut open: Option<&Value> = None;
    for event in events {
        assert_eq!(keys(event), "done progress stage total unit");
        let done = |event: &Value| event["done"].as_u64().expect("a number");
        match (event["progress"].as_str(), open) {
            (Some("start"), None) => assert_eq!(done(event), 0),
            (Some("advance" | "end"), Some(before)) => {
                let same = ["stage", "unit", "total"].map(|key| event[key] == before[key]);
                assert!(!same.contains(&false), "{before} {event}");
                assert!(done(event) >= done(before), "{before} {event}");
            }
            _ => panic!("{event} after {open:?}"),
        }
        open = (event["progress"] != "end").then_some(event);
    }
    assert_eq!(open, None);
}

#[test]
fn results_have_the_keys_that_are_promised() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let json = |line: &str| scratch.ok(&format!("{STORE} --json {line}")).json();

    let new = json("keys new vendor");
    assert_eq!(keys(&new), "key keyset public secret");
    let shown = json("keys show vendor.keyset");
    assert_eq!(
        keys(&shown),
        "file ignored is_complete roles signatures version"
    );
    let signatures = &shown["signatures"][0];
    assert_eq!(keys(signatures), "good keyset root_keys threshold wrong");
    assert_eq!(keys(&shown["roles"][0]), "keys role threshold");
    assert_eq!(shown["roles"][1]["keys"][0], new["key"]);

    let built = json("build --dir tree --os exampleos --stream stable --index 1");
    assert_eq!(
        keys(&built),
        "added_bytes added_objects commit entries is_new no_verity object_bytes objects pack \
         pack_bytes stream tree_digest"
    );
    let commit = built["commit"].as_str().expect("text");
    let image = json("image tree tree.pack");
    assert_eq!(keys(&image), "digest entries file size_bytes");
    assert_eq!(image["digest"], built["pack"]);

    let signed = json(&format!("sign {commit} --key vendor.secret"));
    assert_eq!(
        keys(&signed),
        "commit is_new key published signatures statement stream wanted"
    );
    let verified = json("verify");
    assert_eq!(keys(&verified), "refused releases");
    assert_eq!(
        keys(&verified["releases"][0]),
        "commit damaged index objects objects_checked os signers stream version"
    );
    let deployed = json(&format!("deploy {commit} --mode integrity"));
    assert_eq!(
        keys(&deployed),
        "commit deployment entry etc initramfs is_reused is_staged karg no_entry_because serial"
    );
    assert_eq!(deployed["karg"], format!("sealroot={commit}.0"));

    let status = json("status");
    assert_eq!(
        keys(&status),
        "boot_entries booted deployments floor keyset migration not_sealed_because notes releases \
         sealed"
    );
    assert_eq!(
        keys(&status["deployments"][0]),
        "deployed etc index is_booted kernel_arguments load_option mode name origin os pack problem signatures \
         signers stateroot states stream version"
    );
    assert_eq!(
        keys(&status["releases"][0]),
        "commit signatures signers state stream"
    );
    assert_eq!(status["releases"][0]["state"], "signed");
    let check = json("check");
    assert_eq!(
        keys(&check),
        "deployments findings hashed_bytes images objects packs statements"
    );

    let listed = json(&format!("ls {commit} /usr/bin"));
    assert_eq!(
        keys(&listed["entries"][0]),
        "gid mode mtime_seconds name object size_bytes uid"
    );
    let dumped = json(&format!("dump {commit}"));
    assert_eq!(keys(&dumped), "dump tree_digest");
    assert_eq!(dumped["tree_digest"], built["tree_digest"]);
    let digest = json(&format!("dump {commit} --digest-only"));
    assert_eq!(keys(&digest), "tree_digest");
}

#[test]
fn what_root_does_has_keys_too() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let json = |line: &str| scratch.ok(&format!("{STORE} --json {line}"));
    let unpacked = json(&format!("unpack {commit} out")).json();
    assert_eq!(keys(&unpacked), "content_bytes directory entries");
    let mounted = json(&format!("mount {commit} out"));
    scratch
        .command_of("umount", "out")
        .status()
        .expect("umount starts");
    assert_eq!(keys(&mounted.json()), "is_verified mountpoint");
    let warning = error(&mounted.err);
    assert_eq!(keys(&warning), "warning");
}

#[test]
fn findings_have_keys_too() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    scratch.write("store/stray", "");
    let check = scratch.ok(&format!("{STORE} --json check")).json();
    assert_eq!(keys(&check["findings"][0]), "code detail path severity");

    scratch.write("tree/etc/more", "");
    scratch.build("--index 2");
    let ran = scratch.run(&format!("{STORE} --json verify"));
    assert_eq!(keys(&ran.json()["refused"][0]), "commit reason stream");
    assert_eq!(ran.json()["releases"][0]["commit"], commit);
    assert_eq!(error(&ran.err)["class"], "untrusted");

    let large = scratch.listing("store/objects");
    let (object, _) = large.iter().find(|(_, len)| *len > 0).expect("an object");
    std::fs::remove_file(scratch.directory.path().join(object)).expect("removed");
    let ran = scratch.run(&format!("{STORE} --json verify {commit}"));
    let damaged = &ran.json()["releases"][0]["damaged"][0];
    assert_eq!(keys(damaged), "object path reason");
}

#[test]
fn errors_are_json() {
    let scratch = Scratch::new();
    let commit = scratch.built();
    for (class, code, line) in [
        ("untrusted", 4, format!("verify {commit}")),
        ("unsupported", 5, format!("deploy {commit} --mode verity")),
        ("not_found", 6, "ls none".to_owned()),
        ("corrupt", 3, "ls tree/etc/hostname".to_owned()),
        ("usage", 2, "keys new vendor".to_owned()),
        ("io", 1, "image tree vendor.public/x".to_owned()),
    ] {
        if class == "unsupported" {
            scratch.ok(&format!("{STORE} sign {commit} --key vendor.secret"));
        }
        let ran = scratch.run(&format!("{STORE} --json {line}"));
        assert_eq!((ran.code, &*ran.out), (code, &b""[..]), "{line}");
        let found = error(&ran.err);
        assert_eq!(keys(&found), "class error hint", "{line}");
        assert_eq!(found["class"], class, "{line}");
        assert!(found["error"][0].is_string(), "{line}");
    }
}

#[test]
fn usage_errors_are_json() {
    let scratch = Scratch::new();
    for line in [
        "--json",
        "--json ls",
        "ls --json",
        "--bogus --json",
        "nonsense --json",
        "--json build --dir x --os a/b --stream s --index 1",
        "--json build --dir x --os a --stream s --index one",
        "--json image tree --threshold 70000 x",
        "--json verify 12",
        "keys --json",
    ] {
        let ran = scratch.run(line);
        assert_eq!((ran.code, &*ran.out), (2, &b""[..]), "{line}: {}", ran.err);
        let found = error(&ran.err);
        assert_eq!(found["class"], "usage", "{line}");
        let message = found["error"][0].as_str().expect("text");
        assert!(
            !message.starts_with("error") && !message.contains('\n'),
            "{line}: {message}"
        );
    }
    let found = error(&scratch.run("--json status --sysrot x").err);
    let hint = found["hint"].as_str().expect("a hint");
    assert!(
        hint.contains("'--sysroot'") && hint.contains("Usage: "),
        "{hint}"
    );
    // Help is no error.
    let help = scratch.ok("--json --help");
    assert!(help.text().contains("Usage: sealroot") && help.err.is_empty());
}

#[test]
fn warnings_are_json() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let line = format!("{STORE} --json build --dir tree --os exampleos --stream stable --index 9");
    let ran = scratch.ok(&line);
    let warning = error(&ran.err);
    assert_eq!(keys(&warning), "warning");
    assert!(
        warning["warning"]
            .as_str()
            .expect("text")
            .contains("the tree cannot boot")
    );
}

#[test]
fn progress_is_json() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let publish = format!("{STORE} --json publish {commit} --to www --key vendor.secret");
    let (events, others) = told(&scratch.ok(&publish).err);
    check_stages(&events);
    assert!(others.is_empty(), "{others:?}");
    let device = "--store device --keyset vendor.keyset --json";
    let add = "remote add vendor www --os exampleos --stream stable";
    scratch.ok(&format!("{device} {add}"));
    let pull = scratch.ok(&format!("{device} pull"));
    let (events, _) = told(&pull.err);
    check_stages(&events);
    for what in ["the head", "the pack", "objects"] {
        let is_its_end = |event: &&Value| {
            event["stage"] == format!("fetching {what}") && event["progress"] == "end"
        };
        let end = events.iter().find(is_its_end).expect("it came");
        assert_eq!(end["unit"], "bytes");
        assert!(end["done"].as_u64() > Some(0), "{end}");
        assert_eq!(end["done"], end["total"]);
    }
    let pulled = pull.json();

    let upgraded = scratch.ok(&format!("{device} upgrade --no-entry --mode integrity"));
    check_stages(&told(&upgraded.err).0);
    let upgraded = upgraded.json();
    assert_eq!(keys(&upgraded["pulled"]), keys(&pulled));
    assert_eq!(upgraded["pulled"]["is_new"], false);
    assert_eq!(upgraded["karg"], format!("sealroot={commit}.0"));
}

#[test]
fn progress_comes_now_and_then() {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.write("tree/usr/bin/other", bytes(1, 200_000));
    scratch.ok("keys new vendor");
    let commit = scratch.release(1);
    scratch.ok(&format!(
        "{STORE} publish {commit} --to www --key vendor.secret"
    ));
    let device = "--store device --keyset vendor.keyset --json";
    let add = "remote add vendor www --os exampleos --stream stable";
    scratch.ok(&format!("{device} {add}"));
    let since = Instant::now();
    let ran = scratch.ok(&format!("{device} pull --limit-rate 100"));
    let lasted = since.elapsed();
    let (events, _) = told(&ran.err);
    check_stages(&events);
    let advances = (events.iter()).filter(|event| event["progress"] == "advance");
    let advances = advances.count() as u128;
    let most = lasted.as_millis() / 250;
    assert!((2..=most).contains(&advances), "{advances} of {most}");
}

#[test]
fn a_stage_ends_where_the_command_fails() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let publish = format!("{STORE} publish {commit} --to www --key vendor.secret");
    scratch.ok(&publish);
    let device = "--store device --keyset vendor.keyset --json";
    let add = "remote add vendor www --os exampleos --stream stable";
    scratch.ok(&format!("{device} {add}"));
    let bundle = scratch.only("www/bundle", ".bundle");
    let len = std::fs::read(&bundle).expect("a bundle").len();
    crate::support::flip(&bundle, len - 1, 1);
    let ran = scratch.run(&format!("{device} pull"));
    let (events, others) = told(&ran.err);
    check_stages(&events);
    let last = events.last().expect("an event");
    assert_eq!(last["progress"], "end");
    assert_eq!(others.len(), 1);
    assert_eq!((ran.code, &others[0]["class"]), (4, &json!("untrusted")));
}

#[test]
fn names_are_told_without_loss() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let names: [(&[u8], Value); 4] = [
        (b"a\\n", json!("a\\n")),
        (b"b\n\"", json!("b\n\"")),
        ("gr\u{fc}n".as_bytes(), json!("gr\u{fc}n")),
        (b"\xff\n\"", json!({ "base64": "/woi" })),
    ];
    for (name, _) in &names {
        let path = scratch.path("tree/etc").join(OsStr::from_bytes(name));
        symlink(OsStr::from_bytes(name), path).expect("a symlink");
    }
    let image = scratch
        .command("--json image tree")
        .arg("\u{fc}.pack")
        .output();
    assert_eq!(
        finished(image.expect("it starts")).json()["file"],
        "\u{fc}.pack"
    );
    let mut image = scratch.command("--json image tree");
    let image = finished(
        image
            .arg(OsStr::from_bytes(b"\xff"))
            .output()
            .expect("it starts"),
    );
    assert_eq!(
        (image.code, &image.json()["file"]),
        (0, &json!({ "base64": "/w==" }))
    );

    let pack = OsStr::from_bytes(b"\xff");
    let ls = |path: &[u8]| {
        let mut ls = scratch.command("--json ls");
        let ls = ls.arg(pack).arg(OsStr::from_bytes(path)).output();
        finished(ls.expect("it starts")).json()["entries"].take()
    };
    let listed = ls(b"/etc");
    for (name, expected) in &names {
        let entries = listed.as_array().expect("a list");
        let entry = entries.iter().find(|entry| entry["name"] == *expected);
        assert_eq!(entry.expect("it is listed")["target"], *expected);
        let path = [b"etc/", *name].concat();
        assert_eq!(ls(&path).as_array().map(Vec::len), Some(1));
    }
    let text = scratch.command("ls").arg(pack).arg("etc").output();
    let text = finished(text.expect("it starts")).text();
    for shown in [
        "a\\\\n -> a\\\\n",
        " b\\n\" -> ",
        " gr\u{fc}n -> gr\u{fc}n",
        " \\xff\\n\" -> ",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }

    scratch.built();
    let stray = scratch.path("store").join(OsStr::from_bytes(b"\xff"));
    std::fs::write(stray, "").expect("written");
    let check = scratch.ok(&format!("{STORE} --json check")).json();
    assert_eq!(check["findings"][0]["path"], json!({ "base64": "/w==" }));
}

#[test]
fn a_file_has_no_json() {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("image tree tree.pack");
    let ran = scratch.run("--json cat tree.pack etc/hostname");
    assert_eq!((ran.code, &*ran.out), (2, &b""[..]));
    let found = error(&ran.err);
    assert_eq!(found["class"], "usage");
    let hint = found["hint"].as_str().expect("a hint");
    assert!(hint.contains("leave out --json"), "{hint}");
}
