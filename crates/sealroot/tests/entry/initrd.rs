// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel and initramfs of a release, from its pack and objects to the boot partition.

use std::fs;
use std::path::{Path, PathBuf};

use sealroot::build::{self, Origin as Source, Release};
use sealroot::entry::{
    Boot, Content, Initrd, InitrdError, KernelBootIo, Loader, MachinePolicy, Making, NewEntry,
    Origin, carried_initrd, make_initrd,
};
use sealroot::initramfs;
use sealroot::monitor::Silent;
use sealroot::release::{self, ReleaseError, ReleaseFiles};
use sealroot::source::{Compressed, Devices};
use sealroot::store::Store;
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::Pack;
use sealroot_format::policy::{BOOT_PROGRAM_NOTICE, EtcMode, Mode, SecureBoot};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, RoleKeys, Statement, Unverified, Verified};
use sealroot_testkit::cpio::Archive;

use crate::support::{all, deployment, digest};

const VERSION: &str = "6.12.0-test";

/// A tree with a kernel, its store, and who signs.
struct Fixture {
    directory: tempfile::TempDir,
    secret: SecretKey,
    keyset: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let secret = SecretKey::from_seed(&[1; 32]).expect("a key");
        let key = *secret.public();
        let role = || RoleKeys::new(1, [key.id()]);
        let keyset = Keyset::new(1, [role(), role(), role()], [key]).expect("a keyset");
        let mut document = Unverified::unsigned(&keyset).expect("a document");
        let signature = secret.sign(document.message());
        document.add(secret.public(), signature).expect("signed");
        let fixture = Self {
            directory,
            secret,
            keyset: document.to_string().into_bytes(),
        };
        fixture.write("vmlinuz", &vec![0x5a; 100_000]);
        fixture.write(
            "modules.builtin",
            b"kernel/fs/ext4/ext4.ko\nkernel/drivers/block/loop.ko\n",
        );
        fixture.write(
            "modules.dep",
            b"kernel/fs/erofs.ko.xz:\nkernel/fs/overlay.ko: kernel/fs/erofs.ko.xz\n",
        );
        fixture.write("kernel/fs/erofs.ko.xz", b"small");
        fixture.write("kernel/fs/overlay.ko", &vec![3; 20_000]);
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program.extend_from_slice(BOOT_PROGRAM_NOTICE.as_bytes());
        fs::write(fixture.path("program"), program).expect("a file");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file in the directory of the kernel.
    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path("tree/usr/lib/modules").join(VERSION).join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, content).expect("written");
    }

    fn build(&self, store: &Store, kernel: Option<&str>) -> Verified<Statement> {
        let name = |text: &str| text.parse().expect("a name");
        let release = Release {
            os: name("exampleos"),
            variant: None,
            stream: name("stable"),
            arch: name("x86_64"),
            version: None,
            index: 1,
            epoch: 3,
            kernel: kernel.map(|kernel| kernel.parse().expect("a word")),
            created: 1_700_000_000,
            threshold_bytes: 4096,
        };
        let origin = Source::Directory {
            path: &self.path("tree"),
            devices: Devices::Keep,
            compressed: Compressed::Keep,
        };
        let built = build::build(store, origin, &release, &Silent).expect("built");
        let mut document = Unverified::unsigned(&built.statement).expect("a statement");
        let signature = self.secret.sign(document.message());
        document
            .add(self.secret.public(), signature)
            .expect("signed");
        let keyset = Keyset::parse_trusted(&self.keyset).expect("a keyset");
        document.verify(&keyset).expect("verified")
    }

    /// Does something with the kernel and initramfs that a release gives.
    fn with_initrd<T>(
        &self,
        program: Option<&Path>,
        look: impl FnOnce(&[u8], Result<Initrd<'_>, InitrdError>) -> T,
    ) -> T {
        let store = Store::open_or_create(&self.path("store")).expect("a store");
        let statement = self.build(&store, None);
        let bytes = release::open_pack_bytes(&store, &statement.pack_digest).expect("a pack");
        let pack = Pack::open(&bytes as &dyn ReadAt).expect("a pack");
        let files = ReleaseFiles::new(&store, &pack);
        let mut kernel = files.kernel(None).expect("a kernel");
        assert_eq!(kernel.version, VERSION);
        let policy = MachinePolicy {
            mode: Mode::Verity,
            root: "LABEL=root".parse().expect("a device"),
            stateroot: Some("example".parse().expect("a name")),
            etc: EtcMode::Transient,
            epoch_floor: 3,
        };
        let making = Making {
            boot_program: program,
            keyset: &self.keyset,
            policy: &policy,
            extra_modules: &[],
        };
        let carried = carried_initrd(&mut kernel, &statement);
        let initrd = match carried.transpose() {
            Some(carried) => carried,
            None => make_initrd(&kernel, &statement, &making),
        };
        look(&content(&kernel.linux), initrd)
    }
}

fn content(file: &dyn ReadAt) -> Vec<u8> {
    let size_bytes = file.size_bytes().expect("a size");
    let mut bytes = vec![0; usize::try_from(size_bytes).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn policy_text(os: &str) -> String {
    format!(
        "sealroot policy 1\nmode sealed\nlayer erofs\ntmpfs-percent -\nroot LABEL=root\n\
         etc transient\nvar volatile\npack -\nrelease-index -\nrelease-epoch -\nos {os}\nvariant -\nstream stable\narch x86_64\n\
         epoch-floor 0\n\
         floor-on epoch\nfloor-store -\ntpm-base -\nallow-insecure-boot no\ncmdline quiet\n"
    )
}

/// An initramfs as a vendor's tools make it, with our parts in it.
fn vendors(fixture: &Fixture, os: &str) -> Vec<u8> {
    let mut archive = Archive::new();
    archive.file(initramfs::PROGRAM_PATH, 0o755, b"\x7fELF");
    archive.file("etc/sealroot/policy", 0o444, policy_text(os).as_bytes());
    archive.file("etc/sealroot/keyset", 0o444, &fixture.keyset);
    archive.finish()
}

// Rules: I4
#[test]
fn an_initramfs_is_made_where_the_release_brings_none_that_will_do() {
    for own in [None, Some(Archive::new().finish())] {
        let fixture = Fixture::new();
        if let Some(own) = own {
            fixture.write("initramfs.img", &own);
        }
        let program = fixture.path("program");
        fixture.with_initrd(Some(&program), |linux, initrd| {
            let initrd = initrd.expect("made");
            let modules = ["000-erofs.ko.xz", "001-overlay.ko"].map(str::to_owned);
            assert_eq!(
                initrd.origin,
                Origin::Made {
                    modules: modules.into()
                }
            );
            let carried = initramfs::scan(&mut &content(&initrd)[..]).expect("scanned");
            assert!(carried.is_complete());
            assert_eq!(carried.keyset.as_deref(), Some(&*fixture.keyset));
            let policy = String::from_utf8(carried.policy.expect("a policy")).expect("text");
            assert_eq!(policy, initrd.policy.to_string());
            assert_eq!(initrd.policy.secure_boot, SecureBoot::NotRequired(None));
            assert_eq!(initrd.policy.os.as_str(), "exampleos");

            // And it boots, as far as files can tell.
            let boot_directory = fixture.path("boot");
            fs::create_dir(&boot_directory).expect("made");
            let io = KernelBootIo::open(&boot_directory).expect("opened");
            let boot = Boot::new(io, Loader::SystemdBoot, "");
            let new = NewEntry {
                deployment: deployment(1),
                title: "Example OS".to_owned(),
                content: Content::Kernel {
                    arguments: "quiet".parse().expect("arguments"),
                    linux: &linux.to_vec(),
                    initrd: &initrd,
                },
                tries: Some(3),
            };
            let added = boot.add(&new, &all, &Silent).expect("added");
            assert_eq!(added.entry.text.files, digest(linux, &content(&initrd)));
            assert!(boot.add(&new, &all, &Silent).expect("again").is_reused);
        });
    }
}

#[test]
fn the_releases_own_initramfs_is_taken_where_it_carries_the_boot_program() {
    let fixture = Fixture::new();
    let own = vendors(&fixture, "exampleos");
    fixture.write("initramfs.img", &own);
    fixture.with_initrd(None, |_, initrd| {
        let initrd = initrd.expect("the vendor's");
        assert_eq!(initrd.origin, Origin::Release);
        assert_eq!(content(&initrd), own);
        assert_eq!(initrd.policy.to_string(), policy_text("exampleos"));
    });
}

// Rules: I3
#[test]
fn a_carried_policy_for_another_os_is_refused() {
    let fixture = Fixture::new();
    fixture.write("initramfs.img", &vendors(&fixture, "otheros"));
    fixture.with_initrd(None, |_, initrd| {
        let error = initrd.expect_err("it would not boot");
        assert!(
            matches!(error, InitrdError::CarriedPolicy { .. }),
            "{error}"
        );
    });
}

#[test]
fn without_a_boot_program_there_is_no_initramfs() {
    let fixture = Fixture::new();
    fixture.with_initrd(None, |_, initrd| {
        let error = initrd.expect_err("there is none");
        assert!(matches!(error, InitrdError::NoBootProgram), "{error}");
    });
}

// Rules: I1
#[test]
fn a_release_without_or_with_several_kernels_says_so() {
    let fixture = Fixture::new();
    let modules = fixture.path("tree/usr/lib/modules");
    let look = |kernel| {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open_or_create(directory.path()).expect("a store");
        let statement = fixture.build(&store, kernel);
        let bytes = release::open_pack_bytes(&store, &statement.pack_digest).expect("a pack");
        let pack = Pack::open(&bytes as &dyn ReadAt).expect("a pack");
        let files = ReleaseFiles::new(&store, &pack);
        let named = files.kernel(Some(VERSION)).map(|kernel| kernel.version);
        (files.kernel(None).map(|kernel| kernel.version), named)
    };
    fs::create_dir(modules.join("6.13.0-test")).expect("made");
    assert_eq!(
        look(Some(VERSION)).0.expect("no kernel in the other"),
        VERSION
    );
    fs::write(modules.join("6.13.0-test/vmlinuz"), "k").expect("written");
    let (any, named) = look(None);
    assert!(
        matches!(any, Err(ReleaseError::SeveralKernels { .. })),
        "{any:?}"
    );
    assert_eq!(named.expect("named"), VERSION);
    fs::remove_dir_all(&modules).expect("removed");
    let (any, named) = look(None);
    assert!(matches!(any, Err(ReleaseError::NoKernel { .. })), "{any:?}");
    assert!(
        matches!(named, Err(ReleaseError::NoKernel { .. })),
        "{named:?}"
    );
}
