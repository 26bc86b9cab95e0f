// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in a unified kernel image, and whether all of it belongs together
//! (docs/format/uki.md 2 to 5).

use sealroot_format::codec::Cursor;
use sealroot_format::limits::MAX_OS_RELEASE_BYTES;
use sealroot_format::policy::{
    CommandLine, DeploymentName, EtcMode, Mode, Policy, SecureBoot, VERITY_CERTIFICATES_PATH,
};
use sealroot_format::sign::{Keyset, Statement, Unverified, Verified};

use super::image::{Image, SectionName, shown};
use super::{Fault, UkiError, parameters, sbat, secrets, stub};
use crate::initramfs::{self, CertificateName, certificate_names};

pub(super) const LINUX: SectionName = *b".linux\0\0";
pub(super) const INITRD: SectionName = *b".initrd\0";
pub(super) const CMDLINE: SectionName = *b".cmdline";
pub(super) const OS_RELEASE: SectionName = *b".osrel\0\0";
pub(super) const UNAME: SectionName = *b".uname\0\0";
pub(super) const SBAT: SectionName = *b".sbat\0\0\0";

/// What else systemd-stub takes something from: other command lines, further initramfs, device
/// trees, firmware.
const FOREIGN: [SectionName; 9] = [
    *b".profile",
    *b".ucode\0\0",
    *b".dtb\0\0\0\0",
    *b".dtbauto",
    *b".hwids\0\0",
    *b".efifw\0\0",
    *b".splash\0",
    *b".pcrsig\0",
    *b".pcrpkey",
];

/// What the parts of an image are called in messages.
pub(super) const IMAGE: &str = "unified kernel image";
pub(super) const KERNEL: &str = "kernel image";

/// The contents of a unified kernel image of ours: complete, and fitting together.
#[derive(Debug)]
pub struct Contents<'d> {
    /// The kernel's release, as `uname -r` has it.
    pub uname: &'d str,
    /// The whole kernel command line.
    pub cmdline: CommandLine,
    /// The `os-release` file.
    pub os_release: &'d str,
    /// The parts and their generations.
    pub sbat: &'d str,
    /// The policy in the initramfs.
    pub policy: Policy,
    /// The keyset in the initramfs.
    pub keyset: Verified<Keyset>,
    /// Whether it repairs the store and boots nothing.
    pub repairs: bool,
    /// The certificates for the kernel's keyring of fs-verity in the initramfs.
    pub verity_certificates: Vec<CertificateName>,
    /// The length of the kernel.
    pub linux_bytes: usize,
    /// The length of the initramfs.
    pub initrd_bytes: usize,
}

impl<'d> Contents<'d> {
    /// Looks through an image: all sections must be there, and nothing else that a stub would use.
    pub(super) fn of(image: &Image<'d>) -> Result<Self, UkiError> {
        image.check_covered().map_err(in_image)?;
        refuse_foreign(image)?;
        stub::check(image).map_err(in_image)?;
        let section = |name: SectionName| -> Result<&'d [u8], UkiError> {
            let section = image.section(name).map_err(in_image)?;
            let missing = || in_image(Fault::new(shown(name), "such a section", "none"));
            Ok(section.ok_or_else(missing)?.content)
        };
        let (linux, initrd) = (section(LINUX)?, section(INITRD)?);
        let text = |name: SectionName, max_bytes: usize| -> Result<&'d str, UkiError> {
            text(name, section(name)?, max_bytes).map_err(in_image)
        };
        let cmdline = text(CMDLINE, usize::MAX)?;
        let parsed = cmdline.parse();
        let cmdline: CommandLine = parsed.map_err(|source| UkiError::CommandLine { source })?;
        parameters::check(&cmdline)?;
        let uname = text(UNAME, usize::MAX)?;
        check_kernel(linux, uname, image.machine())?;
        let Orders {
            policy,
            keyset,
            repairs,
            verity_certificates,
        } = Orders::of(initrd)?;
        if policy.secure_boot.command_line() != Some(&cmdline) {
            let found = policy.secure_boot.command_line();
            let found = found.map_or("any".to_owned(), ToString::to_string);
            let expected = format!("the one of the image, {cmdline}");
            let fault = Fault::new("the policy's command line", expected, found);
            return Err(in_image(fault));
        }
        let sbat = section(SBAT)?;
        for name in [INITRD, CMDLINE, OS_RELEASE, UNAME, SBAT] {
            secrets::refuse(&shown(name), section(name)?)?;
        }
        Ok(Self {
            uname,
            cmdline,
            os_release: text(OS_RELEASE, MAX_OS_RELEASE_BYTES)?,
            sbat: sbat::parse(sbat).map_err(in_image)?,
            policy,
            keyset,
            repairs,
            verity_certificates,
            linux_bytes: linux.len(),
            initrd_bytes: initrd.len(),
        })
    }

    /// That the boot program in the image would take this release, whose statement this is. The deployment that the
    /// image names, if it names one: then it boots that one only.
    ///
    /// # Errors
    ///
    /// [`UkiError::Repairs`], [`UkiError::Statement`], [`UkiError::OtherRelease`].
    pub fn check_release(
        &self,
        statement: &Verified<Statement>,
        document: &Unverified<Statement>,
    ) -> Result<Option<DeploymentName>, UkiError> {
        if self.repairs {
            return Err(UkiError::Repairs);
        }
        let other = |source| UkiError::OtherRelease { source };
        let cmdline = self.cmdline.as_str().as_bytes();
        let named = self.policy.check_cmdline(cmdline).map_err(other)?;
        if named.is_some() || self.policy.pinned.pack().is_none() {
            let verified = document.verify(&self.keyset);
            verified.map_err(|source| UkiError::Statement { source })?;
        }
        let checked = (self.policy).check_release(statement, named.as_ref(), self.uname);
        checked.map_err(other)?;
        Ok(named)
    }

    /// What speaks against calling a machine sealed that boots this image, if anything does.
    pub fn unsealed(&self) -> Option<String> {
        let Policy {
            mode,
            etc,
            secure_boot,
            ..
        } = &self.policy;
        match (mode, secure_boot) {
            (_, SecureBoot::NotRequired(_)) => Some("allow-insecure-boot yes".to_owned()),
            (Mode::Sealed, _) if *etc != EtcMode::Merge => None,
            (Mode::Sealed, _) => Some(format!("etc {etc}")),
            _ => Some(format!("mode {mode}")),
        }
    }
}

pub(super) fn in_image(fault: Fault) -> UkiError {
    UkiError::Image { what: IMAGE, fault }
}

/// That a stub or an image has no section that would bring something along.
pub(super) fn refuse_foreign(image: &Image<'_>) -> Result<(), UkiError> {
    match image
        .sections
        .iter()
        .find(|section| FOREIGN.contains(&section.name()))
    {
        None => Ok(()),
        Some(section) => {
            let name = section.shown_name();
            Err(in_image(Fault::new(name, "no such section", "one")))
        }
    }
}

fn text(name: SectionName, bytes: &[u8], max_bytes: usize) -> Result<&str, Fault> {
    let start = || bytes.get(..bytes.len().min(40)).unwrap_or_default();
    match str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.contains('\0') && text.len() <= max_bytes => Ok(text),
        Ok(text) if text.len() > max_bytes => {
            let expected = format!("at most {max_bytes} bytes");
            Err(Fault::new(shown(name), expected, text.len()))
        }
        _ => Err(Fault::new(shown(name), "a text", start().escape_ascii())),
    }
}

/// That the kernel is an EFI application for the same machine, and of the release that is named.
pub(super) fn check_kernel(linux: &[u8], uname: &str, machine: u16) -> Result<(), UkiError> {
    let broken = |fault| UkiError::Image {
        what: KERNEL,
        fault,
    };
    let kernel = Image::parse(linux).map_err(broken)?;
    if kernel.machine() != machine {
        let expected = format!("the stub's, {machine:#x}");
        let found = format!("{:#x}", kernel.machine());
        return Err(broken(Fault::new("the machine", expected, found)));
    }
    match release_of(linux) {
        Some(found) if found != uname.as_bytes() => {
            let found = found.escape_ascii();
            Err(broken(Fault::new("the kernel's release", uname, found)))
        }
        _ => Ok(()),
    }
}

/// The release that the header of an x86 kernel has (boot.rst of Linux, `kernel_version`).
pub(super) fn release_of(linux: &[u8]) -> Option<&[u8]> {
    const HEADER_AT: usize = 0x202;
    const VERSION_AT: usize = 0x20e;
    const VERSION_COUNTS_FROM: usize = 0x200;
    if !linux.get(HEADER_AT..)?.starts_with(b"HdrS") {
        return None;
    }
    let at = Cursor::new(linux.get(VERSION_AT..)?).u16()?;
    let text = linux.get(VERSION_COUNTS_FROM.checked_add(at.into())?..)?;
    let ends = |byte: &u8| matches!(byte, b' ' | 0);
    text.split(ends)
        .next()
        .filter(|release| at != 0 && !release.is_empty())
}

/// What an initramfs tells the boot program.
struct Orders {
    policy: Policy,
    keyset: Verified<Keyset>,
    repairs: bool,
    verity_certificates: Vec<CertificateName>,
}

impl Orders {
    /// Of an initramfs that has the boot program as its init.
    fn of(initrd: &[u8]) -> Result<Self, UkiError> {
        let carried = initramfs::scan(&mut &*initrd).map_err(|source| UkiError::Scan { source })?;
        let has = |what| {
            in_image(Fault::new(
                ".initrd",
                "sealroot's boot program as its init",
                what,
            ))
        };
        let (Some(policy), Some(keyset)) = (carried.policy, carried.keyset) else {
            return Err(has("no policy or no keyset"));
        };
        match carried.program.as_deref() {
            Some(initramfs::INIT_PATH) => {}
            Some(_) => return Err(has("another init")),
            None => return Err(has("none")),
        }
        let certificates = carried.verity_certificates.as_deref();
        let certificates = certificates.map(certificate_names).transpose();
        let certificates = certificates.map_err(|found| {
            let expected = "certificates in DER, one after another";
            in_image(Fault::new(VERITY_CERTIFICATES_PATH, expected, found))
        })?;
        Ok(Self {
            policy: Policy::parse(&policy).map_err(|source| UkiError::Policy { source })?,
            keyset: Keyset::parse_trusted(&keyset).map_err(|source| UkiError::Keyset { source })?,
            repairs: carried.repairs,
            verity_certificates: certificates.unwrap_or_default(),
        })
    }
}
