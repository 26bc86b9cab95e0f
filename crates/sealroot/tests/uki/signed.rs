// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures, judged by sbverify.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealroot::signer;
use sealroot::uki::{self, ImageSigner, MaySign, UkiError};
use sealroot_format::ErrorClass;
use sealroot_testkit::efi::sbverify;
use sealroot_testkit::need;

use crate::support::Bench;

const RSA: [&str; 1] = ["rsa:2048"];
const TIME_OUT: Duration = Duration::from_secs(20);

fn sign(image: &[u8], signer: &ImageSigner) -> Result<Vec<u8>, UkiError> {
    uki::sign(image, signer, MaySign::SealedOnly)
}

fn by_shell(certificate: &Path, script: &str) -> ImageSigner {
    let argv = ["sh", "-c", script].map(Into::into).to_vec();
    ImageSigner::with_command(certificate, argv, TIME_OUT).unwrap()
}

// Rules: U16
#[test]
fn sbverify_takes_what_is_signed_and_nothing_else() {
    let mut bench = Bench::new();
    let Ok(stub) = fs::read(uki::USUAL_STUB) else {
        need::missing("systemd's EFI stub");
        return;
    };
    let (Some((key, certificate)), Some((_, other))) = (
        bench.certificate("db", &RSA),
        bench.certificate("rogue", &["rsa:4096"]),
    ) else {
        return;
    };
    for stub in [bench.stub.clone(), stub] {
        bench.stub = stub;
        let image = bench.image();
        let signer = ImageSigner::with_key(&certificate, &key).unwrap();
        let signed = sign(&image, &signer).unwrap();
        assert_eq!(
            sign(&image, &signer).unwrap(),
            signed,
            "the same signature again"
        );
        let Some(verdict) = sbverify(&signed, &certificate) else {
            return;
        };
        verdict.unwrap();
        sbverify(&signed, &other).unwrap().unwrap_err();
        sbverify(&image, &certificate).unwrap().unwrap_err();
        let mut spoiled = signed.clone();
        spoiled[image.len() / 2] ^= 1;
        sbverify(&spoiled, &certificate).unwrap().unwrap_err();

        let signatures = uki::signatures(&signed).unwrap().unwrap();
        assert_eq!(signatures.len(), 1);
        assert_eq!(signatures[0].fault, None);
        assert_eq!(signatures[0].subject, "CN=db,O=sealroot tests");
        let fault = uki::signatures(&spoiled).unwrap().unwrap()[0].fault;
        assert_eq!(
            fault,
            Some("it is of another image, or the image was changed")
        );
        uki::read(&signed).unwrap();
    }
}

#[test]
fn what_sbsign_signs_is_understood() {
    let bench = Bench::new();
    let (Some(sbsign), Some((key, certificate))) =
        (need::tool("sbsign"), bench.certificate("db", &RSA))
    else {
        return;
    };
    let file = bench.directory.path().join("image");
    fs::write(&file, bench.image()).unwrap();
    let mut command = Command::new(sbsign);
    command
        .arg("--key")
        .arg(key)
        .arg("--cert")
        .arg(&certificate)
        .arg("--output")
        .arg(&file);
    assert!(command.arg(&file).output().unwrap().status.success());
    let signatures = uki::signatures(&fs::read(&file).unwrap()).unwrap().unwrap();
    assert_eq!((signatures.len(), signatures[0].fault), (1, None));
}

// Rules: U17
#[test]
fn a_command_signs_as_a_key_does() {
    let bench = Bench::new();
    let (Some((key, certificate)), Some((other, _)), Some(openssl)) = (
        bench.certificate("db", &RSA),
        bench.certificate("rogue", &RSA),
        need::tool("openssl"),
    ) else {
        return;
    };
    let image = bench.image();
    let expected = sign(&image, &ImageSigner::with_key(&certificate, &key).unwrap()).unwrap();
    let with =
        |key: &PathBuf| format!("{} dgst -sha256 -sign {}", openssl.display(), key.display());
    for script in [with(&key), format!("{} | base64 -w0", with(&key))] {
        let signed = sign(&image, &by_shell(&certificate, &script)).unwrap();
        assert_eq!(signed, expected, "{script}");
    }
    let error = sign(&image, &by_shell(&certificate, &with(&other))).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Untrusted);
    for script in [
        "true",
        "head -c 255 /dev/zero",
        "echo hello",
        "head -c 9999 /dev/zero",
    ] {
        let error = sign(&image, &by_shell(&certificate, script)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("wrote no signature: expected 256 bytes or their base64"),
            "{error}"
        );
    }
    let error = sign(&image, &by_shell(&certificate, "echo no token >&2; exit 3")).unwrap_err();
    assert!(
        matches!(&error, UkiError::Signer(signer::Error::Failed { .. })),
        "{error}"
    );
    // A signature of something else verifies nowhere.
    let error = sign(
        &image,
        &by_shell(&certificate, "cat > /dev/null; head -c 256 /dev/zero"),
    );
    assert_eq!(error.unwrap_err().class(), ErrorClass::Untrusted);
}

#[test]
fn keys_and_certificates_that_cannot_sign_are_refused() {
    let bench = Bench::new();
    let (Some((key, certificate)), Some((other_key, _))) = (
        bench.certificate("db", &RSA),
        bench.certificate("rogue", &RSA),
    ) else {
        return;
    };
    let error = ImageSigner::with_key(&certificate, &other_key).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Untrusted);
    let refused = |certificate: &Path, key: &Path, words: &str| {
        let error = ImageSigner::with_key(certificate, key).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    };
    refused(&key, &key, "expected one certificate in PEM");
    refused(
        &certificate,
        &certificate,
        "expected a private RSA key in PEM",
    );
    let (small_key, small) = bench.certificate("small", &["rsa:1024"]).unwrap();
    refused(&small, &small_key, "found one for a key of 1024 bits");
    let ec = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (ec_key, ec) = bench.certificate("ec", &ec).unwrap();
    refused(&ec, &key, "one for a key of another kind");
    refused(
        &certificate,
        &ec_key,
        "found one of another kind, or a damaged one",
    );
    let none = bench.directory.path().join("none");
    let error = ImageSigner::with_key(&certificate, &none).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    let openssl = need::tool("openssl").unwrap();
    let convert = |arguments: &[&str], name: &str| {
        let to = bench.directory.path().join(name);
        let mut command = Command::new(&openssl);
        command
            .args(arguments)
            .arg("-in")
            .arg(&key)
            .arg("-out")
            .arg(&to);
        assert!(command.output().unwrap().status.success());
        to
    };
    let pkcs1 = convert(&["rsa", "-traditional"], "pkcs1.key");
    ImageSigner::with_key(&certificate, &pkcs1).unwrap();
    let locked = convert(&["pkcs8", "-topk8", "-passout", "pass:x"], "locked.key");
    refused(&certificate, &locked, "found one with a passphrase");
}

// Rules: U13
#[test]
fn only_complete_images_are_signed_and_only_once() {
    let bench = Bench::new();
    let Some((key, certificate)) = bench.certificate("db", &RSA) else {
        return;
    };
    let signer = ImageSigner::with_key(&certificate, &key).unwrap();
    // A stub, a kernel: what an add-on is made of.
    for other in [&bench.stub, &bench.linux, &b"text".to_vec()] {
        let error = sign(other, &signer).unwrap_err();
        assert!(matches!(error, UkiError::Image { .. }), "{error}");
    }
    let signed = sign(&bench.image(), &signer).unwrap();
    assert!(matches!(sign(&signed, &signer), Err(UkiError::Signed)));
    let mut again = Bench::new();
    again.stub = signed;
    let error = again.build().unwrap_err().to_string();
    assert!(
        error.contains("stub: signatures: expected none, found some"),
        "{error}"
    );
}

// Rules: U14
#[test]
fn an_image_that_is_not_sealed_is_signed_only_if_that_is_meant() {
    let mut bench = Bench::new();
    let Some((key, certificate)) = bench.certificate("db", &RSA) else {
        return;
    };
    let signer = ImageSigner::with_key(&certificate, &key).unwrap();
    let sealed = bench.policy.clone();
    for (from, to) in [
        ("mode sealed", "mode verity"),
        ("mode sealed", "mode integrity"),
        ("allow-insecure-boot no", "allow-insecure-boot yes"),
    ] {
        bench.policy = sealed.replace(from, to);
        let image = bench.image();
        let error = sign(&image, &signer).unwrap_err();
        assert!(error.to_string().ends_with(to), "{error}");
        uki::sign(&image, &signer, MaySign::UnsealedToo).unwrap();
    }
}

// Rules: U18
#[test]
fn a_kernel_signed_by_the_same_certificate_is_refused() {
    let mut bench = Bench::new();
    let (Some(sbsign), Some((key, certificate)), Some((other_key, other))) = (
        need::tool("sbsign"),
        bench.certificate("db", &RSA),
        bench.certificate("vendor", &RSA),
    ) else {
        return;
    };
    let file = bench.directory.path().join("kernel");
    fs::write(&file, &bench.linux).unwrap();
    let mut command = Command::new(sbsign);
    command
        .arg("--key")
        .arg(&key)
        .arg("--cert")
        .arg(&certificate)
        .arg("--output")
        .arg(&file);
    assert!(command.arg(&file).output().unwrap().status.success());
    bench.linux = fs::read(&file).unwrap();
    let image = bench.image();
    let error = sign(&image, &ImageSigner::with_key(&certificate, &key).unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("kernel image: signatures: expected none by"),
        "{error}"
    );
    // As a distribution's kernel is signed by the distribution.
    sign(&image, &ImageSigner::with_key(&other, &other_key).unwrap()).unwrap();
}
