// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signer commands: good ones, and all the ways in which they go wrong.

use std::{
    fs,
    time::{Duration, Instant},
};

use sealroot::signer::{DEFAULT_TIMEOUT, Error, Signer, SignerCommand};
use sealroot_format::{ErrorClass, sign};
use tempfile::TempDir;

use crate::{key, statement};

/// A signer that runs `script` in a shell, for the test key 1.
fn shell(script: &str, timeout: Duration) -> Signer {
    Signer::Command(SignerCommand {
        argv: ["sh", "-c", script].map(Into::into).to_vec(),
        public: *key(1).public(),
        timeout,
    })
}

fn fails(script: &str) -> Error {
    let mut document = statement();
    let error = shell(script, Duration::from_secs(20))
        .sign(&mut document)
        .unwrap_err();
    assert!(document.signatures().is_empty());
    error
}

#[test]
fn raw_and_base64_signatures_are_taken() {
    let directory = TempDir::new().unwrap();
    let mut expected = statement();
    Signer::Key(key(1)).sign(&mut expected).unwrap();
    let signature = key(1).sign(expected.message());
    let (input, raw) = (directory.path().join("input"), directory.path().join("raw"));
    fs::write(&raw, signature).unwrap();
    let (input_path, raw) = (input.display(), raw.display());
    for output in [
        format!("cat {raw}"),
        format!("base64 -w0 {raw}"),
        format!("base64 -w0 {raw}; echo"),
        format!("head -c 100000 /dev/zero >&2; cat {raw}"),
    ] {
        let mut document = statement();
        let script = format!("cat > {input_path}; {output}");
        shell(&script, DEFAULT_TIMEOUT).sign(&mut document).unwrap();
        assert_eq!(document, expected);
        assert_eq!(fs::read(&input).unwrap(), expected.message().as_bytes());
    }
}

#[test]
fn a_command_that_fails_is_quoted() {
    let error = fails("echo 'no token in slot 0' >&2; exit 7");
    assert_eq!(error.class(), ErrorClass::Io);
    assert_eq!(
        error.to_string(),
        "the signer sh failed (exit status: 7); it wrote: no token in slot 0"
    );
    let error = fails("exit 1");
    assert!(
        error
            .to_string()
            .ends_with("it wrote: nothing on its standard error"),
        "{error}"
    );
    let error = fails("printf 'a\\033[2Jb' >&2; kill -9 $$");
    assert!(
        error
            .to_string()
            .ends_with("(signal: 9 (SIGKILL)); it wrote: a?[2Jb"),
        "{error}"
    );
}

#[test]
fn output_that_is_no_signature_is_refused() {
    for script in [
        "true",
        "echo hello",
        "head -c 63 /dev/zero",
        "head -c 65 /dev/zero",
        "head -c 64 /dev/zero | base64 -w60",
        "head -c 64 /dev/zero | base64 -w0 | tr -d =",
        "head -c 100000 /dev/zero",
    ] {
        let error = fails(script);
        assert!(matches!(error, Error::Output { .. }), "{script}: {error}");
    }
    // A program that ignores its input, and one that is not there.
    let error = fails("exec 0<&-; head -c 64 /dev/zero");
    assert!(
        matches!(error, Error::Sign(sign::Error::ForeignSignature { .. })),
        "a signature that does not fit: {error}"
    );
    let missing = Signer::Command(SignerCommand {
        argv: vec!["/does/not/exist".into()],
        public: *key(1).public(),
        timeout: DEFAULT_TIMEOUT,
    });
    let error = missing.sign(&mut statement()).unwrap_err();
    assert!(matches!(error, Error::Start { .. }), "{error}");
    let empty = SignerCommand {
        argv: Vec::new(),
        public: *key(1).public(),
        timeout: DEFAULT_TIMEOUT,
    };
    let error = Signer::Command(empty).sign(&mut statement()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Usage);
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("raw");
    fs::write(&file, key(2).sign(statement().message())).unwrap();
    let error = fails(&format!("cat {}", file.display()));
    assert_eq!(error.class(), ErrorClass::Untrusted);
}

#[test]
fn a_command_that_hangs_is_stopped() {
    for (script, wrote) in [
        ("exec sleep 100", "nothing on its standard error"),
        (
            "echo 'touch the token' >&2; exec sleep 100",
            "touch the token",
        ),
        // Leaves somebody behind who holds its outputs open.
        ("printf 'a\\033[2Jb' >&2; sleep 3; :", "a?[2Jb"),
        ("sleep 3 & exit 0", "nothing on its standard error"),
        // Closes its output and goes on.
        (
            "exec >&- 2>&-; exec sleep 100",
            "nothing on its standard error",
        ),
    ] {
        let start = Instant::now();
        let error = shell(script, Duration::from_millis(300))
            .sign(&mut statement())
            .unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{script}: {error}");
        let expected = format!("within 0 s; it wrote: {wrote}");
        assert!(error.to_string().ends_with(&expected), "{script}: {error}");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{script}: {:?}",
            start.elapsed()
        );
    }
}
