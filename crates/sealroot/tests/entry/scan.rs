// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking for the boot program in an initramfs, as the tools of distributions make them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use sealroot::initramfs::{Carried, PROGRAM_PATH, ScanError, scan};
use sealroot_format::ErrorClass;
use sealroot_format::limits::MAX_VERITY_CERTIFICATES_BYTES;
use sealroot_format::policy::VERITY_CERTIFICATES_PATH;
use sealroot_testkit::cpio::Archive;
use sealroot_testkit::need;

const POLICY: &[u8] = b"the policy";
const KEYSET: &[u8] = b"the keyset";

/// An archive as a distribution makes it, with our parts in it.
fn complete(program: &str) -> Vec<u8> {
    let mut archive = Archive::new();
    archive.directory("usr/bin");
    archive.file("usr/bin/systemd", 0o755, &vec![7; 300_001]);
    archive.file("etc/sealroot/policy", 0o444, POLICY);
    archive.file(program, 0o755, b"\x7fELF and more");
    archive.file("etc/sealroot/keyset", 0o444, KEYSET);
    archive.finish()
}

fn early() -> Vec<u8> {
    let mut archive = Archive::new();
    archive.file("kernel/x86/microcode/GenuineIntel.bin", 0o644, &[0; 5000]);
    let mut bytes = archive.finish();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn found(program: &str) -> Carried {
    Carried {
        program: Some(program.to_owned()),
        policy: Some(POLICY.to_vec()),
        keyset: Some(KEYSET.to_vec()),
        repairs: false,
        verity_certificates: None,
    }
}

/// What a program makes of its input.
fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(need::tool(program)?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads"));
        child.wait_with_output().expect("it ends")
    });
    assert!(output.status.success(), "{program}: {}", output.status);
    Some(output.stdout)
}

fn compressors() -> [(&'static str, &'static [&'static str]); 6] {
    [
        ("cat", &[]),
        ("gzip", &["-9"]),
        ("xz", &["--check=crc32", "--lzma2=dict=1MiB"]),
        ("xz", &["-T2", "--block-size=65536"]),
        ("zstd", &["-q", "-19"]),
        ("zstd", &["-q", "--no-check", "--long"]),
    ]
}

// Rules: I2
#[test]
fn the_program_is_found_in_whatever_it_is_packed_in() {
    for (program, arguments) in compressors() {
        let Some(packed) = filter(program, arguments, &complete(PROGRAM_PATH)) else {
            continue;
        };
        let tail = Archive::new().finish();
        let rows = [
            packed.clone(),
            [early(), packed.clone()].concat(),
            [early(), packed.clone(), vec![0; 700], tail].concat(),
            [packed, early()].concat(),
        ];
        for (number, row) in rows.iter().enumerate() {
            let carried = scan(&mut &row[..]).unwrap_or_else(|error| {
                panic!(
                    "{program} {arguments:?} {number}: {error}: {:?}",
                    std::error::Error::source(&error)
                )
            });
            assert_eq!(
                carried,
                found(PROGRAM_PATH),
                "{program} {arguments:?} {number}"
            );
            assert!(carried.is_complete());
        }
    }
}

#[test]
fn our_own_initramfs_is_recognised() {
    let carried = scan(&mut &complete("init")[..]).expect("scanned");
    assert_eq!(carried, found("init"));
}

#[test]
fn a_later_archive_replaces_an_earlier_one() {
    let mut archive = Archive::new();
    archive.file("etc/sealroot/policy", 0o444, b"another");
    let row = [complete("init"), archive.finish()].concat();
    let carried = scan(&mut &row[..]).expect("scanned");
    assert_eq!(carried.policy.as_deref(), Some(&b"another"[..]));
}

#[test]
fn certificates_are_found_however_many_there_are() {
    for length in [0, 100, MAX_VERITY_CERTIFICATES_BYTES, 1 << 20] {
        let mut archive = Archive::new();
        archive.file(VERITY_CERTIFICATES_PATH, 0o444, &vec![7; length]);
        let row = [complete("init"), archive.finish()].concat();
        let carried = scan(&mut &row[..]).expect("scanned");
        // Of what no initramfs may have, enough to see that.
        let found = carried.verity_certificates.map(|found| found.len());
        assert_eq!(found, Some(length.min(MAX_VERITY_CERTIFICATES_BYTES + 1)));
    }
}

#[test]
fn a_script_as_init_is_no_boot_program() {
    let mut archive = Archive::new();
    archive.file("init", 0o755, b"#!/bin/sh\n");
    archive.file("etc/sealroot/policy", 0o444, POLICY);
    let carried = scan(&mut &archive.finish()[..]).expect("scanned");
    assert_eq!(carried.program, None);
    assert!(!carried.is_complete());
}

#[test]
fn what_is_no_initramfs_is_refused() {
    let whole = complete("init");
    let mut wrong = whole.clone();
    wrong[120..126].copy_from_slice(b"070707");
    for (bytes, what) in [
        (&b"not an initramfs"[..], "other bytes"),
        (&whole[..whole.len() - 200], "a cut one"),
        (&[0x1f, 0x8b, 8, 0, 0], "a cut gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0xff], "a wrong zstd"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0, 9, 9], "a wrong xz"),
    ] {
        let error = scan(&mut &*bytes).expect_err(what);
        assert_eq!(error.class(), ErrorClass::Corrupt, "{what}: {error:?}");
    }
    assert_eq!(scan(&mut &[][..]).expect("nothing"), Carried::default());
}

/// A window of 2 GiB in a file of a few bytes takes no memory.
#[test]
fn a_claimed_window_is_bounded() {
    // Magic, a frame header with a window descriptor of 2^31 bytes, and an empty raw block.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let error = scan(&mut &zstd[..]).expect_err("too large a window");
    assert!(matches!(error, ScanError::Read { .. }), "{error:?}");
    let Some(xz) = filter("xz", &["--lzma2=dict=256MiB"], &early()) else {
        return;
    };
    let error = scan(&mut &xz[..]).expect_err("too large a dictionary");
    assert!(matches!(error, ScanError::Read { .. }), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damage anywhere ends in an error or in less found, never in a panic.
    #[test]
    fn damage_does_no_harm(at in 0..10_000_usize, with: u8, cut in 0..20_000_usize) {
        let mut archive = Archive::new();
        archive.file("etc/sealroot/policy", 0o444, POLICY);
        archive.file("init", 0o755, b"\x7fELF");
        let mut bytes = [early(), archive.finish()].concat();
        let len = bytes.len();
        bytes[at % len] = with;
        bytes.truncate(cut.max(1).min(len));
        let _ = scan(&mut &bytes[..]);
    }

    /// So for what claims to be compressed.
    #[test]
    fn noise_does_no_harm(magic in 0..3_usize, noise in proptest::collection::vec(any::<u8>(), 0..500)) {
        let magic: &[u8] = [&[0x1f, 0x8b, 8][..], &[0x28, 0xb5, 0x2f, 0xfd], &[0xfd, b'7', b'z', b'X', b'Z', 0]][magic];
        let _ = scan(&mut &[magic, &noise].concat()[..]);
    }
}
