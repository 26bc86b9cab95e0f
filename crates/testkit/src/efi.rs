// SPDX-License-Identifier: MIT OR Apache-2.0
//! EFI applications that are small and have all that matters, keys for Secure Boot, and a judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::need;

/// What the format calls the machines.
pub const X86: u16 = 0x8664;
/// See [`X86`].
pub const ARM: u16 = 0xaa64;

/// The release of [`linux`].
pub const UNAME: &str = "6.12.1-test";

/// Where the optional header begins in what [`application`] makes.
pub const OPTIONAL_AT: usize = 0x40 + 24;
/// Where the section table begins.
pub const TABLE_AT: usize = OPTIONAL_AT + 240;
/// The length of its headers.
pub const HEADERS_BYTES: usize = 0x400;

/// An EFI application with these sections.
pub fn application(machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; HEADERS_BYTES];
    let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(&mut file, 0, b"MZ");
    put(&mut file, 0x3c, &0x40_u32.to_le_bytes());
    put(&mut file, 0x40, b"PE\0\0");
    put(&mut file, 0x44, &machine.to_le_bytes());
    put(
        &mut file,
        0x46,
        &u16::try_from(sections.len()).expect("small").to_le_bytes(),
    );
    put(&mut file, 0x54, &240_u16.to_le_bytes());
    put(&mut file, OPTIONAL_AT, &0x20b_u16.to_le_bytes());
    put(&mut file, OPTIONAL_AT + 32, &4096_u32.to_le_bytes());
    put(&mut file, OPTIONAL_AT + 36, &512_u32.to_le_bytes());
    put(&mut file, OPTIONAL_AT + 60, &0x400_u32.to_le_bytes());
    put(&mut file, OPTIONAL_AT + 68, &10_u16.to_le_bytes());
    put(&mut file, OPTIONAL_AT + 108, &16_u32.to_le_bytes());
    let mut address = 0x1000_u32;
    for (index, (name, content)) in sections.iter().enumerate() {
        let len = u32::try_from(content.len()).expect("small");
        let raw = content.len().next_multiple_of(512);
        let mut header = [0; 40];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let offset = u32::try_from(file.len()).expect("small");
        for (at, number) in [
            (8, len),
            (12, address),
            (16, u32::try_from(raw).expect("small")),
            (20, offset),
        ] {
            header[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        put(&mut file, TABLE_AT + 40 * index, &header);
        file.extend_from_slice(content);
        file.resize(file.len().next_multiple_of(512), 0);
        address += len.next_multiple_of(4096).max(4096);
    }
    put(&mut file, OPTIONAL_AT + 56, &address.to_le_bytes());
    file
}

/// The parts that [`stub`] says it has.
pub const STUB_SBAT: &str = "sbat,1,x,y\nsystemd,1,z\n";

/// A stub.
pub fn stub() -> Vec<u8> {
    stub_that_says(STUB_NAME)
}

/// What a stub says that it is.
pub const STUB_NAME: &str = "#### LoaderInfo: systemd-stub 257.1 ####\0";

/// A stub that says that it is this.
pub fn stub_that_says(name: &str) -> Vec<u8> {
    let sections: [(&str, &[u8]); 3] = [
        (".text", &[0xc3; 700]),
        (".sbat", STUB_SBAT.as_bytes()),
        (".sdmagic", name.as_bytes()),
    ];
    application(X86, &sections)
}

/// A kernel whose header names its release, as x86 has it.
pub fn linux() -> Vec<u8> {
    let mut kernel = application(X86, &[(".text", &[0x90; 3000])]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let version = format!("{UNAME} (builder@host) #1\0");
    kernel[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
    kernel
}

/// What passes for the boot program until somebody starts it: a static ELF program with its notice.
pub const BOOT_PROGRAM: &[u8] = &boot_program();

const NOTICE: &[u8] = sealroot_format::policy::BOOT_PROGRAM_NOTICE.as_bytes();

const fn boot_program() -> [u8; 64 + NOTICE.len()] {
    let start = b"\x7fELF\x02\x01";
    let mut bytes = [0; 64 + NOTICE.len()];
    let mut at = 0;
    while at < NOTICE.len() {
        if at < start.len() {
            bytes[at] = start[at];
        }
        bytes[64 + at] = NOTICE[at];
        at += 1;
    }
    bytes
}

/// A private key of an `openssl req -newkey` kind, and a certificate for it: `<name>.key` and
/// `<name>.pem`. `None` where OpenSSL is missing, which has been said then.
///
/// # Panics
///
/// If there are none afterwards.
pub fn key_and_certificate(
    directory: &Path,
    name: &str,
    kind: &[&str],
) -> Option<(PathBuf, PathBuf)> {
    let openssl = need::tool("openssl")?;
    let at = |ending: &str| directory.join(format!("{name}.{ending}"));
    let (key, certificate) = (at("key"), at("pem"));
    let subject = format!("/O=sealroot tests/CN={name}");
    let made = Command::new(openssl)
        .args([
            "req", "-x509", "-nodes", "-sha256", "-days", "3650", "-subj", &subject,
        ])
        .arg("-newkey")
        .args(kind)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{made:?}");
    Some((key, certificate))
}

/// Whether sbverify takes an image for signed by a certificate; `None` where it is missing, which
/// has been said then.
pub fn sbverify(image: &[u8], certificate: &Path) -> Option<Result<(), String>> {
    let program = need::tool("sbverify")?;
    let file = tempfile::NamedTempFile::new().expect("it starts");
    fs::write(file.path(), image).expect("it starts");
    let mut command = Command::new(program);
    let output = command
        .arg("--cert")
        .arg(certificate)
        .arg(file.path())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // A warning means that it would hash the image in another way than we do.
    let is_good = output.status.success() && !said.contains("warning");
    Some(if is_good { Ok(()) } else { Err(said) })
}
