// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an image is made of, and what it is not made of.

use std::fs;

use sealroot::keyring;
use sealroot::uki::{self, UkiError};
use sealroot_format::policy::{Mode, SecureBoot};
use sealroot_testkit::efi::{
    ARM, STUB_NAME, STUB_SBAT, UNAME, X86, application, linux, stub, stub_that_says,
};
use sealroot_testkit::need;
use sha2::{Digest as _, Sha256};

use crate::support::Bench;

const ADDED: [&str; 6] = [".sbat", ".osrel", ".uname", ".cmdline", ".initrd", ".linux"];

fn refusal(bench: &Bench) -> String {
    bench.build().expect_err("it is refused").to_string()
}

// Rules: U3, U5, U6, U9
#[test]
fn all_parts_are_there_as_they_were_given() {
    let bench = Bench::new();
    let image = bench.image();
    assert_eq!(bench.image(), image, "the same parts, the same bytes");
    let sections = uki::sections(&image).unwrap();
    let names: Vec<&str> = sections.iter().map(|(name, _)| name.as_str()).collect();
    let of_stub = [".text", ".sbat.st", ".sdmagic"];
    assert_eq!(names, [&of_stub, &ADDED[..]].concat());
    let found = uki::read(&image).unwrap();
    assert_eq!(found.uname, UNAME);
    assert_eq!(found.os_release.as_bytes(), bench.os_release);
    assert_eq!(found.policy.mode, Mode::Sealed);
    let line = "console=ttyS0 lockdown=integrity module.sig_enforce=1 noresume \
                systemd.import_credentials=no --";
    assert_eq!(found.cmdline.as_str(), line);
    assert_eq!(
        found.policy.secure_boot,
        SecureBoot::Required(found.cmdline.clone())
    );
    assert_eq!(found.linux_bytes, linux().len());
    assert_eq!(found.unsealed(), None);
    assert!(
        found.sbat.ends_with("systemd,1,z\nsealroot,1,own\n"),
        "{}",
        found.sbat
    );
    assert_eq!(uki::signatures(&image).unwrap(), Some(vec![]));
    // The stub's bytes are where they were, but for its headers.
    assert_eq!(image[0x400..][..0x400], stub()[0x400..][..0x400]);
    let at = |needle: &[u8]| image.windows(needle.len()).any(|bytes| bytes == needle);
    assert!(at(&linux()) && at(STUB_SBAT.as_bytes()));
}

// Rules: U20
#[test]
fn an_image_for_repairs_is_for_no_release() {
    let mut bench = Bench::new();
    let (statement, document) = Bench::release();
    let boots = bench.image();
    let boots = uki::read(&boots).unwrap();
    assert!(!boots.repairs);
    boots.check_release(&statement, &document).unwrap();
    bench.repairs();
    bench.os_release = uki::repair_description(&statement).into_bytes();
    let repairs = bench.image();
    let repairs = uki::read(&repairs).unwrap();
    assert!(repairs.repairs);
    assert_eq!(repairs.policy, boots.policy);
    assert!(repairs.os_release.starts_with("ID=sealroot-repair\n"));
    let refused = repairs.check_release(&statement, &document);
    assert!(matches!(refused, Err(UkiError::Repairs)), "{refused:?}");
}

#[test]
fn the_sbat_table_of_the_kernel_is_taken_over() {
    let mut bench = Bench::new();
    bench.linux = application(X86, &[(".text", b"x"), (".sbat", b"sbat,1,x\nlinux,1,y\n")]);
    let image = bench.image();
    let sbat = uki::read(&image).unwrap().sbat;
    assert!(
        sbat.ends_with("systemd,1,z\nlinux,1,y\nsealroot,1,own\n"),
        "{sbat}"
    );
    bench.linux = application(X86, &[(".sbat", b"linux,1,y\n")]);
    assert!(refusal(&bench).starts_with("kernel image: .sbat: expected lines that begin"));
}

// Rules: U4
#[test]
fn stubs_and_kernels_that_do_not_fit_are_refused() {
    let long: &[u8] = &[0; 8];
    for (stub, words) in [
        (
            b"#!/bin/sh\n".to_vec(),
            "stub: the file: expected an EFI application",
        ),
        (vec![], "stub: the file: expected an EFI application"),
        (
            stub()[..300].to_vec(),
            "stub: the headers: expected an EFI application",
        ),
        (
            application(X86, &[(".linux", long)]),
            "stub: .linux: expected no such section, found one",
        ),
        (
            application(X86, &[(".initrd", long)]),
            "stub: .initrd: expected no such section",
        ),
        (
            application(ARM, &[(".text", long)]),
            "the machine: expected the stub's, 0xaa64, found 0x8664",
        ),
        (
            application(X86, &[(".sbat", long)]),
            "stub: .sbat: expected lines",
        ),
        (
            application(X86, &[(".sbat", b"sbat,1\n"), (".sbat", b"sbat,1\n")]),
            "stub: .sbat: expected one such section, found several",
        ),
    ] {
        let mut bench = Bench::new();
        bench.stub = stub;
        let error = refusal(&bench);
        assert!(error.contains(words), "{words}: {error}");
    }
    let mut bench = Bench::new();
    bench.linux = b"\x1f\x8b a kernel for another loader".to_vec();
    assert!(refusal(&bench).starts_with("kernel image: the file: expected an EFI application"));
}

// Rules: U21
#[test]
fn a_stub_that_may_take_an_initramfs_from_others_is_refused() {
    let says = |name: &str| {
        let mut bench = Bench::new();
        bench.stub = stub_that_says(name);
        bench
    };
    for version in ["250", "252.39-1~deb12u2", "259~rc1"] {
        says(&format!("#### LoaderInfo: systemd-stub {version} ####\0")).image();
    }
    for (name, found) in [
        (
            "#### LoaderInfo: systemd-stub 249 ####",
            "that of systemd 249",
        ),
        (
            "#### LoaderInfo: systemd-stub 260~rc1 ####",
            "that of systemd 260",
        ),
        (
            "#### LoaderInfo: systemd-stub 99999999999 ####",
            "another one",
        ),
        ("#### LoaderInfo: systemd-stub ####", "another one"),
        ("#### LoaderInfo: systemd-boot 257 ####", "another one"),
        ("", "another one"),
    ] {
        let error = refusal(&says(name));
        assert!(error.starts_with("stub: the stub: expected"), "{error}");
        assert!(error.contains(&format!("found {found}")), "{name}: {error}");
    }
    let mut silent = Bench::new();
    silent.stub = application(X86, &[(".text", b"x"), (".sbat", STUB_SBAT.as_bytes())]);
    let error = refusal(&silent);
    assert!(
        error.ends_with("found one that does not say what it is"),
        "{error}"
    );
    // Nor is an image that somebody else has made with it signed or deployed.
    let image = Bench::new().image();
    let at = image
        .windows(STUB_NAME.len())
        .position(|bytes| bytes == STUB_NAME.as_bytes());
    let mut other = image;
    other[at.expect("it says so") + "#### LoaderInfo: systemd-stub ".len()] = b'9';
    let error = uki::read(&other).unwrap_err().to_string();
    assert!(error.contains("found that of systemd 957"), "{error}");
}

#[test]
fn a_symbol_table_is_left_out_and_nothing_else() {
    let bench = Bench::new();
    let mut with_symbols = Bench::new();
    let at = u32::try_from(with_symbols.stub.len()).unwrap();
    with_symbols.stub.extend_from_slice(&[7; 18]);
    let error = refusal(&with_symbols);
    assert!(
        error.starts_with("stub: behind the sections: expected the end at byte"),
        "{error}"
    );
    with_symbols.stub[0x4c..0x50].copy_from_slice(&at.to_le_bytes());
    with_symbols.stub[0x50..0x54].copy_from_slice(&1_u32.to_le_bytes());
    assert_eq!(with_symbols.image(), bench.image());
}

#[test]
fn headers_without_room_are_refused() {
    let many: Vec<(String, [u8; 1])> = (0..13).map(|n| (format!(".x{n}"), [1])).collect();
    let mut many: Vec<(&str, &[u8])> = (many.iter()).map(|(name, c)| (&**name, &c[..])).collect();
    many.push((".sdmagic", STUB_NAME.as_bytes()));
    let mut bench = Bench::new();
    bench.stub = application(X86, &many);
    let error = refusal(&bench);
    assert!(
        error.contains("the headers: expected room for 20 sections"),
        "{error}"
    );
}

// Rules: U7
#[test]
fn a_kernel_of_another_release_is_refused() {
    let mut bench = Bench::new();
    bench.uname = "6.12.1".to_owned();
    let error = refusal(&bench);
    assert!(
        error.contains("the kernel's release: expected 6.12.1, found 6.12.1-test"),
        "{error}"
    );
    // One that does not name it.
    bench.linux = application(X86, &[(".text", b"x")]);
    bench.image();
}

#[test]
fn texts_that_are_none_are_refused() {
    for os_release in [&b""[..], b"ID=\xff\n", b"ID=a\0", &vec![b'x'; 70_000]] {
        let mut bench = Bench::new();
        bench.os_release = os_release.to_vec();
        let error = refusal(&bench);
        assert!(error.contains(".osrel: expected "), "{error}");
    }
    let mut bench = Bench::new();
    bench.uname = String::new();
    bench.linux = application(X86, &[(".text", b"x")]);
    assert!(refusal(&bench).contains(".uname: expected a text"));
    bench = Bench::new();
    bench.sbat = "no table".to_owned();
    assert!(refusal(&bench).contains(".sbat: expected lines"));
}

#[test]
fn policies_without_a_safe_command_line_are_refused() {
    let mut bench = Bench::new();
    let safe = bench.policy.clone();
    let (start, _) = safe.split_once("allow-insecure-boot").unwrap();
    bench.policy = format!("{start}allow-insecure-boot yes\ncmdline -\n");
    assert!(refusal(&bench).contains("the policy's command line: expected the whole line"));
    bench.policy = safe.replace(" noresume", "");
    let error = bench.build().unwrap_err();
    assert!(matches!(&error, UkiError::Parameter { parameter, .. } if parameter == "noresume"));
    bench.policy = safe.replace("console=ttyS0", "init=/bin/sh");
    assert!(refusal(&bench).contains("kernel parameter init=/bin/sh: another program"));
    bench.policy = safe.replace("root LABEL=root", "root LABEL=");
    assert!(matches!(bench.build(), Err(UkiError::Policy { .. })));
}

#[test]
fn certificates_are_named_whatever_is_in_them() {
    let mut bench = Bench::new();
    assert_eq!(uki::read(&bench.image()).unwrap().verity_certificates, []);
    let Some((_, certificate)) = bench.certificate("db", &["rsa:2048"]) else {
        return;
    };
    let known = keyring::read_certificates(&[certificate]).unwrap();
    // A SEQUENCE of DER that is no certificate.
    let strange = [0x30, 1, 7];
    bench.certificates = [&known[..], &strange].concat();
    let image = bench.image();
    let found = uki::read(&image).unwrap().verity_certificates;
    let subjects: Vec<_> = found.iter().map(|one| one.subject.as_deref()).collect();
    assert_eq!(subjects, [Some("CN=db,O=sealroot tests"), None]);
    for (name, der) in found.iter().zip([&known[..], &strange]) {
        assert_eq!(name.fingerprint[..], Sha256::digest(der)[..]);
        assert_eq!(name.identity.is_some(), name.subject.is_some());
    }

    // A file that boot would not take: its last certificate says that it is longer.
    let at = image.windows(known.len()).position(|bytes| bytes == known);
    let mut damaged = image.clone();
    damaged[at.expect("it is in the image") + known.len() + 1] = 9;
    let error = uki::read(&damaged).unwrap_err().to_string();
    let words = "etc/sealroot/verity-certificates: expected certificates in DER";
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_private_key_among_the_modules_is_refused() {
    let bench = Bench::new();
    bench.module(b"x\n-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n");
    let error = bench.build().unwrap_err();
    assert!(
        matches!(&error, UkiError::Secret { place, .. } if place == ".initrd"),
        "{error}"
    );
}

#[test]
fn the_stub_of_systemd_is_taken() {
    let Ok(stub) = fs::read(uki::USUAL_STUB) else {
        need::missing("systemd's EFI stub");
        return;
    };
    let mut bench = Bench::new();
    bench.stub = stub;
    let image = bench.image();
    let found = uki::read(&image).unwrap();
    assert!(found.sbat.contains("\nsystemd,1,"), "{}", found.sbat);
    let sections = uki::sections(&image).unwrap();
    for name in ADDED {
        assert_eq!(
            sections.iter().filter(|(found, _)| found == name).count(),
            1,
            "{name}"
        );
    }
}
