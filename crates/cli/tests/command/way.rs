// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole way of a release, and the exit codes on it.

use std::fs;
use std::path::Path;

use sealroot_format::ErrorClass;

use crate::support::{STORE, Scratch};

#[test]
fn from_a_directory_to_a_deployment() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let keys = scratch.ok("keys new vendor").text();
    assert!(keys.contains("vendor.secret: keep it secret"), "{keys}");

    let release = "--dir tree --os exampleos --stream stable --version 1.0 --index 1";
    let built = scratch.ok(&format!("--store store build {release}")).text();
    let commit = built
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("commit "));
    let commit = commit.expect("the commit").to_owned();
    assert!(
        built.contains("new in the store: 1 object of 100000 bytes"),
        "{built}"
    );
    let before = scratch.listing("store");
    let again = scratch.ok(&format!("--store store build {release}")).text();
    assert!(
        again.contains("all of it was in the store already"),
        "{again}"
    );
    assert_eq!(scratch.listing("store"), before);

    let words = [
        &*commit,
        "expected signatures by 1 distinct release keys",
        "found 0",
        "hint: ",
    ];
    for line in ["verify", "deploy --mode integrity", "ls", "status"] {
        let line = format!("{STORE} {line}");
        match line.split(' ').next_back() {
            Some("status") => {
                let status = scratch.ok(&line).text();
                assert!(status.contains("stable: NOT SIGNED"), "{status}");
            }
            _ => drop(scratch.refused(ErrorClass::Untrusted, &format!("{line} {commit}"), &words)),
        }
    }

    let signed = scratch
        .ok(&format!("{STORE} sign {commit} --key vendor.secret"))
        .text();
    assert!(
        signed.contains("  version 1.0\n") && signed.contains("; 1 signature now"),
        "{signed}"
    );
    let verified = scratch.ok(&format!("{STORE} verify --full")).text();
    assert!(
        verified.contains(&format!("{commit} exampleos stable 1.0 (index 1)")),
        "{verified}"
    );
    assert!(
        verified.contains("the pack and 1 object are as signed (read and hashed)"),
        "{verified}"
    );

    let deploy = format!("{STORE} deploy {commit} --mode integrity");
    let deployed = scratch.ok(&deploy).text();
    assert!(
        deployed.contains(&format!("deployed as {commit}.0")),
        "{deployed}"
    );
    assert!(
        deployed.contains(&format!("sealroot={commit}.0")),
        "{deployed}"
    );
    let again = scratch.ok(&deploy).text();
    assert!(
        again.contains(&format!("was deployed already as {commit}.0")),
        "{again}"
    );

    let status = scratch.ok(&format!("{STORE} status")).text();
    assert!(status.starts_with("NOT SEALED:\n"), "{status}");
    let row = status.lines().find(|line| line.contains(&commit[..12]));
    let row: Vec<_> = row.expect("a row").split_whitespace().collect();
    let name = format!("{}.0", &commit[..12]);
    let expected = [
        &*name,
        "exampleos",
        "1.0",
        "1",
        "integrity",
        "-",
        "unused",
        "signed",
    ];
    assert_eq!(row, expected, "{status}");
    assert!(status.contains("stable: signed by 1 key"), "{status}");
    let check = scratch.ok(&format!("{STORE} check --full")).text();
    assert!(
        check.contains("1 pack, 1 object, 1 statement, 1 deployment"),
        "{check}"
    );
    assert!(check.trim_end().ends_with(": 0 findings"), "{check}");
}

#[test]
fn two_of_three_keys_must_sign() {
    let scratch = Scratch::new();
    let commit = scratch.built();
    for name in ["a", "b", "c"] {
        scratch.ok(&format!("keys new {name}"));
    }
    let all = |role: &str| {
        ["a", "b", "c"]
            .map(|name| format!("--{role} {name}.public"))
            .join(" ")
    };
    scratch.ok(&format!(
        "keys keyset team.keyset {} {} {} --release-threshold 2",
        all("root"),
        all("release"),
        all("channel")
    ));
    let shown = scratch.ok("keys show team.keyset").text();
    assert!(shown.contains("0 root signatures, not enough"), "{shown}");
    scratch.ok("keys sign team.keyset --key a.secret");
    let shown = scratch.ok("keys show team.keyset").text();
    assert!(shown.contains("1 root signature, enough"), "{shown}");

    let verify = format!("--store store --keyset team.keyset verify {commit}");
    let few = "expected signatures by 2 distinct release keys of keyset version 1, found";
    for (key, found) in [("vendor", 0), ("a", 1), ("a", 1)] {
        scratch.ok(&format!("{STORE} sign {commit} --key {key}.secret"));
        let expected = format!("{few} {found}");
        scratch.refused(ErrorClass::Untrusted, &verify, &[&expected, "hint: "]);
    }
    let sign = "--store store --keyset team.keyset sign";
    let signed = scratch.ok(&format!("{sign} {commit} --key a.secret"));
    let few = "\nnot enough for the keyset: 1 of 2 have signed\n";
    assert!(signed.text().ends_with(few), "{}", signed.text());
    let signed = scratch.ok(&format!("{sign} {commit} --key c.secret"));
    let enough = "\nenough for the keyset\n";
    assert!(signed.text().ends_with(enough), "{}", signed.text());
    scratch.ok(&verify);
    let signed = scratch.ok(&format!("{sign} {commit} --key vendor.secret"));
    let warning = "is no release key of team.keyset";
    assert!(signed.err.contains(warning), "{}", signed.err);
}

#[test]
fn an_external_command_signs() {
    let scratch = Scratch::new();
    let commit = scratch.built();
    let sign = |signer: &str| {
        let line = format!("{STORE} sign {commit} --public-key vendor.public --signer");
        let mut command = scratch.command(&line);
        crate::support::finished(command.arg(signer).output().expect("it starts"))
    };
    let ran = sign("false");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the signer false failed"), "{}", ran.err);
    let ran = sign("cat");
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("wrote no signature"), "{}", ran.err);
    let ran = sign("no-such-signer");
    assert_eq!(
        ran.code,
        i32::from(ErrorClass::NotFound.exit_code()),
        "{}",
        ran.err
    );
    let verify = format!("{STORE} verify {commit}");
    scratch.refused(ErrorClass::Untrusted, &verify, &["found 0"]);

    // One that never ends, with words that steer a terminal.
    scratch.write(
        "hang",
        "#!/bin/sh\nprintf 'touch\\033[2J me' >&2\nexec sleep 1000\n",
    );
    let line = format!("{STORE} sign {commit} --public-key vendor.public --signer-timeout 1");
    let start = std::time::Instant::now();
    let line = format!("{line} --signer");
    let mut command = scratch.command(&line);
    let ran = crate::support::finished(command.arg("sh hang").output().expect("it starts"));
    assert!(start.elapsed().as_secs() < 60);
    assert!(
        ran.err
            .starts_with("note: waiting up to 1 s for sh to sign\n"),
        "{}",
        ran.err
    );
    let words = [
        "sh was stopped: expected a signature within 1 s",
        "it wrote: touch?[2J me",
    ];
    crate::support::check_refusal(&ran, ErrorClass::Io, &line, &words);
}

#[test]
fn one_bad_release_does_not_hide_the_others() {
    let scratch = Scratch::new();
    let good = scratch.signed();
    scratch.write("tree/etc/more", "more");
    let bad = scratch.build("--index 2");
    let ran = scratch.run(&format!("{STORE} verify"));
    assert_eq!(ran.code, 4);
    let text = ran.text();
    assert!(
        text.contains(&format!("{good} exampleos stable - (index 1)")),
        "{text}"
    );
    assert!(
        text.contains(&format!("{bad} stable\n  REFUSED: ")),
        "{text}"
    );
    assert!(ran.err.contains("1 release cannot be used"), "{}", ran.err);
}

#[test]
fn a_commit_in_two_streams_wants_the_stream() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    scratch.ok(&format!(
        "{STORE} build --dir tree --os exampleos --stream beta --index 1"
    ));
    for line in [
        "verify",
        "ls",
        "sign --key vendor.secret",
        "deploy --mode integrity",
    ] {
        let line = format!("{STORE} {line} {commit}");
        let words = [
            "several streams: beta, stable",
            "hint: choose one with --stream NAME",
        ];
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    scratch.ok(&format!("{STORE} ls {commit} --stream stable"));
    scratch.ok(&format!(
        "{STORE} deploy {commit} --stream stable --mode integrity"
    ));
    // A deployment says itself which it is.
    scratch.ok(&format!("{STORE} ls {commit}.0"));
    let other = format!("{STORE} ls {commit} --stream gamma");
    scratch.refused(ErrorClass::NotFound, &other, &["in stream gamma", "hint: "]);
}

#[test]
fn a_signed_statement_is_not_replaced() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let before = scratch.listing("store/pack");
    for other in [
        "--index 2",
        "--index 1 --version 2",
        "--index 1 --threshold 0",
    ] {
        scratch.refused(
            ErrorClass::Usage,
            &format!("{STORE} build --dir tree --os exampleos --stream stable {other}"),
            &[&commit, "is released in stream stable already"],
        );
    }
    scratch.ok(&format!("{STORE} verify {commit}"));
    assert_eq!(scratch.listing("store/pack"), before);

    let line = format!("{STORE} build --dir tree --os exampleos --stream beta --index 2");
    scratch.ok(&line);
}

#[test]
fn a_store_in_the_tree_is_refused() {
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.refused(
        ErrorClass::Usage,
        "--store tree/store build --dir tree --os o --stream s --index 1",
        &["tree/store", "lies in the tree"],
    );
}

#[test]
fn a_release_is_bound_to_a_kernel_of_its_tree() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let build = |stream: &str, options: &str| {
        format!("{STORE} build --dir tree --os o --stream {stream} --index 1 {options}")
    };
    let statement = |stream: &str| {
        let path = scratch.only("store/pack", &format!(".{stream}.sign"));
        fs::read_to_string(path).expect("a statement")
    };
    scratch.ok(&build("none", "--kernel 6.6"));
    assert!(statement("none").contains("\nkernel 6.6\n"));

    fs::create_dir_all(scratch.path("tree/usr/lib/modules/6.12.1")).expect("a directory");
    scratch.ok(&build("one", ""));
    assert!(statement("one").contains("\nkernel 6.12.1\n"));
    let other = build("other", "--kernel 6.6");
    scratch.refused(
        ErrorClass::Usage,
        &other,
        &["kernel 6.6", "expected 6.12.1"],
    );

    fs::create_dir_all(scratch.path("tree/usr/lib/modules/6.12.2")).expect("a directory");
    assert!(
        scratch
            .ok(&build("two", ""))
            .err
            .contains("several kernels")
    );
    let warned = scratch.ok(&build("chosen", "--kernel 6.12.2")).err;
    assert!(!warned.contains("kernel"), "{warned}");
    assert!(statement("chosen").contains("\nkernel 6.12.2\n"));
}

#[test]
fn a_tree_that_cannot_boot_is_built_with_a_warning() {
    let scratch = Scratch::new();
    scratch.small_tree();
    let line = format!("{STORE} build --dir tree --os o --stream s --index 1");
    let warned = scratch.ok(&line).err;
    assert!(
        warned.contains("cannot boot: it has no /dev, /proc") && warned.contains("/sbin/init"),
        "{warned}"
    );
    for name in ["dev", "proc", "run", "sys", "sysroot", "tmp", "var"] {
        fs::create_dir(scratch.path("tree").join(name)).expect("a directory");
    }
    scratch.write("tree/usr/sbin/init", "#!/bin/sh\n");
    assert_eq!(scratch.ok(&line.replace("index 1", "index 2")).err, "");
}

#[test]
fn a_release_has_a_higher_index_than_those_before() {
    let scratch = Scratch::new();
    let first = scratch.signed();
    scratch.write("later/etc/more", "more");
    let build = |options: &str| format!("{STORE} build --os exampleos {options}");
    for index in [0, 1] {
        let words = [
            &*format!("the index {index} is not above 1, which {first} has in stream stable"),
            "hint: --index 2; or another --stream",
        ];
        let line = build(&format!("--dir later --stream stable --index {index}"));
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    assert_eq!(scratch.listing("store/pack").len(), 2, "only the first");
    scratch.ok(&build("--dir later --stream beta --index 1"));
    let other = "--dir later --stream stable --variant server --index 1 --arch riscv64";
    scratch.ok(&build(other));
    let second = scratch.ok(&build("--json --dir later --stream stable --index 2"));
    let second = second.json()["commit"].as_str().expect("text").to_owned();
    // The same release again, though there is a later one.
    assert_eq!(scratch.build("--index 1"), first);
    scratch.write("third/etc/more", "still more");
    let taken = build("--dir third --stream stable --index 2");
    scratch.refused(ErrorClass::Usage, &taken, &[&second, "hint: --index 3"]);

    let path = scratch.path(&format!("store/pack/{second}.stable.sign"));
    let text = fs::read_to_string(&path).expect("text");
    fs::write(&path, text.replace("index 2", "index 18446744073709551615")).expect("written");
    scratch.refused(ErrorClass::Usage, &taken, &["hint: another --stream"]);
    // What is no statement says nothing of numbers.
    fs::write(&path, text.replace("index 2", "index two")).expect("written");
    scratch.ok(&taken);
    fs::write(&path, "").expect("written");
    scratch.ok(&build("--dir third --stream stable --index 3"));
}

#[test]
fn a_refused_index_leaves_nothing_in_the_store() {
    let scratch = Scratch::new();
    scratch.built();
    // More than is written at a time.
    for n in 0..300 {
        scratch.write(&format!("later/{n}"), format!("{n:8000}"));
    }
    let before = scratch.listing("store");
    let build = format!("{STORE} build --dir later --os exampleos --stream stable --index");
    for index in [0, 1] {
        let words = [&*format!("the index {index} is not above 1")];
        scratch.refused(ErrorClass::Usage, &format!("{build} {index}"), &words);
        assert_eq!(scratch.listing("store"), before);
    }
    scratch.ok(&format!("{build} 2"));
    // What has the number is built again, with what was lost.
    let objects = scratch.listing("store/objects");
    let lost = objects.iter().find(|(_, len)| *len == 8000).expect("one");
    fs::remove_file(scratch.directory.path().join(&lost.0)).expect("removed");
    let again = scratch.ok(&format!("{build} 2")).text();
    assert!(again.contains("new in the store: 1 object"), "{again}");
    assert_eq!(scratch.listing("store/objects"), objects);
}

#[test]
fn signing_twice_says_so() {
    let scratch = Scratch::new();
    let commit = scratch.built();
    let sign = format!("{STORE} sign {commit} --key vendor.secret");
    let first = scratch.ok(&sign).text();
    assert!(first.contains("\nsigned by "), "{first}");
    let again = scratch.ok(&sign).text();
    assert!(
        again.contains("\nhad been signed by ") && again.contains(" already; 1 signature\n"),
        "{again}"
    );
    let words = ["--key <FILE>", "--signer <COMMAND>"];
    scratch.refused(ErrorClass::Usage, &format!("{STORE} sign {commit}"), &words);
}

#[test]
fn builds_are_reproducible() {
    let scratch = Scratch::new();
    scratch.small_tree();
    for store in ["one", "two"] {
        let line = format!("--store {store} build --dir tree --os o --stream s --index 1");
        let mut command = scratch.command(&line);
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        assert!(command.output().expect("it starts").status.success());
    }
    let names = |store| {
        let listing = scratch.listing(store).into_iter();
        let relative =
            listing.map(|(path, len)| (path.strip_prefix(store).map(Path::to_owned), len));
        relative.collect::<Vec<_>>()
    };
    assert_eq!(names("one"), names("two"));
    let statement = |store| fs::read(scratch.only(&format!("{store}/pack"), ".sign")).expect("one");
    assert_eq!(statement("one"), statement("two"));

    let line = "--store three build --dir tree --os o --stream s --index 1";
    let ran = scratch
        .command(line)
        .env("SOURCE_DATE_EPOCH", "soon")
        .output()
        .expect("it starts");
    let ran = crate::support::finished(ran);
    let words = ["SOURCE_DATE_EPOCH: expected seconds since 1970, found \"soon\""];
    crate::support::check_refusal(&ran, ErrorClass::Usage, line, &words);
}

#[test]
fn image_and_build_agree() {
    let scratch = Scratch::new();
    scratch.built();
    let digest = scratch.ok("image tree tree.pack").text();
    let stored = scratch.only("store/pack", ".pack");
    assert_eq!(
        stored.file_stem().and_then(|name| name.to_str()),
        Some(digest.trim_end())
    );
    assert_eq!(
        fs::read(stored).expect("a pack"),
        fs::read(scratch.path("tree.pack")).expect("it")
    );
    assert_eq!(scratch.ok("image tree --digest-only").text(), digest);
    scratch.refused(ErrorClass::Usage, "image tree", &["<FILE>"]);
    scratch.refused(
        ErrorClass::NotFound,
        "image none x",
        &["none", "No such file"],
    );
    scratch.refused(
        ErrorClass::NotFound,
        "image tree no/x",
        &["cannot write no/x"],
    );
    assert!(!scratch.path("x").exists());
}

#[test]
fn every_class_has_its_exit_code() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let stranger = scratch.ok("keys new stranger");
    assert_eq!(stranger.code, 0);
    scratch.write("junk", "junk");
    let cases = [
        (ErrorClass::Io, "image tree junk/x".to_owned()),
        (ErrorClass::Usage, "ls".to_owned()),
        (ErrorClass::Corrupt, "ls junk".to_owned()),
        (
            ErrorClass::Untrusted,
            format!("--store store --keyset stranger.keyset verify {commit}"),
        ),
        (
            ErrorClass::Unsupported,
            format!("{STORE} deploy {commit} --mode sealed"),
        ),
        (ErrorClass::NotFound, "--store none status".to_owned()),
    ];
    for (class, line) in cases {
        scratch.refused(class, &line, &[]);
    }
    // Busy: see there.
}
