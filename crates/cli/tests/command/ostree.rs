// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vendor with an OSTree remote and nothing else, and its client, by the commands of both.

use std::fs;

use sealroot_format::ErrorClass;
use sealroot_format::sign::{Statement, Unverified};
use sealroot_testkit::need;

use crate::support::Scratch;

/// The client's store.
const CLIENT: &str = "--store client-store --keyset vendor.keyset";

/// Runs `ostree` with these words; what it prints.
fn ostree(scratch: &Scratch, line: &str) -> String {
    let output = scratch
        .command_of("ostree", line)
        .output()
        .expect("ostree starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {errors}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim_end()
        .to_owned()
}

/// A commit in `vendor`, built into the vendor's store, and a client's repository; its checksum.
fn built() -> Option<(Scratch, String)> {
    need::tool("ostree")?;
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("keys new vendor");
    ostree(&scratch, "--repo=vendor init --mode=archive");
    let commit = ostree(
        &scratch,
        "--repo=vendor commit --branch=os --owner-uid=0 --owner-gid=0 --no-xattrs --tree=dir=tree",
    );
    scratch.ok(
        "--store vendor-store build --ostree vendor os --os exampleos --stream stable --index 1",
    );
    ostree(&scratch, "--repo=client init --mode=bare-user");
    let url = format!("file://{}", scratch.path("vendor").display());
    ostree(
        &scratch,
        &format!("--repo=client remote add --no-gpg-verify vendor {url}"),
    );
    Some((scratch, commit))
}

#[test]
fn a_release_travels_with_its_commit() {
    let Some((scratch, commit)) = built() else {
        return;
    };
    let sign = "--store vendor-store --json sign --ostree vendor os --key vendor.secret";
    let signed = scratch.ok(sign).json();
    assert_eq!(signed["commit"], *commit);
    assert_eq!(signed["published"]["is_new"], true);
    assert_eq!(signed["published"]["signatures"], 1);
    assert_eq!(
        signed["published"]["file"],
        format!("vendor/sealroot/{commit}.stable.sign")
    );
    let again = scratch.ok(sign).json();
    assert_eq!(again["published"]["is_new"], false);

    ostree(&scratch, "--repo=client pull vendor os");
    let import = format!("{CLIENT} import --ostree client vendor:os");
    let text = scratch.ok(&import).text();
    assert!(text.contains("is the signed one"), "{text}");
    assert!(text.contains("new in the store: 1 object"), "{text}");
    let imported = scratch.ok(&format!("--json {import}")).json();
    assert_eq!(imported["commit"], *commit);
    assert_eq!(imported["is_new"], false);
    scratch.ok(&format!("{CLIENT} verify {commit}"));
    ostree(&scratch, "--repo=client fsck --quiet");
    ostree(&scratch, "--repo=vendor fsck --quiet");
}

#[test]
fn what_is_missing_on_the_way_is_named() {
    let Some((scratch, commit)) = built() else {
        return;
    };
    ostree(&scratch, "--repo=client pull vendor os");
    let import = format!("{CLIENT} import --ostree client vendor:os");
    scratch.refused(
        ErrorClass::NotFound,
        &import,
        &["no release statement", "`ostree pull`"],
    );
    scratch.refused(
        ErrorClass::NotFound,
        "--store other build --ostree client vendor:os^ --os o --stream s --index 1",
        &["has no parent"],
    );
    scratch.ok("--store other build --dir tree --os exampleos --stream stable --index 1");
    scratch.refused(
        ErrorClass::NotFound,
        "--store other sign --ostree vendor os --key vendor.secret",
        &[
            "not built into the store",
            "sealroot build --ostree vendor os",
        ],
    );
    scratch.refused(
        ErrorClass::Usage,
        &format!("--store vendor-store sign {commit} --ostree vendor os --key vendor.secret"),
        &["cannot be used with"],
    );
    // Signed by somebody else.
    scratch.ok("keys new other");
    scratch.ok("--store vendor-store sign --ostree vendor os --key other.secret");
    ostree(&scratch, "--repo=client pull vendor os");
    scratch.refused(ErrorClass::Untrusted, &import, &["detached metadata"]);
    let listing = scratch.listing("client-store/pack");
    assert!(listing.is_empty(), "{listing:?}");
}

#[test]
fn a_pack_that_cannot_be_rebuilt_is_to_be_fetched() {
    let Some((scratch, commit)) = built() else {
        return;
    };
    // As a later version might have built it.
    let path = scratch.path(&format!("vendor-store/pack/{commit}.stable.sign"));
    let statement = fs::read_to_string(&path).expect("a statement");
    scratch.ok("--store vendor-store sign --ostree vendor os --key vendor.secret");
    let key = sealroot::keys::read_secret_key(&scratch.path("vendor.secret")).expect("a key");
    let text = statement.replace("threshold 4096", "threshold 4");
    let mut document = Unverified::<Statement>::parse(text.as_bytes()).expect("a statement");
    let signature = key.sign(document.message());
    document.add(key.public(), signature).expect("a signature");
    let published = format!("vendor/sealroot/{commit}.stable.sign");
    fs::write(scratch.path(&published), document.to_string()).expect("written");
    let hex = &commit[2..];
    let metadata = format!("vendor/objects/{}/{hex}.commitmeta", &commit[..2]);
    fs::remove_file(scratch.path(&metadata)).expect("it was there");
    let import = format!("{CLIENT} import --ostree vendor os");
    let error = scratch.refused(
        ErrorClass::Unsupported,
        &import,
        &[
            "not the one that was signed",
            "pack-digest",
            "get the pack itself",
        ],
    );
    assert!(!error.contains("tree-digest"), "{error}");
    assert!(scratch.listing("client-store/pack").is_empty());
    scratch.ok(&format!("{CLIENT} check"));
}

#[test]
fn a_commit_is_built_only_if_it_is_signed_as_its_remote_demands() {
    let Some((scratch, commit)) = built() else {
        return;
    };
    ostree(&scratch, "--repo=client pull vendor os");
    let build = |rev: &str| {
        let what = format!("build --ostree client {rev} --os exampleos --stream stable --index 1");
        format!("--store client-store {what}")
    };
    let set = |setting: &str| {
        let output = scratch
            .command_of("ostree", "--repo=client config")
            .args(["--group=remote \"vendor\"", "set"])
            .args(setting.split(' '))
            .output();
        assert!(output.expect("ostree starts").status.success(), "{setting}");
    };
    set("gpg-verify true");
    let words = ["demands a GPG signature", "`ostree pull`"];
    scratch.refused(ErrorClass::Untrusted, &build("vendor:os"), &words);
    set("gpg-verify false");
    set("sign-verify true");
    let words = ["no key is trusted to make it", "verification-ed25519-key"];
    scratch.refused(ErrorClass::Untrusted, &build("vendor:os"), &words);
    // A file of public keys is one of OSTree's.
    let keys = scratch.path("vendor.public");
    set(&format!("verification-ed25519-file {}", keys.display()));
    let words = ["demands a signature (ed25519 or spki)", "`ostree pull`"];
    scratch.refused(ErrorClass::Untrusted, &build("vendor:os"), &words);
    assert!(scratch.listing("client-store/pack").is_empty());
    // Who names the very commit needs nobody's word for it.
    scratch.ok(&build(&commit));
    set("sign-verify false");
    scratch.ok(&build("vendor:os"));
}
