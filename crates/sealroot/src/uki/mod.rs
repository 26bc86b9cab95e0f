// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images: an EFI stub, a kernel, the initramfs of [`crate::initramfs`] and the whole
//! command line in one file that firmware verifies (`docs/format/uki.md`, `docs/design/uki.md`).
//!
//! Trusts the vendor's choice of parts, but none of their bytes: stub, kernel and images are taken
//! apart within their bounds. Only what is a complete image of ours is ever signed.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub(crate) mod authenticode;
mod contents;
mod error;
mod extend;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod image;
mod parameters;
mod sbat;
mod secrets;
mod signing;
mod stub;

use sealroot_format::limits::MAX_BOOT_FILE_BYTES;
use sealroot_format::sign::Statement;

use crate::initramfs;
use contents::{CMDLINE, INITRD, KERNEL, LINUX, OS_RELEASE, SBAT, UNAME, in_image};
use extend::{Holds, NewSection};
use image::{Image, SectionName, shown};

pub use authenticode::Signature;
pub use contents::Contents;
pub use error::{Fault, UkiError};
pub use parameters::command_line;
pub use sbat::lines_of as sbat_lines_of;
pub use signing::ImageSigner;

/// What systemd installs its stub as, on machines of this kind.
pub const USUAL_STUB: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/systemd/boot/efi/linuxaa64.efi.stub"
} else {
    "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
};

/// What a stub's own table of parts is called where the image has one of all parts.
const RETIRED_SBAT: SectionName = *b".sbat.st";

/// What an image is made of, besides its initramfs.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'p> {
    /// The EFI stub.
    pub stub: &'p [u8],
    /// The kernel.
    pub linux: &'p [u8],
    /// The kernel's release, as `uname -r` has it.
    pub uname: &'p str,
    /// The `os-release` file; see [`repair_description`].
    pub os_release: &'p [u8],
    /// Lines for `.sbat` besides those of stub and kernel; see [`sbat_lines_of`].
    pub sbat: &'p str,
}

/// An image as it was made.
#[derive(Debug)]
pub struct Made {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What its initramfs holds.
    pub initramfs: initramfs::Summary,
}

/// Which images may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaySign {
    /// Those alone with which a machine is sealed. All that a key has signed boots wherever it is
    /// trusted.
    SealedOnly,
    /// All of ours.
    UnsealedToo,
}

/// Makes an image, not yet signed. Its command line is the one that the initramfs's policy names.
/// The same parts give the same bytes.
///
/// # Errors
///
/// [`UkiError`] for every part that cannot be used or that no image may have.
pub fn build(parts: &Parts<'_>, initramfs: &initramfs::Options<'_>) -> Result<Made, UkiError> {
    let in_stub = |fault| UkiError::Image {
        what: "stub",
        fault,
    };
    let stub = Image::parse(parts.stub).map_err(in_stub)?;
    if !stub.certificates().is_empty() {
        return Err(in_stub(Fault::new("signatures", "none", "some")));
    }
    for name in [LINUX, INITRD, CMDLINE, OS_RELEASE, UNAME] {
        if stub.section(name).map_err(in_stub)?.is_some() {
            return Err(in_stub(Fault::new(shown(name), "no such section", "one")));
        }
    }
    contents::check_kernel(parts.linux, parts.uname, stub.machine())?;
    let policy = sealroot_format::policy::Policy::parse(initramfs.policy);
    let policy = policy.map_err(|source| UkiError::Policy { source })?;
    let Some(cmdline) = policy.secure_boot.command_line() else {
        let fault = Fault::new("the policy's command line", "the whole line", "any");
        return Err(in_image(fault));
    };
    let mut initrd = Vec::new();
    let summary = initramfs::build(initramfs, &mut initrd)?;
    let sbat = sbat_of(parts, &stub)?;
    stub::check(&stub).map_err(in_stub)?;
    let data = |name, content| NewSection {
        name,
        content,
        holds: Holds::Data,
    };
    let added = [
        data(SBAT, sbat.as_bytes()),
        data(OS_RELEASE, parts.os_release),
        data(UNAME, parts.uname.as_bytes()),
        data(CMDLINE, cmdline.as_str().as_bytes()),
        data(INITRD, &initrd),
        NewSection {
            name: LINUX,
            content: parts.linux,
            holds: Holds::Code,
        },
    ];
    let bytes = stub.extended(RETIRED_SBAT, &added).map_err(in_stub)?;
    read(&bytes)?;
    Ok(Made {
        bytes,
        initramfs: summary,
    })
}

/// The `os-release` of an image for repairs. Boot loaders sort images by its `ID`: behind the entries that
/// boot releases (docs/format/entries.md, E2).
pub fn repair_description(statement: &Statement) -> String {
    let Statement { os, index, .. } = statement;
    format!(
        "ID=sealroot-repair\nNAME=\"sealroot repair\"\nPRETTY_NAME=\"Repair {os} (release {index})\"\n\
         VERSION_ID={index}\n"
    )
}

fn sbat_of(parts: &Parts<'_>, stub: &Image<'_>) -> Result<String, UkiError> {
    let kernel = Image::parse(parts.linux);
    let kernel = kernel.map_err(|fault| UkiError::Image {
        what: KERNEL,
        fault,
    })?;
    let mut tables = Vec::new();
    for (what, image) in [("stub", stub), (KERNEL, &kernel)] {
        let found = image.section(SBAT).and_then(|section| match section {
            Some(section) => sbat::parse(section.content).map(Some),
            None => Ok(None),
        });
        tables.extend(found.map_err(|fault| UkiError::Image { what, fault })?);
    }
    tables.push(parts.sbat);
    Ok(sbat::merged(&tables))
}

/// Looks through a unified kernel image of ours, signed or not.
///
/// # Errors
///
/// [`UkiError`] if it is no such image, incomplete, or its parts do not fit together.
pub fn read(image: &[u8]) -> Result<Contents<'_>, UkiError> {
    if image.len() as u64 > MAX_BOOT_FILE_BYTES {
        let expected = format!("at most {MAX_BOOT_FILE_BYTES} bytes");
        return Err(in_image(Fault::new("the whole", expected, image.len())));
    }
    Contents::of(&Image::parse(image).map_err(in_image)?)
}

/// The release that the header of an x86 kernel has, as `uname -r` has it, from the kernel's first 128 KiB.
/// Other kernels do not say theirs.
pub fn release_of_kernel(head: &[u8]) -> Option<&str> {
    str::from_utf8(contents::release_of(head)?).ok()
}

/// The signatures of an image; `None` if they cannot be read. Nothing is said of whether a machine
/// trusts the certificates.
///
/// # Errors
///
/// [`UkiError::Image`].
pub fn signatures(image: &[u8]) -> Result<Option<Vec<Signature>>, UkiError> {
    let digest = digest(image)?;
    let image = Image::parse(image).map_err(in_image)?;
    Ok(authenticode::read(image.certificates(), &digest))
}

/// The digest that firmware computes of an image: what its signature holds, and what `db` and `dbx`
/// may name it by.
///
/// # Errors
///
/// [`UkiError::Image`].
pub fn digest(image: &[u8]) -> Result<[u8; 32], UkiError> {
    let image = Image::parse(image).map_err(in_image)?;
    image.check_covered().map_err(in_image)?;
    Ok(image.digest())
}

/// The names and sizes of an image's sections, in their order.
///
/// # Errors
///
/// [`UkiError::Image`].
pub fn sections(image: &[u8]) -> Result<Vec<(String, usize)>, UkiError> {
    let image = Image::parse(image).map_err(in_image)?;
    let sections = image.sections.iter();
    Ok(sections
        .map(|section| (section.shown_name(), section.content.len()))
        .collect())
}

/// The contents of an image's sections, and of the files in its initramfs: what may be a file of the release as it is.
///
/// # Errors
///
/// [`UkiError::Image`].
pub fn parts(image: &[u8]) -> Result<Vec<&[u8]>, UkiError> {
    let image = Image::parse(image).map_err(in_image)?;
    let mut parts: Vec<_> = image
        .sections
        .iter()
        .map(|section| section.content)
        .collect();
    if let Some(initrd) = image.section(INITRD).map_err(in_image)? {
        parts.extend(initramfs::files(initrd.content));
    }
    Ok(parts)
}

/// The image with a signature, which firmware verifies by the signer's certificate. The same image
/// and key give the same bytes.
///
/// # Errors
///
/// Those of [`read`]; [`UkiError::Signed`]; [`UkiError::NotSealed`]; those of signing;
/// [`UkiError::Image`] for a kernel that this certificate has signed: it boots without the rest.
pub fn sign(image: &[u8], signer: &ImageSigner, which: MaySign) -> Result<Vec<u8>, UkiError> {
    let contents = read(image)?;
    if let (MaySign::SealedOnly, Some(found)) = (which, contents.unsealed()) {
        return Err(UkiError::NotSealed { found });
    }
    let parsed = Image::parse(image).map_err(in_image)?;
    if !parsed.certificates().is_empty() {
        return Err(UkiError::Signed);
    }
    let linux = parsed.section(LINUX).map_err(in_image)?;
    let linux = linux.map_or(&[][..], |section| section.content);
    let in_kernel = |fault| UkiError::Image {
        what: KERNEL,
        fault,
    };
    if signer.has_signed(Image::parse(linux).map_err(in_kernel)?.certificates()) {
        let expected = "none by the certificate of the image, with which it boots on its own";
        return Err(in_kernel(Fault::new("signatures", expected, "one")));
    }
    signer.sign(&parsed)
}
