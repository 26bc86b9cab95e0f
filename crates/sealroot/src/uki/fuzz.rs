// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: each panics where what must hold does not.

#![expect(clippy::expect_used, reason = "a panic is what a fuzzer sees")]

use sealroot_format::limits::MAX_EFI_SECTIONS;

use super::authenticode;
use super::extend::{Holds, NewSection};
use super::image::{Image, SectionName};

const ADDED: SectionName = *b".added\0\0";
const RETIRED: SectionName = *b".retired";

/// An EFI application: as an image of ours, signed, and with one more section.
pub fn efi_image(data: &[u8]) {
    let contents = super::read(data);
    let Ok(image) = Image::parse(data) else {
        contents.expect_err("contents of no application");
        return;
    };
    let is_covered = image.check_covered().is_ok();
    assert!(is_covered || contents.is_err(), "unsigned parts were read");
    if !is_covered || !image.certificates().is_empty() {
        return;
    }
    let table = [7; 24];
    if let Ok(signed) = image.with_certificates(&table) {
        let signed = Image::parse(&signed).expect("an application, signed");
        signed.check_covered().expect("no gap before signatures");
        assert_eq!(signed.certificates(), table);
        assert_eq!(signed.digest(), image.digest());
    }
    let added = NewSection {
        name: ADDED,
        content: b"added",
        holds: Holds::Data,
    };
    let Ok(longer) = image.extended(RETIRED, &[added]) else {
        return;
    };
    if image.sections.len() == MAX_EFI_SECTIONS {
        return;
    }
    let longer = Image::parse(&longer).expect("an application, longer");
    longer.check_covered().expect("no gap before what is added");
    let contents = |image: &Image<'_>| -> Vec<Vec<u8>> {
        let sections = image.sections.iter();
        sections.map(|section| section.content.to_vec()).collect()
    };
    let expected = [contents(&image), vec![b"added".to_vec()]].concat();
    assert!(contents(&longer) == expected, "other contents");
}

/// The digest of an image, and a table of signatures: of another image they do not hold.
pub fn efi_signatures(data: &[u8]) {
    let Some((digest, table)) = data.split_first_chunk() else {
        return;
    };
    let read = authenticode::read(table, digest);
    let other = authenticode::read(table, &digest.map(|byte| !byte));
    let count = |signatures: &Option<Vec<_>>| signatures.as_ref().map(Vec::len);
    assert_eq!(count(&read), count(&other));
    for signature in other.into_iter().flatten() {
        assert!(signature.fault.is_some(), "it holds for another image");
    }
}
