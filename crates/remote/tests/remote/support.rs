// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vendor who builds, signs and publishes releases, and devices that follow.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealroot::build::{self, Origin};
use sealroot::initramfs::{self, ModuleRequest};
use sealroot::monitor::{Monitor, Silent};
use sealroot::release::{self, ObjectCheck};
use sealroot::signer::Signer;
use sealroot::source::{Compressed, Devices};
use sealroot::store::{ImageName, SignatureKeyring, Store};
use sealroot::uki;
use sealroot_format::digest::{CommitId, compute_verity_digest};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Channel, Keyset, RoleKeys, Statement, Unverified, Verified};
use sealroot_remote::RemoteError;
use sealroot_remote::fetch::{Fetcher, Patience};
use sealroot_remote::layout::ChannelName;
use sealroot_remote::plan::Plan;
use sealroot_remote::publish::{self, Destination, DirectoryDestination, Published, Terms, Vendor};
use sealroot_remote::pull::{Pulled, Puller};
use sealroot_remote::source::{DirectorySource, HttpSource, Source, Timeouts};
use sealroot_remote::state::{Remote, USUAL_IMAGE};
use sealroot_testkit::content::bytes;
use sealroot_testkit::efi;
use sealroot_testkit::on_disk::set_times;
use tempfile::TempDir;

/// The time, seconds since 1970.
pub(crate) const NOW: u64 = 1_790_000_000;

/// How long a channel is to be believed, seconds.
pub(crate) const LIFETIME: u64 = 1000;

pub(crate) fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32]).expect("a key")
}

/// A keyset of one root, one release and one channel key, signed by these root keys.
pub(crate) fn keyset(
    version: u64,
    [root, release, channel]: [u8; 3],
    by: &[u8],
) -> Unverified<Keyset> {
    let numbers = [root, release, channel];
    let roles = numbers.map(|number| RoleKeys::new(1, [secret(number).public().id()]));
    let keys = numbers.map(|number| *secret(number).public());
    let keyset = Keyset::new(version, roles, keys).expect("a keyset");
    signed(&keyset, by)
}

pub(crate) fn signed<T: sealroot_format::sign::Document>(document: &T, by: &[u8]) -> Unverified<T> {
    let mut signed = Unverified::unsigned(document).expect("a document");
    for number in by {
        let key = secret(*number);
        let signature = key.sign(signed.message());
        signed.add(key.public(), signature).expect("added");
    }
    signed
}

pub(crate) const ROOT: u8 = 1;
pub(crate) const RELEASE: u8 = 2;
pub(crate) const CHANNEL: u8 = 3;

/// A vendor, and what was published.
pub(crate) struct Place {
    directory: TempDir,
    www: PathBuf,
    pub(crate) store: Store,
    pub(crate) keyset: Unverified<Keyset>,
    /// The key that signs channels.
    pub(crate) channel_key: u8,
    /// The key that signs releases.
    pub(crate) release_key: u8,
    /// Whether releases are published with an image.
    pub(crate) has_images: bool,
    /// The certificates for fs-verity in them.
    pub(crate) certificates: Vec<u8>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open_or_create(&directory.path().join("vendor")).expect("a store");
        Self {
            www: directory.path().join("www"),
            directory,
            store,
            keyset: keyset(1, [ROOT, RELEASE, CHANNEL], &[ROOT]),
            channel_key: CHANNEL,
            release_key: RELEASE,
            has_images: false,
            certificates: Vec::new(),
        }
    }

    /// A vendor who has published releases 1 up to `last`, with deltas from so many.
    pub(crate) fn with_releases(last: u64, deltas: usize) -> Self {
        let place = Self::new();
        for index in 1..=last {
            place.release(index);
            place.publish(index, deltas);
        }
        place
    }

    /// What is served.
    pub(crate) fn www(&self) -> &Path {
        &self.www
    }

    pub(crate) fn publish_to(&mut self, www: &Path) {
        self.www = www.into();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Builds and signs a release. From one to the next a large file changes a little, one comes, one
    /// goes, and small files change.
    pub(crate) fn release(&self, index: u64) -> Verified<Statement> {
        let root = tempfile::tempdir_in(self.directory.path()).expect("a directory");
        let write = |path: &str, content: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, content).expect("written");
        };
        let mut large = bytes(7, 300_000);
        large[1000 * usize::try_from(index).expect("small")] ^= 1;
        write("usr/bin/large", &large);
        for number in 0..12 {
            write(
                &format!("usr/lib/same{number}"),
                &bytes(100 + number, 20_000),
            );
        }
        for number in index..index + 6 {
            write(
                &format!("usr/share/now{number}"),
                &bytes(1000 + number, 9000),
            );
        }
        if self.has_images {
            let path = format!("usr/lib/modules/{}/vmlinuz", efi::UNAME);
            write(&path, &kernel(index));
        }
        write("etc/version", index.to_string().as_bytes());
        write("etc/text", &bytes(index, 2000));
        self.release_tree(root.path(), index, "stable")
    }

    pub(crate) fn release_tree(
        &self,
        root: &Path,
        index: u64,
        stream: &str,
    ) -> Verified<Statement> {
        set_times(root).expect("set");
        let origin = Origin::Directory {
            path: root,
            devices: Devices::Refuse,
            compressed: Compressed::Keep,
        };
        let name = |text: &str| text.parse().expect("a name");
        let wanted = build::Release {
            os: name("exampleos"),
            variant: None,
            stream: name(stream),
            arch: name("x86_64"),
            version: None,
            index,
            epoch: 0,
            kernel: None,
            created: NOW,
            threshold_bytes: 4096,
        };
        let built = build::build(&self.store, origin, &wanted, &Silent).expect("built");
        let document = signed(&built.statement, &[self.release_key]);
        self.write_statement(&built.statement, &document);
        let keyset = self.keyset.verify_first().expect("a keyset");
        document.verify(&keyset).expect("verified")
    }

    /// The image of a release: a stub, a kernel that changes a little from one to the next, and a boot program that
    /// does not.
    pub(crate) fn image(&self, index: u64) -> Vec<u8> {
        let (statement, _) = self.read(index);
        let line = uki::command_line("console=ttyS0", None).expect("a line");
        let policy = format!(
            "sealroot policy 1\nmode sealed\nlayer erofs\ntmpfs-percent -\nroot LABEL=root\netc transient\n\
             var volatile\npack sha256:4096:{}\nrelease-index {index}\nrelease-epoch 0\nos exampleos\n\
             variant -\nstream stable\narch x86_64\nepoch-floor 0\nfloor-on epoch\nfloor-store -\n\
             tpm-base -\nallow-insecure-boot no\ncmdline {line}\n",
            statement.pack_digest
        );
        let parts = tempfile::tempdir_in(self.directory.path()).expect("a directory");
        let modules = parts.path().join("modules");
        fs::create_dir_all(&modules).expect("made");
        fs::write(modules.join("modules.dep"), "loop.ko:\n").expect("written");
        fs::write(modules.join("modules.builtin"), "").expect("written");
        fs::write(modules.join("loop.ko"), "a module").expect("written");
        let program = parts.path().join("boot");
        let boot_program = [efi::BOOT_PROGRAM, &bytes(80, 60_000)].concat();
        fs::write(&program, boot_program).expect("written");
        let parts = uki::Parts {
            stub: &efi::stub(),
            linux: &kernel(index),
            uname: efi::UNAME,
            os_release: b"ID=exampleos\n",
            sbat: "sealroot,1,own\n",
        };
        let keyset = self.keyset.to_string();
        let initramfs = initramfs::Options {
            kernel_modules: &modules,
            boot_program: &program,
            keyset: keyset.as_bytes(),
            policy: policy.as_bytes(),
            modules: &[ModuleRequest::required("loop")],
            verity_certificates: &self.certificates,
            repair_tool: None,
        };
        uki::build(&parts, &initramfs).expect("an image").bytes
    }

    /// Keeps an image that was published, as whoever publishes does.
    pub(crate) fn keep_image(&self, index: u64, image: &[u8]) {
        let name = ImageName {
            pack: self.read(index).0.pack_digest,
            image: compute_verity_digest(image),
        };
        let transaction = self.store.begin(&Silent).expect("begun");
        let added = transaction.add_image(&name, image.len() as u64, |out| out.write_all(image));
        added.expect("added");
        transaction.finish().expect("finished");
    }

    /// Adds a signature by the release key of today to a release.
    pub(crate) fn sign_again(&self, index: u64) {
        let (statement, mut document) = self.read(index);
        let key = secret(self.release_key);
        let signature = key.sign(document.message());
        document.add(key.public(), signature).expect("added");
        self.write_statement(&statement, &document);
    }

    fn write_statement(&self, statement: &Statement, document: &Unverified<Statement>) {
        let transaction = self.store.begin(&Silent).expect("begun");
        let text = document.to_string();
        transaction
            .write_statement(&statement.commit, &statement.stream, text.as_bytes())
            .expect("written");
        transaction.finish().expect("finished");
    }

    pub(crate) fn terms(deltas: usize) -> Terms {
        Terms {
            now: NOW,
            lifetime_seconds: LIFETIME,
            deltas,
            keep: None,
            after_version: 0,
            level: 3,
        }
    }

    pub(crate) fn find(&self, index: u64) -> (Verified<Statement>, Unverified<Statement>) {
        let keyset = self.keyset.verify_first().expect("a keyset");
        let (_, document) = self.read(index);
        (document.verify(&keyset).expect("verified"), document)
    }

    fn read(&self, index: u64) -> (Statement, Unverified<Statement>) {
        let statements = self.store.list_statements().expect("listed").into_iter();
        let mut found = statements.map(|(commit, stream): (CommitId, _)| {
            let (_, document) =
                release::read_statement(&self.store, commit, Some(&stream)).expect("read");
            let statement = Statement::parse(document.body()).expect("a statement");
            (statement, document)
        });
        let found = found.find(|(statement, _)| statement.index == index);
        found.expect("a release")
    }

    pub(crate) fn publish(&self, index: u64, deltas: usize) -> Published {
        let published = self.try_publish(index, &Self::terms(deltas), &Silent);
        published.expect("published")
    }

    pub(crate) fn try_publish(
        &self,
        index: u64,
        terms: &Terms,
        monitor: &dyn Monitor,
    ) -> Result<Published, RemoteError> {
        let destination = DirectoryDestination::open(self.www())?;
        self.publish_by(&destination, index, terms, monitor)
    }

    pub(crate) fn publish_by(
        &self,
        destination: &dyn Destination,
        index: u64,
        terms: &Terms,
        monitor: &dyn Monitor,
    ) -> Result<Published, RemoteError> {
        let (statement, document) = self.find(index);
        let mut images = Vec::new();
        if self.has_images {
            let name = USUAL_IMAGE.parse().expect("a name");
            let bytes = self.image(index);
            images.push(publish::Image { name, bytes });
        }
        let release = publish::Release {
            store: &self.store,
            statement: &statement,
            document: &document,
            images: &images,
        };
        let signer = Signer::Key(secret(self.channel_key));
        let vendor = self.vendor(&signer);
        let published = publish::publish(destination, &vendor, &release, terms, monitor);
        for image in images.iter().filter(|_| published.is_ok()) {
            self.keep_image(index, &image.bytes);
        }
        published
    }

    /// Has the channel believed for longer.
    pub(crate) fn renew(&self, terms: &Terms) -> Result<Published, RemoteError> {
        let destination = DirectoryDestination::open(self.www())?;
        let signer = Signer::Key(secret(self.channel_key));
        let vendor = self.vendor(&signer);
        publish::renew(&destination, &vendor, &channel_name(), terms, &Silent)
    }

    fn vendor<'v>(&'v self, signer: &'v Signer) -> Vendor<'v> {
        Vendor {
            keyset: &self.keyset,
            signer,
        }
    }

    pub(crate) fn channel_path(&self) -> PathBuf {
        self.www().join(channel_name().path())
    }

    pub(crate) fn channel(&self) -> Channel {
        let bytes = fs::read(self.channel_path()).expect("a channel");
        let document = Unverified::<Channel>::parse(&bytes).expect("a document");
        Channel::parse(document.body()).expect("a channel")
    }

    /// Signs a channel as the vendor would, and puts it in place.
    pub(crate) fn put_channel(&self, channel: &Channel) {
        let document = signed(channel, &[self.channel_key]);
        fs::write(self.channel_path(), document.to_string()).expect("written");
    }

    /// A device that follows and has nothing.
    pub(crate) fn device(&self) -> Device {
        Device::new(self.keyset.clone())
    }

    /// A device that has a release.
    pub(crate) fn device_with(&self, index: u64) -> Device {
        let mut device = self.device();
        device.pull(self.honest(), Some(index)).expect("pulled");
        device
    }

    /// The published directory itself as a source.
    pub(crate) fn honest(&self) -> Vec<Box<dyn Source>> {
        vec![Box::new(DirectorySource::new(self.www()))]
    }
}

/// A kernel, of which each release has another.
pub(crate) fn kernel(index: u64) -> Vec<u8> {
    let mut content = bytes(90, 80_000);
    content[500..508].copy_from_slice(&index.to_le_bytes());
    let mut kernel = efi::application(efi::X86, &[(".text", &content)]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let version = format!("{} (builder@host) #1\0", efi::UNAME);
    kernel[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
    kernel
}

pub(crate) fn channel_name() -> ChannelName {
    let name = |text: &str| text.parse().expect("a name");
    ChannelName {
        os: name("exampleos"),
        variant: None,
        stream: name("stable"),
        arch: name("x86_64"),
    }
}

/// A server as a source; it may hardly take any time.
pub(crate) fn http(url: &str) -> Box<dyn Source> {
    let timeouts = Timeouts {
        answer: Duration::from_millis(400),
        content: Duration::from_millis(400),
    };
    Box::new(HttpSource::new(url, timeouts))
}

pub(crate) fn fetcher(sources: Vec<Box<dyn Source>>) -> Fetcher {
    let patience = Patience {
        attempts: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
    };
    Fetcher::new(sources, patience, None)
}

/// A device that follows the channel.
pub(crate) struct Device {
    directory: TempDir,
    pub(crate) store: Store,
    pub(crate) remote: Remote,
    /// Whether it takes images.
    pub(crate) takes_image: bool,
    /// The kernel's keyring, if not the one of this machine.
    pub(crate) keyring: Option<SignatureKeyring>,
}

impl Device {
    pub(crate) fn new(keyset: Unverified<Keyset>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open_or_create(&directory.path().join("store")).expect("a store");
        let name = "vendor".parse().expect("a name");
        let remote = Remote::new(name, vec!["unused".into()], channel_name(), keyset);
        let remote = remote.expect("a remote");
        remote.save(&store, &Silent).expect("saved");
        Self {
            directory,
            store,
            remote,
            takes_image: false,
            keyring: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn refresh(&mut self, fetcher: &Fetcher) -> Result<(), RemoteError> {
        self.refresh_at(fetcher, NOW)
    }

    pub(crate) fn refresh_at(&mut self, fetcher: &Fetcher, now: u64) -> Result<(), RemoteError> {
        self.remote = Remote::load(&self.store, &self.remote.name)?;
        self.remote.refresh(fetcher, now)?;
        self.remote.save(&self.store, &Silent)
    }

    pub(crate) fn puller<'d>(&'d self, fetcher: &'d Fetcher) -> Puller<'d> {
        let puller = Puller::new(&self.store, &self.remote, fetcher, None);
        match self.keyring {
            Some(keyring) => puller.with_keyring(keyring),
            None => puller,
        }
    }

    pub(crate) fn plan(&mut self, place: &Place, index: Option<u64>) -> Plan {
        let fetcher = fetcher(place.honest());
        self.refresh(&fetcher).expect("refreshed");
        self.plan_by(&fetcher, index).expect("a plan")
    }

    fn plan_by(&self, fetcher: &Fetcher, index: Option<u64>) -> Result<Plan, RemoteError> {
        let puller = self.puller(fetcher);
        let plan = puller.plan(index)?;
        if self.takes_image {
            puller.with_image(plan, &self.remote.image_name())
        } else {
            Ok(plan)
        }
    }

    pub(crate) fn pull(
        &mut self,
        sources: Vec<Box<dyn Source>>,
        index: Option<u64>,
    ) -> Result<Pulled, RemoteError> {
        self.pull_by(&fetcher(sources), index)
    }

    pub(crate) fn pull_by(
        &mut self,
        fetcher: &Fetcher,
        index: Option<u64>,
    ) -> Result<Pulled, RemoteError> {
        self.refresh(fetcher)?;
        let plan = self.plan_by(fetcher, index)?;
        self.puller(fetcher).pull(&plan, &Silent)
    }

    /// That the store has the release whole.
    pub(crate) fn assert_has(&self, statement: &Statement) {
        let tree = release::check_pack(&self.store, statement).expect("a pack");
        let verdict = release::verify_objects(&self.store, &tree, ObjectCheck::Hashed, &Silent);
        let findings = verdict.expect("looked at").findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    /// That the store has the image of the release.
    pub(crate) fn assert_has_image(&self, statement: &Statement, image: &[u8]) {
        let name = ImageName {
            pack: statement.pack_digest,
            image: compute_verity_digest(image),
        };
        let images = self.store.list_images().expect("listed");
        assert!(images.contains(&name), "{images:?}");
        let mut found = Vec::new();
        let file = self.store.open_image(&name).expect("there");
        file.reader().read_to_end(&mut found).expect("read");
        assert!(found == image);
    }

    pub(crate) fn has_pack(&self, statement: &Statement) -> bool {
        self.store.open_pack(&statement.pack_digest).is_ok()
    }

    /// That nothing is left of what was fetched, and nothing in the store is wrong.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.store.list_parts().expect("listed"), []);
        let depth = sealroot::check::Depth::Full;
        let report = sealroot::check::check(&self.store, depth, &Silent).expect("checked");
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
}
