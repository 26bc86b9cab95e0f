// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images that others made or spoiled: refused, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use sealroot::uki::{self, ImageSigner, MaySign, UkiError};

use sealroot_testkit::efi::{HEADERS_BYTES, OPTIONAL_AT, TABLE_AT};

use crate::support::Bench;

/// The place of a section's header in the images of [`Bench`].
fn header_of(image: &[u8], name: &str) -> usize {
    let mut padded = [0; 8];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    let headers = (TABLE_AT..HEADERS_BYTES).step_by(40);
    let mut found = headers.filter(|at| image[*at..].starts_with(&padded));
    found.next().expect("the section")
}

fn changed(image: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

fn refusal(image: &[u8]) -> String {
    uki::read(image).expect_err("it is refused").to_string()
}

// Rules: U2
#[test]
fn an_image_that_lacks_or_has_too_much_is_refused() {
    let image = Bench::new().image();
    for name in [".linux", ".initrd", ".cmdline", ".osrel", ".uname", ".sbat"] {
        let without = changed(&image, header_of(&image, name), b".gone\0\0\0");
        let error = refusal(&without);
        assert!(
            error.contains(&format!("{name}: expected such a section, found none")),
            "{error}"
        );
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let twice = changed(&image, header_of(&image, ".text"), &padded);
        let error = refusal(&twice);
        assert!(
            error.contains(&format!("{name}: expected one such section")),
            "{error}"
        );
    }
    for name in [
        ".profile", ".ucode", ".dtb", ".dtbauto", ".hwids", ".efifw", ".splash", ".pcrsig",
        ".pcrpkey",
    ] {
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let more = changed(&image, header_of(&image, ".text"), &padded);
        let error = refusal(&more);
        assert!(
            error.contains(&format!("{name}: expected no such section")),
            "{error}"
        );
        let mut bench = Bench::new();
        bench.stub = changed(&bench.stub, header_of(&bench.stub, ".text"), &padded);
        let error = bench.build().unwrap_err().to_string();
        assert!(
            error.contains(&format!("{name}: expected no such section")),
            "{error}"
        );
    }
}

// Rules: U1
#[test]
fn what_lies_between_or_over_sections_is_refused() {
    let image = Bench::new().image();
    let field = |name: &str, at: usize| header_of(&image, name) + at;
    let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let address = |name: &str| number(field(name, 12));
    let raw = |name: &str| number(field(name, 20));
    for (at, value, words) in [
        (
            field(".osrel", 12),
            address(".sbat"),
            ".osrel: expected a place in memory from",
        ),
        (
            field(".cmdline", 8),
            0x1000_0000,
            ".initrd: expected a place in memory from",
        ),
        (
            field(".osrel", 20),
            raw(".sbat"),
            ".osrel: expected its content at byte",
        ),
        (
            field(".initrd", 16),
            512,
            ".linux: expected its content at byte",
        ),
        (
            field(".linux", 16),
            512,
            "behind the sections: expected the end or signatures",
        ),
        (
            field(".linux", 16),
            u32::MAX,
            ".linux: expected its content inside the file",
        ),
        (
            OPTIONAL_AT + 60,
            0x200,
            "the size of the headers: expected at least",
        ),
        (
            OPTIONAL_AT + 60,
            u32::MAX,
            "the size of the headers: expected at least",
        ),
        (OPTIONAL_AT + 112 + 36, 8, ": expected "),
    ] {
        let error = refusal(&changed(&image, at, &value.to_le_bytes()));
        assert!(error.contains(words), "{words}: {error}");
    }
    let mut longer = image.clone();
    longer.push(0);
    assert!(
        refusal(&longer).contains("behind the sections"),
        "{}",
        refusal(&longer)
    );
    assert!(refusal(&changed(&image, OPTIONAL_AT + 68, &[3])).contains("the subsystem"));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let bench = Bench::new();
    let image = bench.image();
    let place = |needle: &[u8], count: usize| {
        let mut found = image
            .windows(needle.len())
            .enumerate()
            .filter(|(_, b)| *b == needle);
        found.nth(count).expect("it is there").0
    };
    // Once in `.cmdline`, once in the policy.
    for count in 0..2 {
        let other = changed(&image, place(b"console=ttyS0", count), b"console=ttyS1");
        assert!(refusal(&other).contains("the policy's command line: expected"));
    }
    let other = changed(&image, place(b"init\0", 0), b"inot\0");
    assert!(
        refusal(&other).contains("boot program as its init, found none"),
        "{}",
        refusal(&other)
    );
    let other = changed(
        &image,
        place(b"etc/sealroot/keyset\0", 0),
        b"etc/sealroot/keyse_\0",
    );
    assert!(refusal(&other).contains("no policy or no keyset"));
    let other = changed(&image, place(b"070701", 0), b"070709");
    assert!(matches!(uki::read(&other), Err(UkiError::Scan { .. })));
    let other = changed(&image, place(b"6.12.1-test (", 0), b"6.12.2-test (");
    assert!(refusal(&other).contains("the kernel's release"));
}

/// All that looks at images, on bytes that may be anything.
fn look(image: &[u8]) {
    let _ = uki::read(image);
    let _ = uki::sections(image);
    let _ = uki::signatures(image);
    let mut bench = Bench::new();
    bench.stub = image.to_vec();
    let _ = bench.build();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn spoiled_images_never_panic(
        changes in vec((0..HEADERS_BYTES + 64, any::<u8>()), 1..12),
        end in proptest::option::of(0..0x3000_usize),
        small in any::<bool>(),
    ) {
        let bench = Bench::new();
        let mut image = if small { bench.stub.clone() } else { bench.image() };
        for (at, byte) in changes {
            image[at] = byte;
        }
        image.truncate(end.unwrap_or(usize::MAX));
        look(&image);
    }

    #[test]
    fn bytes_that_only_begin_like_an_image_never_panic(mut bytes in vec(any::<u8>(), 0x40..0x400)) {
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c..0x40].copy_from_slice(&0x40_u32.to_le_bytes());
        if let Some(place) = bytes.get_mut(0x40..0x44) {
            place.copy_from_slice(b"PE\0\0");
        }
        look(&bytes);
    }
}

#[test]
fn each_changed_bit_of_a_signed_image_is_noticed() {
    const CHECKSUM: std::ops::Range<usize> = OPTIONAL_AT + 64..OPTIONAL_AT + 68;
    let bench = Bench::new();
    let Some((key, certificate)) = bench.certificate("db", &["rsa:2048"]) else {
        return;
    };
    let signer = ImageSigner::with_key(&certificate, &key).unwrap();
    let image = bench.image();
    let signed = uki::sign(&image, &signer, MaySign::SealedOnly).unwrap();
    let holds = |image: &[u8]| {
        let signatures = uki::signatures(image).ok().flatten().unwrap_or_default();
        signatures.iter().any(|signature| signature.fault.is_none())
    };
    assert!(holds(&signed));
    // The headers, and a few bytes of each page of the rest. Signatures follow.
    let places = (0..HEADERS_BYTES).chain((HEADERS_BYTES..image.len()).step_by(511));
    for at in places {
        let other = changed(&signed, at, &[signed[at] ^ 1]);
        assert_eq!(holds(&other), CHECKSUM.contains(&at), "byte {at:#x}");
    }
    let table = image.len() + 8..signed.len() - 8;
    for at in table {
        let _ = holds(&changed(&signed, at, &[signed[at] ^ 0x10]));
    }
}
