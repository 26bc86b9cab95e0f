// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures of objects, judged by OpenSSL, and held against those that fsverity-utils makes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealroot::initramfs::{Carried, CertificateName};
use sealroot::keyring::{object_signature, opens, read_certificates, sign_objects};
use sealroot::monitor::Silent;
use sealroot::store::Store;
use sealroot::uki::ImageSigner;
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::limits::MAX_OBJECT_SIGNATURE_BYTES;
use sealroot_format::policy::split_certificates;
use sealroot_testkit::{efi, need};

const KINDS: [&[&str]; 2] = [&["rsa:2048"], &["rsa:4096"]];

/// The bytes that the kernel verifies a signature of, as its documentation has them.
fn formatted_digest(digest: &VerityDigest) -> Vec<u8> {
    [b"FSVerity\x01\x00\x20\x00".as_slice(), digest.as_bytes()].concat()
}

fn openssl_verifies(
    directory: &Path,
    signature: &[u8],
    content: &[u8],
    certificate: &Path,
) -> bool {
    let openssl = need::find_tool("openssl").expect("it made the certificate");
    let (sign, data) = (directory.join("sign"), directory.join("data"));
    fs::write(&sign, signature).unwrap();
    fs::write(&data, content).unwrap();
    let output = Command::new(openssl)
        .args([
            "cms",
            "-verify",
            "-binary",
            "-inform",
            "DER",
            "-noverify",
            "-in",
        ])
        .arg(&sign)
        .arg("-content")
        .arg(&data)
        .arg("-certfile")
        .arg(certificate)
        .output()
        .unwrap();
    output.status.success() && output.stdout == content
}

// Rules: J1
#[test]
fn openssl_verifies_what_was_signed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let Some((key, certificate)) = efi::key_and_certificate(directory.path(), "a", kind) else {
            return;
        };
        let signer = ImageSigner::with_key(&certificate, &key).unwrap();
        let digest = VerityDigest::from_bytes([0xab; 32]);
        let signature = object_signature(&digest, &signer).unwrap();
        assert!((signature.len() as u64) < MAX_OBJECT_SIGNATURE_BYTES / 4);
        let content = formatted_digest(&digest);
        let judge = |signature: &[u8], content: &[u8]| {
            openssl_verifies(directory.path(), signature, content, &certificate)
        };
        assert!(judge(&signature, &content));
        let other = formatted_digest(&VerityDigest::from_bytes([0xac; 32]));
        assert!(!judge(&signature, &other));
        let mut broken = signature.clone();
        *broken.last_mut().unwrap() ^= 1;
        assert!(!judge(&broken, &content));
    }
}

// Rules: J1
#[test]
fn fsverity_utils_make_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let Some(fsverity) = need::tool("fsverity") else {
        return;
    };
    for kind in KINDS {
        let Some((key, certificate)) = efi::key_and_certificate(directory.path(), "a", kind) else {
            return;
        };
        let signer = ImageSigner::with_key(&certificate, &key).unwrap();
        for len in [0, 1, 5000, 600_000] {
            let content = vec![7; len];
            let (file, sign) = (directory.path().join("file"), directory.path().join("sign"));
            fs::write(&file, &content).unwrap();
            let output = Command::new(&fsverity)
                .arg("sign")
                .args([&file, &sign])
                .arg(format!("--key={}", key.display()))
                .arg(format!("--cert={}", certificate.display()))
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let ours = object_signature(&compute_verity_digest(&content), &signer).unwrap();
            assert_eq!(fs::read(&sign).unwrap(), ours, "{kind:?}, {len} bytes");
        }
    }
}

#[test]
fn a_command_signs_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some((key, certificate)) = efi::key_and_certificate(directory.path(), "a", KINDS[0]) else {
        return;
    };
    let argv = |command: &str| -> Vec<OsString> {
        let words = command.split(' ').map(OsString::from);
        words.chain([key.clone().into_os_string()]).collect()
    };
    let by = |argv| ImageSigner::with_command(&certificate, argv, Duration::from_secs(60)).unwrap();
    let digest = VerityDigest::from_bytes([1; 32]);
    let expected = ImageSigner::with_key(&certificate, &key).unwrap();
    let expected = object_signature(&digest, &expected).unwrap();
    let good = by(argv("openssl dgst -sha256 -sign"));
    assert_eq!(object_signature(&digest, &good).unwrap(), expected);
    let wrong = by(argv("openssl dgst -sha512 -sign"));
    object_signature(&digest, &wrong).unwrap_err();
}

#[test]
fn each_object_is_signed_once() {
    let directory = tempfile::tempdir().unwrap();
    let pair = |name| efi::key_and_certificate(directory.path(), name, KINDS[0]);
    let (Some((key, certificate)), Some((other_key, other))) = (pair("a"), pair("b")) else {
        return;
    };
    let store = Store::open_or_create(&directory.path().join("store")).unwrap();
    let signer = ImageSigner::with_key(&certificate, &key).unwrap();
    let digests: Vec<_> = (0..20).map(|n| VerityDigest::from_bytes([n; 32])).collect();
    let sign = |digests: &[VerityDigest], signer: &ImageSigner| {
        let signed = sign_objects(&store, digests, signer, &Silent).unwrap();
        (signed.objects, signed.new)
    };
    assert_eq!(sign(&digests[..15], &signer), (15, 15));
    assert_eq!(sign(&digests, &signer), (20, 5));
    assert_eq!(sign(&digests, &signer), (20, 0));
    for digest in &digests {
        let kept = store.read_object_signature(digest).unwrap();
        assert_eq!(kept, Some(object_signature(digest, &signer).unwrap()));
    }
    let other = ImageSigner::with_key(&other, &other_key).unwrap();
    assert_eq!(sign(&digests, &other), (20, 20));
}

#[test]
fn certificates_go_into_an_initramfs_as_the_kernel_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let pair = |name| efi::key_and_certificate(directory.path(), name, KINDS[0]);
    let (Some((key, first)), Some((_, second))) = (pair("a"), pair("b")) else {
        return;
    };
    let chain = directory.path().join("chain.pem");
    let texts = [&first, &second].map(|path| fs::read(path).unwrap());
    fs::write(&chain, texts.concat()).unwrap();
    let read = read_certificates(&[chain, first.clone()]).unwrap();
    let found = split_certificates(&read).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], found[2]);
    let openssl = need::find_tool("openssl").unwrap();
    let der = Command::new(openssl)
        .args(["x509", "-outform", "DER", "-in"])
        .arg(&first)
        .output()
        .unwrap();
    assert_eq!(found[0], der.stdout);
    read_certificates(&[key]).unwrap_err();
}

/// The certificates in files, as an initramfs carries them.
fn names(paths: &[PathBuf]) -> Vec<CertificateName> {
    let carried = Carried {
        verity_certificates: Some(read_certificates(paths).unwrap()),
        ..Carried::default()
    };
    carried.certificate_names().unwrap()
}

#[test]
fn a_signature_names_the_certificate_by_which_it_opens() {
    let directory = tempfile::tempdir().unwrap();
    let pair = |name| efi::key_and_certificate(directory.path(), name, KINDS[0]);
    let (Some((key, own)), Some((_, other))) = (pair("a"), pair("b")) else {
        return;
    };
    let signer = ImageSigner::with_key(&own, &key).unwrap();
    let signature = object_signature(&VerityDigest::from_bytes([1; 32]), &signer).unwrap();
    let [with, without] = [vec![other.clone(), own], vec![other]].map(|paths| names(&paths));
    assert!(opens(&signature, &with) && !opens(&signature, &without) && !opens(&signature, &[]));
    // What the kernel makes of these we do not know.
    let mut strange = without;
    strange[0].identity = None;
    assert!(opens(&signature, &strange) && opens(b"no signature", &with));
    assert!(!opens(b"no signature", &[]));
}
