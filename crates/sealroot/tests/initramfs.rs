// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initramfs builder: what it carries, in which order, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealroot::initramfs::{self, Error, ModuleRequest, Options};
use sealroot_format::ErrorClass;
use sealroot_format::policy::BOOT_PROGRAM_NOTICE;
use sealroot_format::sign::{Keyset, RoleKeys, Unverified, secret::SecretKey};

const POLICY: &[u8] = b"sealroot policy 1
mode verity
layer erofs
tmpfs-percent -
root LABEL=root
etc transient
var volatile
pack -
release-index -
release-epoch -
os test
variant -
stream stable
arch x86_64
epoch-floor 0
floor-on epoch
floor-store -
tpm-base -
allow-insecure-boot yes
cmdline -
";

/// A keyset with one key for all.
fn keyset() -> Vec<u8> {
    let secret = SecretKey::from_seed(&[1; 32]).expect("a key");
    let key = *secret.public();
    let role = || RoleKeys::new(1, [key.id()]);
    let keyset = Keyset::new(1, [role(), role(), role()], [key]).expect("a keyset");
    let mut keyset = Unverified::unsigned(&keyset).expect("small");
    let signature = secret.sign(keyset.message());
    keyset.add(&key, signature).expect("it fits");
    keyset.to_string().into_bytes()
}

/// A 64-bit ELF header with one program header of type `segment`.
fn elf(segment: u32) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[0x20] = 64;
    bytes[0x36] = 56;
    bytes[0x38] = 1;
    bytes[64..68].copy_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(BOOT_PROGRAM_NOTICE.as_bytes());
    bytes
}

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;

/// A kernel whose erofs needs two modules, one of which needs the other, and whose ext4 is built
/// in.
fn kernel(directory: &Path) {
    fs::create_dir_all(directory.join("kernel/fs")).expect("a directory");
    for module in ["erofs.ko.xz", "netfs.ko.xz", "lib-crc.ko.xz", "overlay.ko"] {
        fs::write(directory.join("kernel/fs").join(module), module).expect("a file");
    }
    let dep = "kernel/fs/overlay.ko:\n\
        kernel/fs/erofs.ko.xz: kernel/fs/netfs.ko.xz kernel/fs/lib-crc.ko.xz\n\
        kernel/fs/netfs.ko.xz: kernel/fs/lib-crc.ko.xz\n\
        kernel/fs/lib-crc.ko.xz:\n";
    fs::write(directory.join("modules.dep"), dep).expect("a file");
    fs::write(
        directory.join("modules.builtin"),
        "kernel/fs/ext4/ext4.ko\n",
    )
    .expect("a file");
}

struct Fixture {
    _directory: tempfile::TempDir,
    kernel: std::path::PathBuf,
    program: std::path::PathBuf,
    policy: Vec<u8>,
    certificates: Vec<u8>,
    repair_tool: Option<PathBuf>,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let kernel_modules = directory.path().join("modules");
    kernel(&kernel_modules);
    let program = directory.path().join("boot");
    fs::write(&program, elf(PT_LOAD)).expect("a file");
    Fixture {
        kernel: kernel_modules,
        program,
        policy: POLICY.to_vec(),
        certificates: Vec::new(),
        repair_tool: None,
        _directory: directory,
    }
}

impl Fixture {
    fn build(&self, modules: &[ModuleRequest]) -> Result<(initramfs::Summary, Vec<u8>), Error> {
        self.build_with(&keyset(), modules)
    }

    fn build_with(
        &self,
        keyset: &[u8],
        modules: &[ModuleRequest],
    ) -> Result<(initramfs::Summary, Vec<u8>), Error> {
        let mut archive = Vec::new();
        let options = Options {
            kernel_modules: &self.kernel,
            boot_program: &self.program,
            keyset,
            policy: &self.policy,
            modules,
            verity_certificates: &self.certificates,
            repair_tool: self.repair_tool.as_deref(),
        };
        let summary = initramfs::build(&options, &mut archive)?;
        assert_eq!(summary.size_bytes, archive.len() as u64);
        Ok((summary, archive))
    }
}

fn cpio(arguments: &[&str], archive: &[u8], directory: &Path) -> String {
    use std::io::Write as _;
    let mut child = Command::new("cpio")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cpio runs");
    child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(archive)
        .expect("cpio reads");
    let output = child.wait_with_output().expect("cpio ends");
    assert!(output.status.success(), "cpio: {}", output.status);
    String::from_utf8(output.stdout).expect("names are text")
}

#[test]
fn modules_load_after_what_they_need() {
    let requests = [
        ModuleRequest::required("ext4"),
        ModuleRequest::where_present("nvme"),
        ModuleRequest::required("erofs"),
        ModuleRequest::required("overlay"),
    ];
    let (summary, archive) = fixture().build(&requests).expect("it builds");
    let expected = [
        "000-lib_crc.ko.xz",
        "001-netfs.ko.xz",
        "002-erofs.ko.xz",
        "003-overlay.ko",
    ];
    assert_eq!(summary.modules, expected);

    let directory = tempfile::tempdir().expect("a directory");
    let names = cpio(&["-it", "--quiet"], &archive, directory.path());
    let expected = "dev\ndev/console\netc\netc/sealroot\netc/sealroot/keyset\n\
        etc/sealroot/policy\ninit\nproc\nrun\nsys\nusr\nusr/lib\nusr/lib/sealroot\n\
        usr/lib/sealroot/modules\nusr/lib/sealroot/modules/000-lib_crc.ko.xz\n\
        usr/lib/sealroot/modules/001-netfs.ko.xz\nusr/lib/sealroot/modules/002-erofs.ko.xz\n\
        usr/lib/sealroot/modules/003-overlay.ko\n";
    assert_eq!(names, expected);

    let kept = ["-id", "--quiet", "init", "etc/*", "usr/*"];
    cpio(&kept, &archive, directory.path());
    let read = |path: &str| fs::read(directory.path().join(path)).expect("it was unpacked");
    assert_eq!(read("init"), elf(PT_LOAD));
    assert_eq!(read("etc/sealroot/policy"), POLICY);
    assert_eq!(read("etc/sealroot/keyset"), keyset());
    assert_eq!(
        read("usr/lib/sealroot/modules/003-overlay.ko"),
        b"overlay.ko"
    );
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let requests = [ModuleRequest::required("erofs")];
    let (_, first) = fixture().build(&requests).expect("it builds");
    let (_, second) = fixture().build(&requests).expect("it builds");
    assert_eq!(first, second);
}

#[test]
fn a_module_the_kernel_lacks_is_refused() {
    let error = fixture()
        .build(&[ModuleRequest::required("virtio-blk")])
        .expect_err("there is no such module");
    assert!(matches!(&error, Error::MissingModule { name, .. } if name == "virtio_blk"));
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[test]
fn a_kernel_without_its_lists_is_refused() {
    let fixture = fixture();
    fs::remove_file(fixture.kernel.join("modules.dep")).expect("it was there");
    let error = fixture.build(&[]).expect_err("a list is missing");
    assert!(matches!(error, Error::NoModuleList { .. }), "{error}");
}

#[test]
fn only_a_static_program_can_be_init() {
    let fixture = fixture();
    for (program, expected) in [
        (elf(PT_INTERP), "one that needs a dynamic loader"),
        (b"#!/bin/sh\n".to_vec(), "found something else"),
        (elf(PT_LOAD)[..70].to_vec(), "ends too early"),
        (elf(PT_LOAD)[..120].to_vec(), "another program"),
    ] {
        fs::write(&fixture.program, program).expect("a file");
        let error = fixture.build(&[]).expect_err("it is no static program");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.class(), ErrorClass::Usage);
    }
}

#[test]
fn only_the_static_command_is_taken_for_repairs() {
    let mut fixture = fixture();
    let tool = fixture.program.with_file_name("sealroot");
    fixture.repair_tool = Some(tool.clone());
    let mark = initramfs::REPAIR_TOOL_MARK.as_bytes();
    for (program, expected) in [
        (
            [&elf(PT_INTERP), mark].concat(),
            "one that needs a dynamic loader",
        ),
        (elf(PT_LOAD), "another program"),
    ] {
        fs::write(&tool, program).expect("a file");
        let error = fixture.build(&[]).expect_err("it is not the command");
        assert!(matches!(error, Error::RepairTool { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.class(), ErrorClass::Usage);
    }
    let command = [&elf(PT_LOAD), mark].concat();
    fs::write(&tool, &command).expect("a file");
    let (_, archive) = fixture.build(&[]).expect("it builds");
    let carried = initramfs::scan(&mut &*archive).expect("an initramfs");
    assert!(carried.repairs && !carried.is_complete(), "{carried:?}");
    let directory = tempfile::tempdir().expect("a directory");
    cpio(
        &["-id", "--quiet", "usr/lib/sealroot/repair"],
        &archive,
        directory.path(),
    );
    let unpacked = fs::read(directory.path().join("usr/lib/sealroot/repair"));
    assert_eq!(unpacked.expect("it was unpacked"), command);
}

#[test]
fn what_the_boot_program_would_refuse_is_refused() {
    let mut fixture = fixture();
    fixture.policy.extend_from_slice(b"more\n");
    let error = fixture.build(&[]).expect_err("the policy is malformed");
    assert!(matches!(error, Error::Policy { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Corrupt);
}

#[test]
fn a_keyset_that_nobody_signed_is_refused() {
    let fixture = fixture();
    let signed = String::from_utf8(keyset()).expect("text");
    let (body, _) = signed.split_once("\n\n").expect("two parts");
    let error = fixture.build_with(format!("{body}\n\n").as_bytes(), &[]);
    let error = error.expect_err("it is unsigned");
    assert_eq!(error.class(), ErrorClass::Untrusted);
    assert!(matches!(error, Error::Keyset { .. }), "{error}");
}
