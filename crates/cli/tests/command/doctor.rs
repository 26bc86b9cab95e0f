// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a machine boots: `doctor` on real stores and boot partitions, and the commands that it names.

use std::fs;

use sealroot_testkit::cpio::Archive;
use sealroot_testkit::efi::UNAME;
use serde_json::{Value, json};

use crate::support::{STORE, Scratch, flip, overwrite};
use crate::uki::{OPTIONS, with_parts};

/// A boot partition and records of their own.
const BOOT: &str = "--boot esp --boot-loader systemd-boot --run run";

/// A machine whose only entry starts an image; the commit.
fn with_image(scratch: &Scratch) -> String {
    let commit = with_parts(scratch);
    fs::create_dir_all(scratch.path("esp")).expect("made");
    let build = format!("{STORE} uki build {commit} {OPTIONS} --mode integrity -o os.efi");
    scratch.ok(&build);
    scratch.ok(&format!("{STORE} deploy {commit} {BOOT} --uki os.efi"));
    commit
}

/// The same, which starts a kernel and an initramfs of the release's own.
fn with_kernel(scratch: &Scratch) -> String {
    with_parts(scratch);
    fs::create_dir_all(scratch.path("esp")).expect("made");
    let mut archive = Archive::new();
    archive.file("init", 0o755, b"\x7fELF");
    let policy = "sealroot policy 1\nmode integrity\nlayer erofs\ntmpfs-percent -\nroot LABEL=root\n\
                  etc transient\nvar volatile\npack -\nrelease-index -\nrelease-epoch -\nos exampleos\n\
                  variant -\nstream stable\narch x86_64\nepoch-floor 0\nfloor-on epoch\n\
                  floor-store -\ntpm-base -\nallow-insecure-boot yes\ncmdline -\n";
    archive.file("etc/sealroot/policy", 0o444, policy.as_bytes());
    let keyset = fs::read(scratch.path("vendor.keyset")).expect("a keyset");
    archive.file("etc/sealroot/keyset", 0o444, &keyset);
    let path = format!("tree/usr/lib/modules/{UNAME}/initramfs.img");
    scratch.write(&path, archive.finish());
    let commit = scratch.release(2);
    scratch.ok(&format!("{STORE} deploy {commit} {BOOT} --mode integrity"));
    commit
}

struct Examined {
    code: i32,
    report: Value,
}

fn doctor_with(scratch: &Scratch, options: &str) -> Examined {
    let ran = scratch.run(&format!("{options} --json doctor {BOOT}"));
    let report = ran.json();
    assert_eq!(ran.code != 0, report["outcome"] == "failure", "{report}");
    Examined {
        code: ran.code,
        report,
    }
}

fn doctor(scratch: &Scratch) -> Examined {
    doctor_with(scratch, STORE)
}

impl Examined {
    fn of(&self, check: &str) -> &Value {
        let checks = self.report["checks"].as_array().expect("a list");
        let found = checks.iter().find(|one| one["check"] == check);
        found.expect("it is examined")
    }

    /// The first finding of a check, which is this bad.
    fn finding(&self, check: &str, severity: &str) -> &Value {
        let finding = &self.of(check)["findings"][0];
        assert_eq!(finding["severity"], severity, "{check}: {}", self.report);
        finding
    }

    fn mend(&self, check: &str, severity: &str) -> String {
        let mend = self.finding(check, severity)["mend"].as_str();
        let mend = mend.expect("text").strip_prefix("sealroot ");
        mend.expect("a command").to_owned()
    }
}

#[test]
fn a_machine_that_is_fine_is_told_so_in_a_line_for_each_check() {
    for make in [with_image, with_kernel] {
        let scratch = Scratch::new();
        let commit = make(&scratch);
        let before = scratch.listing("");
        let ran = scratch.ok(&format!("{STORE} doctor {BOOT}"));
        let text = ran.text();
        let boots = format!("ok boots: 1 of 1 entry known to boot; by default {commit}.0\n");
        assert!(text.starts_with(&boots), "{text}");
        assert_eq!(text.lines().count(), 9, "{text}");
        assert!(text.lines().all(|line| line.starts_with("ok ")), "{text}");
        assert_eq!(scratch.listing(""), before, "a look changes nothing");

        let Examined { report, code } = doctor(&scratch);
        assert_eq!(code, 0);
        let mut keys: Vec<_> = report.as_object().expect("an object").keys().collect();
        keys.sort();
        let expected = "checks deployments elapsed_ms entries objects outcome packs room staged";
        assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
        assert_eq!(report["outcome"], "ok");
        let entry = &report["entries"][0];
        assert_eq!(entry["deployment"], format!("{commit}.0"));
        assert_eq!(
            (&entry["verdict"], &entry["is_default"]),
            (&json!("boots"), &json!(true))
        );
        assert!(
            report["room"]["largest_bytes"].as_u64() > Some(1000),
            "{report}"
        );
    }
}

#[test]
fn what_keeps_an_image_from_booting_is_named_with_the_command_that_mends_it() {
    let scratch = Scratch::new();
    let commit = with_image(&scratch);
    let directory = fs::read_dir(scratch.path("esp/sealroot")).expect("images");
    let directory = directory.map(|entry| entry.expect("an entry").path());
    let image = directory.last().expect("one").join("uki.efi");
    flip(&image, 5000, 1);
    let text = scratch.run(&format!("{STORE} doctor {BOOT}"));
    assert_eq!(text.code, 1);
    let shown = text.text();
    for words in [
        "FAILURE boots: esp: expected ",
        "FAILURE entries: esp/loader/entries/",
        "\n  mend: sealroot --store store --keyset vendor.keyset deploy ",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(
        text.err.starts_with("error: ") && text.err.contains("hint: "),
        "{}",
        text.err
    );
    let examined = doctor(&scratch);
    let mend = examined.mend("entries", "failure");
    let words = format!("{STORE} deploy {commit} --uki FILE {BOOT}");
    assert_eq!(mend, words);
    scratch.ok(&mend.replace("FILE", "os.efi"));
    assert_eq!(doctor(&scratch).report["outcome"], "ok");

    // Of another release, and yet under the right name.
    scratch.write("tree/etc/more", "more");
    let other = scratch.release(2);
    scratch.ok(&format!(
        "{STORE} uki build {other} {OPTIONS} --mode integrity -o other.efi"
    ));
    scratch.ok(&format!("{STORE} deploy {other} {BOOT} --uki other.efi"));
    let examined = doctor(&scratch);
    assert_eq!(examined.report["outcome"], "ok", "{}", examined.report);
    assert_eq!(examined.report["entries"].as_array().map(Vec::len), Some(2));
    let statement = scratch.path(&format!("store/pack/{other}.stable.sign"));
    let signed = fs::read(&statement).expect("a statement");
    let wrong =
        fs::read(scratch.path(&format!("store/pack/{commit}.stable.sign"))).expect("another");
    overwrite(&statement, &wrong);
    let examined = doctor(&scratch);
    examined.finding("content", "failure");
    examined.finding("entries", "failure");
    assert_eq!(examined.report["entries"][0]["verdict"], "refused");
    assert_eq!(examined.report["entries"][1]["verdict"], "boots");
    overwrite(&statement, &signed);
    assert_eq!(doctor(&scratch).code, 0);
}

#[test]
fn missing_content_is_named_and_repaired() {
    let scratch = Scratch::new();
    let commit = with_kernel(&scratch);
    let deployed = format!("store/deploy/{commit}.0/objects");
    let objects = scratch.listing(&deployed);
    let (object, _) = objects.iter().find(|(_, len)| *len > 0).expect("an object");
    fs::remove_file(scratch.path(object.to_str().expect("plain"))).expect("removed");
    let examined = doctor(&scratch);
    assert_eq!(examined.finding("boots", "failure")["found"], "none of 1");
    let mend = examined.mend("content", "failure");
    assert_eq!(mend, format!("{STORE} repair"));
    scratch.ok(&mend);
    assert_eq!(doctor(&scratch).report["outcome"], "ok");
}

#[test]
fn what_is_staged_is_set_up_for_a_try() {
    let scratch = Scratch::new();
    with_kernel(&scratch);
    scratch.write("tree/etc/more", "more");
    let next = scratch.release(3);
    let deploy = format!("{STORE} deploy {next} {BOOT} --mode integrity --stage");
    scratch.ok(&deploy);
    let text = scratch.ok(&format!("{STORE} doctor {BOOT}")).text();
    let line = format!("ok staged: {next}.0 can be made what boots next\n");
    assert!(text.contains(&line), "{text}");

    // Keys that have not signed it would not let it be set up when the machine goes down.
    scratch.ok("keys new other");
    let examined = doctor_with(&scratch, "--store store --keyset other.keyset");
    let staged = examined.finding("staged", "failure");
    assert!(
        staged["found"]
            .as_str()
            .expect("text")
            .contains("signature"),
        "{staged}"
    );
    examined.finding("keys", "warning");
    assert_eq!(examined.of("boots")["outcome"], "ok");
    let ran = scratch.run(&format!("{STORE} doctor"));
    assert!(
        ran.text().contains("the boot partition is not known"),
        "{}",
        ran.text()
    );

    scratch.ok(&format!("{STORE} finalize {BOOT}"));
    let examined = doctor(&scratch);
    assert_eq!(
        (examined.code, &examined.report["staged"]),
        (0, &Value::Null)
    );
    assert_eq!(
        examined.report["entries"][0]["deployment"],
        format!("{next}.0")
    );
}

#[test]
fn keysets_and_what_is_known_of_remotes_are_looked_at() {
    let scratch = Scratch::new();
    let commit = with_image(&scratch);
    scratch.ok(&format!(
        "{STORE} publish {commit} --to www --key vendor.secret"
    ));
    scratch.ok(&format!(
        "{STORE} remote add vendor www --os exampleos --stream stable"
    ));
    assert_eq!(doctor(&scratch).report["outcome"], "ok");
    let state = scratch.path("store/remote/vendor.toml");
    let known = fs::read(&state).expect("a file");
    overwrite(&state, b"version = 1\n");
    let examined = doctor(&scratch);
    assert_eq!(
        examined.finding("keys", "failure")["place"],
        "remote vendor"
    );
    assert!(
        examined
            .mend("keys", "failure")
            .contains("remote add vendor ADDRESS")
    );
    overwrite(&state, &known);
    let head = "ab".repeat(32);
    scratch.write(&format!("store/remote/{head}.part"), "what came");
    let examined = doctor(&scratch);
    let mend = examined.mend("leftovers", "warning");
    scratch.ok(&mend);
    assert_eq!(doctor(&scratch).report["outcome"], "ok");

    let without = doctor_with(&scratch, "--store store --sysroot esp");
    assert_eq!(without.code, 0);
    without.finding("keys", "warning");
    scratch.write("esp/etc/sealroot/keyset", "no keyset");
    doctor_with(&scratch, "--store store --sysroot esp").finding("keys", "failure");
    let ran = scratch.run(&format!("--store store --keyset none doctor {BOOT}"));
    assert!(ran.code > 1 && ran.out.is_empty(), "{}", ran.err);
}

#[test]
fn where_there_is_no_store_or_no_boot_partition_it_says_so() {
    let scratch = Scratch::new();
    scratch.signed();
    let ran = scratch.ok(&format!("{STORE} doctor"));
    assert!(ran.text().contains("warning boots: "), "{}", ran.text());
    assert!(
        ran.text()
            .contains("mend: name the boot partition with --boot DIR")
    );
    let words = ["hint: "];
    let class = sealroot_format::ErrorClass::NotFound;
    scratch.refused(class, "--store none doctor", &words);
}
