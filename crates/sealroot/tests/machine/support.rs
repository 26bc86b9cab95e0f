// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine for the tests: a store in memory with some releases deployed, and what boots.

use std::fs;

use sealroot::entry::{Boot, Content, Loader, MachinePolicy, NewEntry};
use sealroot::machine::{BootChoices, MachineError, Pruned, Releases, Retention, Runtime, prune};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreIo};
use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::{
    DeploymentName, EtcMode, KEYSET_PATH, Mode, POLICY_PATH, Policy, VERITY_CERTIFICATES_PATH,
};
use sealroot_testkit::cpio::Archive;
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble};

use crate::store_support::{Release, content, keyset_file};

/// Keeps nothing for its own sake.
pub(crate) const NOTHING: Retention = Retention {
    keep: 0,
    releases: Releases::OfDeployments,
};

/// No boot partition.
pub(crate) const NO_BOOT: Option<&Boot<MemoryIo>> = None;

/// Three releases, of which each shares two of three objects with the next.
pub(crate) struct Machine {
    pub(crate) disk: MemoryDisk,
    pub(crate) releases: Vec<Release>,
    /// Their deployments, in the same order.
    pub(crate) names: Vec<DeploymentName>,
    /// What this boot's programs have written.
    directory: tempfile::TempDir,
}

pub(crate) fn release(seed: u8) -> Release {
    Release::new(seed, (seed..seed + 3).map(|i| content(i, 5000)).collect())
}

/// What an initramfs for this release is told to do.
pub(crate) fn policy_for(release: &Release) -> Policy {
    let machine = MachinePolicy {
        mode: Mode::Integrity,
        root: "LABEL=root".parse().expect("a device"),
        stateroot: None,
        etc: EtcMode::Transient,
        epoch_floor: 0,
    };
    machine.policy_for(&release.statement)
}

/// An initramfs with a policy and a keyset.
pub(crate) fn initrd(policy: &Policy, keyset: &str) -> Vec<u8> {
    archive(policy, keyset).finish()
}

/// The same, with certificates for fs-verity.
pub(crate) fn initrd_with(policy: &Policy, keyset: &str, certificates: &[u8]) -> Vec<u8> {
    let mut archive = archive(policy, keyset);
    archive.file(VERITY_CERTIFICATES_PATH, 0o444, certificates);
    archive.finish()
}

fn archive(policy: &Policy, keyset: &str) -> Archive {
    let mut archive = Archive::new();
    archive.file("init", 0o755, b"\x7fELF");
    archive.file(POLICY_PATH, 0o444, policy.to_string().as_bytes());
    archive.file(KEYSET_PATH, 0o444, keyset.as_bytes());
    archive
}

/// An initramfs that boots this release.
pub(crate) fn initrd_of(release: &Release) -> Vec<u8> {
    initrd(&policy_for(release), &keyset_file(1, 7))
}

pub(crate) fn deploy<I: StoreIo>(store: &Store<I>, release: &Release) -> DeploymentName {
    release.build(store).expect("built");
    let deployed = release.deploy(store, Mode::Integrity, &Silent);
    deployed.expect("deployed").name
}

impl Machine {
    pub(crate) fn new(has_verity: bool) -> Self {
        let disk = MemoryDisk::new(has_verity);
        let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
        let releases: Vec<_> = (1..=3).map(release).collect();
        let names = releases.iter().map(|release| deploy(&store, release));
        Self {
            names: names.collect(),
            disk,
            releases,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Gives each release an image.
    pub(crate) fn add_images(&mut self) {
        let store = self.open();
        for (release, seed) in self.releases.iter_mut().zip(70..) {
            release.image = Some(content(seed, 9000));
            release.build(&store).expect("built");
        }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::new(self.directory.path())
    }

    pub(crate) fn open(&self) -> Store<MemoryIo> {
        open(&self.disk, Trouble::None)
    }

    /// Entries for these deployments, the default first and what was before it second.
    pub(crate) fn choices(&self, named: &[usize]) -> BootChoices {
        let names: Vec<_> = named.iter().map(|number| self.names[*number]).collect();
        BootChoices {
            default: names.first().copied(),
            rollback: names.get(1).copied(),
            named: names.iter().map(|name| (*name, "quiet".into())).collect(),
            ..BootChoices::default()
        }
    }

    pub(crate) fn prune(
        &self,
        named: &[usize],
        retention: Retention,
    ) -> Result<Pruned, MachineError> {
        let choices = self.choices(named);
        let ask = || Ok(choices.clone());
        prune(&self.open(), &self.runtime(), &ask, retention, &Silent)
    }

    /// A boot partition with an entry for each of these, the last of them the default.
    pub(crate) fn boot_partition(&self, numbers: &[usize]) -> Boot<MemoryIo> {
        let disk = MemoryDisk::new(false);
        let boot = Boot::new(disk.process(Trouble::None), Loader::SystemdBoot, "");
        self.add_entries(&boot, numbers);
        boot
    }

    /// Adds an entry for each of these, the last of them the default.
    pub(crate) fn add_entries(&self, boot: &Boot<MemoryIo>, numbers: &[usize]) {
        for number in numbers {
            let linux = vec![u8::try_from(*number).expect("few"); 100];
            let initrd = initrd_of(&self.releases[*number]);
            let new = NewEntry {
                deployment: self.names[*number],
                title: "test".into(),
                content: Content::Kernel {
                    arguments: "quiet".parse().expect("an argument"),
                    linux: &linux,
                    initrd: &initrd,
                },
                tries: None,
            };
            boot.add(&new, &|_| true, &Silent).expect("added");
        }
    }

    /// Writes what the boot program writes.
    pub(crate) fn boot(&self, pack: &VerityDigest, name: Option<DeploymentName>) {
        let (commit, serial) = match name {
            Some(name) => (format!("\"{}\"", name.commit), name.serial.to_string()),
            None => ("null".into(), "null".into()),
        };
        let text = format!(
            "{{\"version\": 1, \"sealed\": true, \"insecure\": [], \"mode\": \"verity\", \
             \"layer\": \"erofs\", \"pack\": \"{pack}\", \"commit\": {commit}, \
             \"serial\": {serial}, \"index\": null, \"epoch\": null, \"statement\": null}}"
        );
        fs::write(self.runtime().booted_path(), text).expect("written");
    }

    /// The names below a directory of the store.
    pub(crate) fn below(&self, directory: &str) -> Vec<String> {
        below(&self.disk, directory)
    }
}

pub(crate) fn open(disk: &MemoryDisk, trouble: Trouble) -> Store<MemoryIo> {
    Store::open_on(disk.process(trouble)).expect("a store")
}

pub(crate) fn below(disk: &MemoryDisk, directory: &str) -> Vec<String> {
    let prefix = format!("/{directory}/");
    let paths = disk.files().into_keys();
    let below = paths.filter_map(|path| Some(path.strip_prefix(&prefix)?.to_owned()));
    below.collect()
}
