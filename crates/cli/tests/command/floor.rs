// SPDX-License-Identifier: MIT OR Apache-2.0
//! Floors and measured boots, as far as no firmware and no TPM are needed.

use sealroot_format::ErrorClass;
use sealroot_format::floor::update::Update;
use sealroot_testkit::need;

use crate::support::{STORE, Scratch, finished};

/// A record of a boot that was measured.
fn record(event: &str) -> String {
    let pack = "ab".repeat(32);
    format!(
        "{{\"version\": 1, \"insecure\": [], \"mode\": \"sealed\", \"layer\": \"erofs\", \
         \"pack\": \"{pack}\", \"index\": 42, \"epoch\": 3, \"floor\": {{\"epoch\": 2, \
         \"index\": 0, \"on\": \"epoch\", \"efi\": false, \"tpm_base\": null}}, \
         \"measured\": {event}, \"statement\": null}}"
    )
}

#[test]
fn an_update_is_signed_with_openssl() {
    let scratch = Scratch::new();
    if need::tool("openssl").is_none() {
        return;
    }
    let key = "req -new -x509 -newkey rsa:2048 -sha256 -nodes -days 9 -subj /CN=x -keyout k -out c";
    let made = scratch.command_of("openssl", key).output();
    assert_eq!(finished(made.expect("it starts")).code, 0);
    let said = scratch.ok("floor sign --epoch 3 --index 42 --key k --certificate c -o a");
    assert_eq!(said.text(), "a: the update to epoch 3, index 42\n");
    let update = std::fs::read(scratch.path("a")).expect("a file");
    let update = Update::parse(&update).expect("an update");
    assert_eq!((update.floor.epoch, update.floor.index), (3, 42));
    let too_high = "floor sign --epoch 1024 --key k --certificate c -o b";
    scratch.refused(ErrorClass::Usage, too_high, &["1024", "1023"]);
    let no_key = "floor sign --epoch 1 --key c --certificate c -o b";
    assert_eq!(scratch.run(no_key).code, 2);
    assert!(!scratch.path("b").exists());
}

#[test]
fn what_was_measured_can_be_followed() {
    let scratch = Scratch::new();
    let event = "{\"pcr\": 15, \"digest\": \"\", \"event\": \"sealroot boot 1\\n\"}";
    scratch.write("run/booted.json", record(event));
    let attested = scratch.ok("--json attest --run run").json();
    let preimage = "7365616c726f6f742e626f6f742e7631001000000\
                    07365616c726f6f7420626f6f7420310a";
    assert_eq!(attested["preimage"], preimage);
    assert_eq!(attested["pcr"], 15);
    assert_eq!(attested["event"], "sealroot boot 1\n");
    assert_ne!(attested["digest"], attested["value"]);
    scratch.write("run/booted.json", record("null"));
    let words = ["not measured"];
    let ran = scratch.run("attest --run run");
    assert_eq!(ran.code, i32::from(ErrorClass::NotFound.exit_code()));
    assert!(
        words.iter().all(|word| ran.err.contains(word)),
        "{}",
        ran.err
    );
}

#[test]
fn status_shows_the_floor_and_raise_says_that_none_is_kept() {
    let scratch = Scratch::new();
    scratch.signed();
    scratch.write("run/booted.json", record("null"));
    let status = scratch.ok(&format!("{STORE} status --run run")).text();
    let floor = "floor: epoch 2, kept in the initramfs alone\n";
    assert!(status.contains(floor), "{status}");
    let ran = scratch.run(&format!("{STORE} floor raise --run run"));
    assert_eq!(ran.code, i32::from(ErrorClass::NotFound.exit_code()));
}
