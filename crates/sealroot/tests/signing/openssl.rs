// SPDX-License-Identifier: MIT OR Apache-2.0
//! OpenSSL, one of the two libraries OSTree signs with, as the judge of keys and signatures.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sealroot::{
    keys,
    signer::{DEFAULT_TIMEOUT, Signer, SignerCommand},
};
use sealroot_format::sign::{PublicKey, Unverified};
use sealroot_testkit::need;
use tempfile::TempDir;

use crate::{key, statement};

/// Before the 32 bytes of an Ed25519 key in the DER form of a public key (RFC 8410).
const PUBLIC_DER: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

fn run(directory: &Path, script: &str) -> Output {
    let mut command = Command::new("sh");
    let output = command
        .args(["-ec", script])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The way OSTree's own tests make a key with OpenSSL.
#[test]
fn keys_made_with_openssl_for_ostree_are_read() {
    if need::tool("openssl").is_none() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    run(
        at,
        "openssl genpkey -algorithm ed25519 -outform PEM -out key.pem
         openssl pkey -in key.pem -outform DER | tail -c 32 > seed
         openssl pkey -in key.pem -pubout -outform DER | tail -c 32 > public
         base64 public > trusted.ed25519
         cat seed public | base64 -w 0 > secret",
    );
    let secret = keys::read_secret_key(&at.join("secret")).unwrap();
    let public = keys::read_public_key(&at.join("trusted.ed25519")).unwrap();
    assert_eq!(*secret.public(), public);
    assert_eq!(
        public.as_bytes().as_slice(),
        fs::read(at.join("public")).unwrap()
    );
    assert_eq!(
        secret.to_file().trim_end(),
        fs::read_to_string(at.join("secret")).unwrap()
    );
}

#[test]
fn openssl_verifies_our_signatures() {
    if need::tool("openssl").is_none() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    let mut document = statement();
    Signer::Key(key(1)).sign(&mut document).unwrap();
    let der = [&PUBLIC_DER, key(1).public().as_bytes().as_slice()].concat();
    fs::write(at.join("public.der"), der).unwrap();
    fs::write(at.join("message"), document.message().as_bytes()).unwrap();
    fs::write(at.join("signature"), document.signatures()[0].signature).unwrap();
    let verify = "openssl pkeyutl -verify -pubin -keyform DER -inkey public.der -rawin \
                  -in message -sigfile signature";
    run(at, verify);
    fs::write(at.join("message"), document.body()).unwrap();
    run(at, &format!("! {verify}"));
}

#[test]
fn openssl_signs_as_a_command() {
    if need::tool("openssl").is_none() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    run(
        at,
        "openssl genpkey -algorithm ed25519 -out key.pem
         openssl pkey -in key.pem -pubout -outform DER | tail -c 32 > public",
    );
    let public: [u8; 32] = fs::read(at.join("public")).unwrap().try_into().unwrap();
    let script = format!(
        "cd {} && cat > message && openssl pkeyutl -sign -inkey key.pem -rawin -in message",
        at.display()
    );
    let signer = Signer::Command(SignerCommand {
        argv: ["sh".into(), "-c".into(), script.into()].to_vec(),
        public: PublicKey::from_bytes(&public).unwrap(),
        timeout: DEFAULT_TIMEOUT,
    });
    let mut document = statement();
    signer.sign(&mut document).unwrap();
    let read = Unverified::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(document, read);
    assert!(
        signer
            .public()
            .verifies(read.message(), &read.signatures()[0].signature)
    );
}
