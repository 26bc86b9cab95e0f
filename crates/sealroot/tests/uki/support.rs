// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parts that are small and have all that matters, and keys.

use std::fs;
use std::path::PathBuf;

use sealroot::initramfs::{self, ModuleRequest};
use sealroot::uki::{self, Made, Parts, UkiError};
use sealroot_format::digest::{CommitId, TreeDigest, VerityDigest};
use sealroot_format::sign::{Keyset, RoleKeys, Statement, Unverified, Verified, secret::SecretKey};
use sealroot_testkit::efi::{self, UNAME};
use tempfile::TempDir;

/// A keyset with one key for all.
fn keyset() -> Vec<u8> {
    let secret = SecretKey::from_seed(&[1; 32]).unwrap();
    let key = *secret.public();
    let role = || RoleKeys::new(1, [key.id()]);
    let keyset = Keyset::new(1, [role(), role(), role()], [key]).unwrap();
    let mut keyset = Unverified::unsigned(&keyset).unwrap();
    let signature = secret.sign(keyset.message());
    keyset.add(&key, signature).unwrap();
    keyset.to_string().into_bytes()
}

/// What images are made of; each test changes what it is about.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) stub: Vec<u8>,
    pub(crate) linux: Vec<u8>,
    pub(crate) uname: String,
    pub(crate) os_release: Vec<u8>,
    pub(crate) sbat: String,
    pub(crate) policy: String,
    pub(crate) certificates: Vec<u8>,
    modules: PathBuf,
    program: PathBuf,
    repair_tool: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let modules = directory.path().join("modules");
        fs::create_dir(&modules).unwrap();
        fs::write(modules.join("modules.dep"), "loop.ko:\n").unwrap();
        fs::write(modules.join("modules.builtin"), "").unwrap();
        fs::write(modules.join("loop.ko"), "a module").unwrap();
        let program = directory.path().join("boot");
        fs::write(&program, efi::BOOT_PROGRAM).unwrap();
        let line = uki::command_line("console=ttyS0", None).unwrap();
        Self {
            stub: efi::stub(),
            linux: efi::linux(),
            uname: UNAME.to_owned(),
            os_release: b"ID=test\nNAME=Test\n".to_vec(),
            sbat: "sealroot,1,own\n".to_owned(),
            policy: format!(
                "sealroot policy 1\nmode sealed\nlayer erofs\ntmpfs-percent -\nroot LABEL=root\n\
                 etc transient\nvar volatile\npack sha256:4096:{}\nrelease-index 1\n\
                 release-epoch 0\nos test\nvariant -\nstream stable\narch x86_64\n\
                 epoch-floor 0\nfloor-on epoch\nfloor-store -\ntpm-base -\n\
                 allow-insecure-boot no\n\
                 cmdline {line}\n",
                "ab".repeat(32)
            ),
            certificates: Vec::new(),
            modules,
            program,
            repair_tool: None,
            directory,
        }
    }

    pub(crate) fn module(&self, content: &[u8]) {
        fs::write(self.modules.join("loop.ko"), content).unwrap();
    }

    pub(crate) fn build(&self) -> Result<Made, UkiError> {
        let parts = Parts {
            stub: &self.stub,
            linux: &self.linux,
            uname: &self.uname,
            os_release: &self.os_release,
            sbat: &self.sbat,
        };
        let initramfs = initramfs::Options {
            kernel_modules: &self.modules,
            boot_program: &self.program,
            keyset: &keyset(),
            policy: self.policy.as_bytes(),
            modules: &[ModuleRequest::required("loop")],
            verity_certificates: &self.certificates,
            repair_tool: self.repair_tool.as_deref(),
        };
        uki::build(&parts, &initramfs)
    }

    /// From now on images are for repairs.
    pub(crate) fn repairs(&mut self) {
        let tool = self.directory.path().join("sealroot");
        let mark = initramfs::REPAIR_TOOL_MARK.as_bytes();
        fs::write(&tool, [efi::BOOT_PROGRAM, mark].concat()).unwrap();
        self.repair_tool = Some(tool);
    }

    /// The statement of the release that the image boots.
    pub(crate) fn release() -> (Verified<Statement>, Unverified<Statement>) {
        let statement = Statement {
            os: "test".parse().unwrap(),
            variant: None,
            stream: "stable".parse().unwrap(),
            arch: "x86_64".parse().unwrap(),
            version: None,
            index: 1,
            epoch: 0,
            commit: CommitId::from_bytes([1; 32]),
            tree_digest: TreeDigest::from_bytes([2; 32]),
            pack_format: 1,
            pack_digest: VerityDigest::from_bytes([0xab; 32]),
            pack_size_bytes: 4096,
            entries: 1,
            objects: 0,
            object_bytes: 0,
            threshold_bytes: 4096,
            kernel: None,
            created: 0,
        };
        let secret = SecretKey::from_seed(&[1; 32]).unwrap();
        let mut document = Unverified::unsigned(&statement).unwrap();
        let signature = secret.sign(document.message());
        document.add(secret.public(), signature).unwrap();
        let keyset = Keyset::parse_trusted(&keyset()).unwrap();
        (document.verify(&keyset).unwrap(), document)
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.build().unwrap().bytes
    }

    /// A key and a certificate for it, `<name>.key` and `<name>.pem`; `None` where OpenSSL is missing,
    /// which has been said then.
    pub(crate) fn certificate(&self, name: &str, kind: &[&str]) -> Option<(PathBuf, PathBuf)> {
        efi::key_and_certificate(self.directory.path(), name, kind)
    }
}
