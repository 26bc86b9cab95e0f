// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors say what to do about them.

use std::fs;

use sealroot_format::ErrorClass;

use crate::support::{STORE, Scratch};

#[test]
fn a_key_of_the_other_kind_is_told_from_a_damaged_one() {
    let scratch = Scratch::new();
    let commit = scratch.built();
    for (line, words) in [
        (
            format!("{STORE} sign {commit} --key vendor.public"),
            [
                "vendor.public: expected a secret key, found public keys",
                "hint: name the file with the secret key",
            ],
        ),
        (
            "keys keyset new.keyset --root vendor.secret --release vendor.public --channel vendor.public"
                .into(),
            [
                "vendor.secret: expected public keys, found a secret key",
                "hint: name the file with the public key",
            ],
        ),
        (
            format!("--store store --keyset vendor.public verify {commit}"),
            [
                "vendor.public: expected a keyset, found public keys",
                "hint: name the keyset",
            ],
        ),
        (
            format!("{STORE} sign {commit} --key vendor.keyset"),
            [
                "vendor.keyset: expected a secret key, found a keyset",
                "hint: name the file with the secret key",
            ],
        ),
    ] {
        scratch.refused(ErrorClass::Usage, &line, &words);
    }
    scratch.write("vendor.secret", "no key");
    let line = format!("{STORE} sign {commit} --key vendor.secret");
    scratch.refused(
        ErrorClass::Corrupt,
        &line,
        &["vendor.secret cannot be used"],
    );
}

#[test]
fn who_may_not_publish_is_told_who_may() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    scratch.ok("keys new other");
    let line = format!("{STORE} publish {commit} --to www --key other.secret");
    let words = [
        "is no channel key of the keyset",
        "hint: ",
        "keys show",
        "--after",
    ];
    scratch.refused(ErrorClass::Usage, &line, &words);
}

#[test]
fn an_unknown_remote_is_not_the_end() {
    let scratch = Scratch::new();
    scratch.signed();
    for line in ["pull nobody", "remote remove nobody"] {
        let words = [
            "there is no remote nobody",
            "hint: ",
            "`sealroot remote list`",
        ];
        scratch.refused(ErrorClass::NotFound, &format!("{STORE} {line}"), &words);
    }
}

#[test]
fn there_may_be_nothing_to_go_back_to() {
    let scratch = Scratch::new();
    scratch.signed();
    fs::create_dir(scratch.path("esp")).expect("made");
    let line = format!("{STORE} rollback --boot esp --boot-loader systemd-boot --run run");
    let words = [
        "no older boot entry",
        "hint: ",
        "sealroot status",
        "sealroot deploy",
    ];
    scratch.refused(ErrorClass::NotFound, &line, &words);
}

#[test]
fn what_was_built_for_nothing_gives_its_number_back() {
    let scratch = Scratch::new();
    scratch.signed();
    scratch.ok(&format!("{STORE} prune --releases --dry-run"));
    scratch.write("tree/etc/hostname", "another\n");
    let build = format!("{STORE} build --dir tree --os exampleos --stream stable --index 1");
    let words = [
        "the index 1 is not above 1",
        "hint: --index 2;",
        "`sealroot prune --releases` removes",
    ];
    let said = scratch.refused(ErrorClass::Usage, &build, &words);
    // It says which file holds the number of that one alone.
    let (_, named) = said.split_once("remove pack/").expect("a file");
    let (named, _) = named.split_once(' ').expect("its end");
    assert!(scratch.path("store/pack").join(named).exists(), "{said}");
    scratch.ok(&format!("{STORE} prune --releases"));
    scratch.ok(&build);
}

#[test]
fn a_number_that_devices_would_not_take_is_told_with_one_that_they_take() {
    let scratch = Scratch::new();
    let first = scratch.signed();
    scratch.write("tree/etc/hostname", "another\n");
    let second = scratch.release(2);
    let publish = |commit: &str| format!("{STORE} publish {commit} --to www --key vendor.secret");
    scratch.ok(&publish(&second));
    let words = ["its index is 1, and 2 was published", "hint: ", "--index 3"];
    scratch.refused(ErrorClass::Usage, &publish(&first), &words);
}

#[test]
fn nothing_is_renewed_where_nothing_is() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let renew = |channel: &str, to: &str| {
        format!("{STORE} publish --renew {channel} --to {to} --key vendor.secret")
    };
    let words = [
        "there is no repository in nowhere",
        "hint: ",
        "`sealroot publish COMMIT --to",
    ];
    fs::create_dir(scratch.path("empty")).expect("made");
    scratch.refused(
        ErrorClass::NotFound,
        &renew("exampleos/-/stable/x86_64", "nowhere"),
        &words,
    );
    assert!(!scratch.path("nowhere").exists());
    let words = ["there is no repository in empty", "hint: "];
    scratch.refused(
        ErrorClass::NotFound,
        &renew("exampleos/-/stable/x86_64", "empty"),
        &words,
    );
    scratch.ok(&format!(
        "{STORE} publish {commit} --to www --key vendor.secret"
    ));
    let words = [
        "there is no channel exampleos/-/other/x86_64 in www",
        "hint: ",
    ];
    scratch.refused(
        ErrorClass::NotFound,
        &renew("exampleos/-/other/x86_64", "www"),
        &words,
    );
}

#[test]
fn an_image_has_a_name_or_a_file() {
    let scratch = Scratch::new();
    let commit = scratch.signed();
    let line = format!("{STORE} publish {commit} --to www --key vendor.secret --uki ../x=f");
    let words = [
        "\"../x\" cannot be the name of an image",
        "letters, digits and ._+-",
    ];
    scratch.refused(ErrorClass::Usage, &line, &words);
    // A file may be called so.
    scratch.write("a/b=c", "no image");
    let line = line.replace("../x=f", "a/b=c");
    let words = [
        "cannot publish the image default",
        "expected an EFI application",
    ];
    scratch.refused(ErrorClass::Corrupt, &line, &words);
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_look_at() {
    let scratch = Scratch::new();
    scratch.signed();
    let address = "http://127.0.0.1:9/os";
    let add = format!("{STORE} remote add vendor {address} --os exampleos --stream stable");
    scratch.ok(&add);
    let pull = scratch.run(&format!("{STORE} pull"));
    let (warnings, error) = pull.err.split_once("error: ").expect("an error");
    assert!(warnings.lines().count() <= 3, "{warnings}");
    for words in [address, "hint: see that the server runs", "--from"] {
        assert!(error.contains(words), "{words}: {error}");
    }
}
