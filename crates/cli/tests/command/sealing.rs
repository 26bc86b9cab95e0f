// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a machine is sealed: every reason why it is not, named with what mends it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealroot_format::ErrorClass;
use sealroot_testkit::boot_files::image_digest;
use sealroot_testkit::{efi, need};
use serde_json::Value;

use crate::pages::{Place, commands};
use crate::support::{STORE, Scratch};
use crate::uki;

/// A boot partition, records and variables of their own.
const MACHINE: &str = "--boot esp --boot-loader systemd-boot --run run --efivarfs vars";

/// Whose the variables are: the specification's, those of images, shim's.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const IMAGES: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";

/// The kind of a certificate, and of a digest, as UEFI numbers them.
const X509: [u8; 16] = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";
const SHA256: [u8; 16] = *b"\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28";

/// A machine on paper: a release that runs, from an image that its owner has signed, on firmware with
/// the owner's keys alone.
pub(crate) struct Machine {
    pub(crate) scratch: Scratch,
    pub(crate) commit: String,
}

impl Machine {
    /// `None` where a tool is missing, which has been said then.
    pub(crate) fn new() -> Option<Self> {
        let (scratch, commit) = uki::scratch()?;
        let machine = Self { scratch, commit };
        for name in ["platform", "exchange"] {
            efi::key_and_certificate(machine.scratch.directory.path(), name, &["rsa:2048"])?;
        }
        machine.variable(&format!("SecureBoot-{GLOBAL}"), &[1]);
        machine.variable(&format!("SetupMode-{GLOBAL}"), &[0]);
        for (name, vendor, certificate) in [
            ("PK", GLOBAL, "platform"),
            ("KEK", GLOBAL, "exchange"),
            ("db", IMAGES, "db"),
        ] {
            let list = list(X509, &machine.der(certificate)?);
            machine.variable(&format!("{name}-{vendor}"), &list);
        }
        machine
            .scratch
            .write("esp/loader/loader.conf", "timeout 0\n");
        machine.image("os.efi", "");
        machine.deploy(&machine.commit, 1, "os.efi");
        machine.runs("sealed", &[]);
        Some(machine)
    }

    fn variable(&self, name: &str, content: &[u8]) {
        let bytes = [&[6, 0, 0, 0], content].concat();
        self.scratch.write(&format!("vars/{name}"), bytes);
    }

    /// A certificate in DER.
    fn der(&self, name: &str) -> Option<Vec<u8>> {
        let openssl = need::tool("openssl")?;
        let mut command = Command::new(openssl);
        command.args(["x509", "-outform", "DER", "-in"]);
        command.arg(self.scratch.path(&format!("{name}.pem")));
        Some(command.output().expect("openssl starts").stdout)
    }

    /// Builds a signed image of the release.
    fn image(&self, file: &str, more: &str) {
        let commit = &self.commit;
        self.scratch.ok(&format!(
            "{STORE} uki build {commit} {} {more} -o {file} --key db.key --certificate db.pem",
            uki::OPTIONS
        ));
    }

    /// Deploys a release, and makes an entry of this generation for an image: as `deploy --uki` does
    /// where there is fs-verity.
    pub(crate) fn deploy(&self, commit: &str, generation: u32, file: &str) -> PathBuf {
        self.scratch
            .ok(&format!("{STORE} deploy {commit} --mode integrity"));
        let image = fs::read(self.scratch.path(file)).expect("an image");
        let digest = image_digest(&image);
        self.scratch
            .write(&format!("esp/sealroot/{digest}/uki.efi"), image);
        let name = format!(
            "esp/loader/entries/sealroot-{generation:08}-{}.0.conf",
            &commit[..12]
        );
        self.scratch.write(
            &name,
            format!(
                "title Test\nversion {generation}\nsort-key sealroot\n# sealroot={commit}.0\n\
                 efi /sealroot/{digest}/uki.efi\n"
            ),
        );
        self.scratch.path(&name)
    }

    /// Writes what the boot program writes.
    pub(crate) fn runs(&self, mode: &str, insecure: &[&str]) {
        let status = self
            .scratch
            .ok(&format!("{STORE} --json status --run none"));
        let status = status.json();
        let deployments = status["deployments"].as_array().expect("a list");
        let of_commit = |one: &&Value| one["name"] == format!("{}.0", self.commit);
        let deployment = deployments.iter().find(of_commit).expect("deployed");
        let booted = serde_json::json!({
            "version": 1, "sealed": insecure.is_empty(), "insecure": insecure, "mode": mode,
            "layer": "erofs", "etc": "transient", "pack": deployment["pack"],
        });
        self.scratch.write("run/booted.json", booted.to_string());
    }

    fn status(&self, more: &str) -> Value {
        let line = format!("{STORE} --json status {MACHINE} {more}");
        self.scratch.ok(&line).json()
    }

    /// That the machine is not sealed for these reasons, each known by some of its words.
    fn assert_reasons(&self, expected: &[&str]) {
        let status = self.status("");
        assert_eq!(status["sealed"], expected.is_empty(), "{status:#}");
        let reasons = status["not_sealed_because"].as_array().expect("a list");
        assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
        for (reason, words) in reasons.iter().zip(expected) {
            let what = reason["what"].as_str().expect("a text");
            assert!(what.contains(words), "{words}: {what}");
            assert!(reason["mend"].as_str().is_some_and(|mend| !mend.is_empty()));
        }
    }
}

/// A list with one signature.
fn list(kind: [u8; 16], content: &[u8]) -> Vec<u8> {
    let signature_bytes = 16 + content.len();
    let lengths = [28 + signature_bytes, 0, signature_bytes];
    let lengths = lengths.map(|len| u32::try_from(len).expect("small").to_le_bytes());
    [&kind[..], &lengths.concat(), &[7; 16], content].concat()
}

/// A certificate like one of Microsoft's.
fn microsofts(directory: &Path) -> Vec<u8> {
    let subject = "/C=US/O=Microsoft Corporation/CN=Microsoft UEFI CA 2023";
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", subject,
        ])
        .args(["-keyout", "/dev/null", "-outform", "DER"])
        .current_dir(directory)
        .output()
        .expect("openssl starts");
    made.stdout
}

#[test]
fn with_the_owners_keys_alone_it_is_sealed() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.assert_reasons(&[]);
    let status = machine.status("");
    assert_eq!(status["migration"], "sealed");
    let notes = status["notes"].as_array().expect("a list");
    let words = [
        "PK has CN=platform",
        "KEK has CN=exchange",
        "no floor is kept",
    ];
    assert_eq!(notes.len(), words.len(), "{notes:#?}");
    for (note, words) in notes.iter().zip(words) {
        assert!(
            note["what"].as_str().expect("a text").contains(words),
            "{note}"
        );
    }
    let text = machine
        .scratch
        .ok(&format!("{STORE} status {MACHINE}"))
        .text();
    assert!(text.starts_with("SEALED\nto know:\n  PK has "), "{text}");

    // Whoever says which certificates are the owner's says it of all of them.
    let scratch = &machine.scratch;
    let both = [scratch.path("platform.pem"), scratch.path("exchange.pem")];
    let both = both.map(|path| fs::read_to_string(path).expect("a certificate"));
    scratch.write("owner.pem", both.concat());
    let status = machine.status("--owner owner.pem");
    assert_eq!(status["sealed"], true, "{status:#}");
    assert_eq!(status["notes"].as_array().expect("a list").len(), 1);
    let status = machine.status("--owner platform.pem");
    let reason = &status["not_sealed_because"][0]["what"];
    assert!(
        reason
            .as_str()
            .is_some_and(|what| what.starts_with("KEK has CN=exchange"))
    );
    let line = format!("{STORE} status {MACHINE} --owner");
    scratch.refused(
        ErrorClass::Corrupt,
        &format!("{line} stub"),
        &["expected certificates in PEM"],
    );
    scratch.refused(
        ErrorClass::NotFound,
        &format!("{line} none"),
        &["cannot read none"],
    );
}

#[test]
fn others_keys_in_the_firmware_are_named() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let own = list(X509, &machine.der("db").expect("there is openssl"));
    let foreign = list(X509, &microsofts(machine.scratch.directory.path()));
    let db = format!("db-{IMAGES}");
    let name = "CN=Microsoft UEFI CA 2023,O=Microsoft Corporation,C=US";
    machine.variable(&db, &[&own[..], &foreign].concat());
    machine.assert_reasons(&[&format!("db trusts {name}, which is not the owner's")]);
    let text = machine
        .scratch
        .ok(&format!("{STORE} status {MACHINE}"))
        .text();
    let line = format!("NOT SEALED:\n  db trusts {name}, which is not the owner's -> take it out");
    assert!(text.starts_with(&line), "{text}");

    // A digest is the owner's if it is that of an image that boots.
    let show = machine.scratch.ok("--json uki show os.efi").json();
    let digest = show["digest"].as_str().map(|hex| {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        (0..64).step_by(2).map(digits).collect::<Vec<u8>>()
    });
    let with = |digest: &[u8]| [own.clone(), list(SHA256, digest)].concat();
    machine.variable(&db, &with(&digest.unwrap_or_default()));
    machine.assert_reasons(&[]);
    machine.variable(&db, &with(&[3; 32]));
    machine.assert_reasons(&["db lets 1 image start that is"]);
    machine.variable(&db, &list([9; 16], b"what is it"));
    machine.assert_reasons(&["db trusts a key of the kind 0909"]);
    machine.variable(&db, &own[..own.len() - 1]);
    machine.assert_reasons(&["whom db trusts cannot be read: db-d719b2cb"]);
    machine.variable(&db, &own);

    for (variable, words) in [
        (format!("KEK-{GLOBAL}"), "KEK has CN=Microsoft"),
        (format!("MokListRT-{SHIM}"), "MokList trusts CN=Microsoft"),
    ] {
        machine.variable(&variable, &foreign);
        machine.assert_reasons(&[words]);
        fs::remove_file(machine.scratch.path(&format!("vars/{variable}"))).expect("removed");
    }
    machine.variable(&format!("MokListRT-{SHIM}"), &own);
    machine.variable(&format!("MokListRT1-{SHIM}"), &foreign);
    machine.assert_reasons(&["MokList trusts CN=Microsoft"]);
}

#[test]
fn a_firmware_that_does_not_verify_is_named() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let secure_boot = format!("SecureBoot-{GLOBAL}");
    machine.variable(&secure_boot, &[0]);
    machine.assert_reasons(&["Secure Boot is off"]);
    machine.variable(&format!("SetupMode-{GLOBAL}"), &[1]);
    machine.assert_reasons(&["Secure Boot is in setup mode"]);
    machine.runs("sealed", &["Secure Boot is in setup mode"]);
    machine.assert_reasons(&["Secure Boot is in setup mode"]);
    machine.runs("sealed", &[]);
    machine.variable(&secure_boot, &[1]);
    machine.variable(&format!("SetupMode-{GLOBAL}"), &[0]);
    machine.variable(&format!("AuditMode-{GLOBAL}"), &[1]);
    machine.assert_reasons(&["Secure Boot is in audit mode"]);
    machine.variable(&format!("AuditMode-{GLOBAL}"), &[0]);
    machine.variable(&format!("MokSBStateRT-{SHIM}"), &[1]);
    machine.assert_reasons(&["shim was told not to verify"]);
    fs::remove_dir_all(machine.scratch.path("vars")).expect("removed");
    machine.assert_reasons(&["Secure Boot is not there"]);
}

#[test]
fn what_the_boot_program_says_is_named_with_a_way_out() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let insecure = [
        "the mode is verity",
        "/etc is kept and verified by nobody",
        "the kernel is not locked down",
        "any command line is accepted",
        "the policy allows an insecure boot",
    ];
    machine.runs("verity", &insecure);
    machine.assert_reasons(&insecure);
    fs::remove_file(machine.scratch.path("run/booted.json")).expect("removed");
    machine.assert_reasons(&["this system was not booted by sealroot"]);
}

#[test]
fn everything_else_that_boots_is_named() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let scratch = &machine.scratch;
    let entry = |name: &str| format!("esp/loader/entries/{name}.conf");
    scratch.write(
        &entry("ostree-1"),
        "title OSTree\nlinux /linux\noptions ostree=x\n",
    );
    scratch.write(&entry("memtest"), "title Test\nefi /EFI/memtest.efi\n");
    scratch.write("esp/EFI/Linux/other.efi", efi::stub());
    machine.assert_reasons(&[
        "the boot entry ostree-1.conf in esp boots too: it is OSTree's",
        "memtest.conf in esp boots too: it is none of sealroot's",
        "the image EFI/Linux/other.efi in esp boots too: it is no image of sealroot's",
    ]);
    assert_eq!(machine.status("")["migration"], "dual");
    for name in [
        &*entry("ostree-1"),
        &entry("memtest"),
        "esp/EFI/Linux/other.efi",
    ] {
        fs::remove_file(scratch.path(name)).expect("removed");
    }

    // An image counts only if it seals and is signed as a whole.
    let signed = fs::read(scratch.path("os.efi")).expect("an image");
    let mut flipped = signed.clone();
    let kernel_at = signed.len() - 3000;
    flipped[kernel_at] ^= 1;
    scratch.write("flipped.efi", flipped);
    machine.image("mild.efi", "--mode verity --sign-unsealed");
    for (file, words) in [
        ("flipped.efi", "its image is not signed"),
        (
            "mild.efi",
            "its image does not seal: the policy has mode verity",
        ),
    ] {
        let other = machine.deploy(&machine.commit, 2, file);
        machine.assert_reasons(&[words]);
        fs::remove_file(other).expect("removed");
    }

    // And what runs must have been started from one.
    fs::remove_dir_all(scratch.path("esp/loader/entries")).expect("removed");
    machine.assert_reasons(&[
        "what runs is not known to have been started from an image",
        "db trusts CN=db,O=sealroot tests; which of them is the owner's is not known",
    ]);
    assert_eq!(machine.status("")["migration"], "legacy");
    scratch.write("esp/EFI/BOOT/BOOTX64.EFI", signed);
    let units: Vec<u8> = "\\EFI\\BOOT\\BOOTX64.EFI\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let stub = "StubImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    machine.variable(stub, &units);
    machine.assert_reasons(&[]);
}

/// What a machine has from the time before: OSTree's entry with its kernel, an entry of sealroot's with the
/// initramfs beside the kernel, and another OS.
fn time_before(machine: &Machine) {
    let scratch = &machine.scratch;
    let old = "ab".repeat(32);
    for (name, content) in [
        (
            "loader/entries/ostree-1.conf",
            format!("title OSTree\nlinux /ostree/os-{old}/vmlinuz\noptions ostree=x\n"),
        ),
        (
            "loader/entries/memtest.conf",
            "title Test\nefi /EFI/memtest.efi\n".into(),
        ),
        ("EFI/memtest.efi", "another's".into()),
        (&*format!("ostree/os-{old}/vmlinuz"), "a kernel".into()),
        ("ostree/notes", "somebody's".into()),
    ] {
        scratch.write(&format!("esp/{name}"), content);
    }
}

fn good_boots(machine: &Machine, boots: &str) {
    let flag = format!("store/deploy/{}.0/sealed-boots", machine.commit);
    machine.scratch.write(&flag, boots);
}

#[test]
fn a_machine_is_sealed_when_nothing_is_missing_and_not_before() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let scratch = &machine.scratch;
    time_before(&machine);
    let seal = format!("{STORE} seal {MACHINE}");
    let before = scratch.listing("esp");
    let shown = scratch.ok(&format!("{seal} --dry-run")).text();
    for words in [
        "missing:\n  0 of 2 good sealed boots are remembered",
        "  nobody has shown that the keyset's root keys are held -> `sealroot seal --challenge",
        "would remove the boot entry memtest.conf in esp: it is none of sealroot's\n",
        "would remove the boot entry ostree-1.conf in esp: it is OSTree's\n",
        &format!("\n{}.0 boots\n", machine.commit),
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let words = [
        "cannot be sealed yet, 2 things missing: 0 of 2 good",
        "hint: boot it again",
    ];
    scratch.refused(ErrorClass::Usage, &format!("{seal} --yes"), &words);

    // A boot counts once, however often it is found good.
    for _ in 0..2 {
        let blessed = scratch
            .ok(&format!("{STORE} --json bless {MACHINE}"))
            .json();
        assert_eq!(blessed["sealed_boots"], 1, "{blessed}");
    }
    scratch.ok(&format!("{seal} --challenge recovery"));
    let challenge = fs::read_to_string(scratch.path("recovery")).expect("a challenge");
    assert!(
        challenge.starts_with("sealroot recovery 1\nkeyset 1\n"),
        "{challenge}"
    );
    assert!(
        challenge.ends_with(&format!("\ncommit {}\n\n", machine.commit)),
        "{challenge}"
    );
    let proved = scratch.ok("keys prove recovery --key vendor.secret").text();
    assert!(proved.contains(", signed by "), "{proved}");
    let sealing = format!("{seal} --recovery recovery");
    let words = [
        "1 thing missing: 1 of 2 good sealed boots",
        "1 of what runs",
    ];
    scratch.refused(ErrorClass::Usage, &format!("{sealing} --yes"), &words);
    good_boots(&machine, "one\ntwo\n");
    let words = [
        "This removes 2 boot entries for good: ",
        "hint: answer with --yes",
    ];
    scratch.refused(ErrorClass::Usage, &sealing, &words);

    // Nobody else's proof, and none for another release.
    scratch.ok("keys new other");
    scratch.ok(&format!("{seal} --challenge others"));
    scratch.ok("keys prove others --key other.secret");
    let missing = |file: &str, words: &[&str]| {
        let line = format!("{seal} --recovery {file} --yes");
        scratch.refused(ErrorClass::Usage, &line, words);
    };
    missing(
        "others",
        &["1 thing missing: the proof of recovery: ", "root"],
    );
    let text = challenge.replace(&machine.commit, &"cd".repeat(32));
    scratch.write("old", text);
    scratch.ok("keys prove old --key vendor.secret");
    missing("old", &["is for keyset 1 and the release cdcd"]);
    scratch.refused(
        ErrorClass::Corrupt,
        &format!("{seal} --recovery stub --yes"),
        &["stub"],
    );
    // What speaks against it otherwise does so here too.
    machine.variable(&format!("SecureBoot-{GLOBAL}"), &[0]);
    missing("recovery", &["1 thing missing: Secure Boot is off"]);
    machine.variable(&format!("SecureBoot-{GLOBAL}"), &[1]);
    assert_eq!(scratch.listing("esp"), before);

    let done = scratch.ok(&format!("{sealing} --yes")).text();
    for words in [
        "removed the boot entry ostree-1.conf in esp: it is OSTree's\n",
        &*format!("removed esp/ostree/os-{}\n", "ab".repeat(32)),
        "this machine is sealed: nothing else boots\n",
    ] {
        assert!(done.contains(words), "{words}: {done}");
    }
    let is_there = |name| scratch.path(&format!("esp/{name}")).exists();
    for gone in [
        "loader/entries/ostree-1.conf",
        "loader/entries/memtest.conf",
    ] {
        assert!(!is_there(gone), "{gone}");
    }
    for kept in ["EFI/memtest.efi", "ostree/notes"] {
        assert!(is_there(kept), "{kept}");
    }
    machine.assert_reasons(&[]);
    assert_eq!(machine.status("")["migration"], "sealed");
    let after = scratch.listing("esp");
    let again = scratch.ok(&format!("{seal} --yes")).text();
    assert_eq!(again, "this machine is sealed: there is nothing to do\n");
    assert_eq!(scratch.listing("esp"), after);
}

#[test]
fn a_kernel_with_its_initramfs_beside_it_goes_and_the_way_back_that_seals_stays() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let scratch = &machine.scratch;
    let first = machine.commit.clone();
    good_boots(&machine, "one\ntwo\n");
    scratch.ok(&format!("{STORE} seal {MACHINE} --challenge recovery"));
    scratch.ok("keys prove recovery --key vendor.secret");
    // An entry as `deploy` made them before there was an image.
    let (linux, initrd) = ("a kernel", "an initramfs");
    let digest = sealroot_testkit::boot_files::digest(linux.as_bytes(), initrd.as_bytes());
    let directory = format!("esp/sealroot/{digest}");
    scratch.write(&format!("{directory}/linux"), linux);
    scratch.write(&format!("{directory}/initrd"), initrd);
    let plain = format!(
        "esp/loader/entries/sealroot-00000002-{}.0.conf",
        &first[..12]
    );
    scratch.write(
        &plain,
        format!(
            "title Test\nversion 2\nsort-key sealroot\noptions quiet sealroot={first}.0\n\
             initrd /sealroot/{digest}/initrd\nlinux /sealroot/{digest}/linux\n"
        ),
    );
    let line = format!("{STORE} --json seal {MACHINE} --recovery recovery --yes");
    let sealed = scratch.ok(&line).json();
    assert_eq!(
        sealed["removed_entries"].as_array().expect("a list").len(),
        1,
        "{sealed}"
    );
    assert_eq!(sealed["removed_kernels"][0], directory, "{sealed}");
    assert!(!scratch.path(&plain).exists() && !scratch.path(&directory).exists());
    let name = format!(
        "esp/loader/entries/sealroot-00000001-{}.0.conf",
        &first[..12]
    );
    assert!(scratch.path(&name).exists());
    machine.assert_reasons(&[]);
}

const PAGE: &str = include_str!("../../../../docs/seal.md");

/// What a device looks for in its own places.
const ON_THE_DEVICE: &str = "case \"$1\" in\n\
                             bless) set -- \"$@\" $MACHINE;;\n\
                             status|seal) set -- \"$@\" $MACHINE --owner owner.pem;;\n\
                             esac\n";

/// Types a command of the page; what it wrote.
fn follow(machine: &Machine, place: Place, line: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_sealroot"));
    let bin = match place {
        Place::Vendor => program.parent().expect("a directory").to_owned(),
        Place::Device => machine.scratch.path("device-bin"),
    };
    let ran = Command::new("sh")
        .args(["-ec", line])
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .current_dir(machine.scratch.directory.path())
        .output()
        .expect("sh starts");
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{line}: {error}");
    String::from_utf8(ran.stdout).expect("text")
}

#[test]
fn the_page_on_sealing_is_followed() {
    let Some((scratch, commit)) = uki::scratch() else {
        return;
    };
    let machine = Machine { scratch, commit };
    let scratch = &machine.scratch;
    let script = format!(
        "#!/bin/sh\nMACHINE='{MACHINE}'\n{ON_THE_DEVICE}exec {} {STORE} \"$@\"\n",
        env!("CARGO_BIN_EXE_sealroot")
    );
    scratch.write("device-bin/sealroot", script);
    let script = scratch.path("device-bin/sealroot");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("set");
    scratch.write("esp/loader/loader.conf", "timeout 0\n");
    time_before(&machine);
    // The stub and the boot program of this test are not where they are installed.
    let parts = format!(
        "uki build {} --stub stub --boot-program boot",
        machine.commit
    );
    let mut written = Vec::new();
    for (place, line) in commands(PAGE, Place::Vendor) {
        if line.ends_with(" --boot-loader firmware") {
            // The other way takes firmware: tests in virtual machines go it.
            continue;
        }
        if line.starts_with("sealroot deploy ") {
            // There is no fs-verity here, and no firmware that would start it.
            assert_eq!(line, "sealroot deploy COMMIT --uki os.efi --tries 3");
            machine.deploy(&machine.commit, 1, "os.efi");
            machine.runs("sealed", &[]);
            machine.variable(&format!("SecureBoot-{GLOBAL}"), &[1]);
            machine.variable(&format!("SetupMode-{GLOBAL}"), &[0]);
            for (name, vendor) in [("PK", GLOBAL), ("KEK", GLOBAL), ("db", IMAGES)] {
                let der = fs::read(scratch.path(&format!("{name}.der"))).expect("it was made");
                machine.variable(&format!("{name}-{vendor}"), &list(X509, &der));
            }
            continue;
        }
        let line = line.replace("uki build COMMIT", &parts);
        written.push((line.clone(), follow(&machine, place, &line)));
        if line == "sealroot bless" {
            // And once more, in another boot.
            let flag = format!("store/deploy/{}.0/sealed-boots", machine.commit);
            let boots = fs::read_to_string(scratch.path(&flag)).expect("it is remembered");
            good_boots(&machine, &format!("another\n{boots}"));
        }
    }
    let of = |command: &str| {
        let told = written.iter().filter(|(line, _)| line.starts_with(command));
        told.map(|(_, told)| &**told).collect::<Vec<_>>()
    };
    let status = of("sealroot status");
    assert_eq!(status.len(), 2);
    assert!(
        status[0].starts_with("NOT SEALED:\n  the boot entry "),
        "{}",
        status[0]
    );
    assert!(status[1].starts_with("SEALED\n"), "{}", status[1]);
    let seal = of("sealroot seal --dry-run");
    assert!(
        seal[0].starts_with("missing:\n  nobody has shown"),
        "{}",
        seal[0]
    );
}
