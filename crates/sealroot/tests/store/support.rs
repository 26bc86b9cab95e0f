// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of the store share: a scratch store, contents and signed statements.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sealroot::check::{Depth, check};
use sealroot::deploy::{self, Deployed, Request};
use sealroot::monitor::{Monitor, Silent};
use sealroot::object::ObjectContent;
use sealroot::store::{ImageName, Store, StoreError, StoreIo, object_path};
use sealroot_format::digest::{CommitId, TreeDigest, VerityDigest, compute_verity_digest};
use sealroot_format::pack;
use sealroot_format::policy::Mode;
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, Name, RoleKeys, Statement, Unverified, Verified};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree};
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble, WriteBack, good_signature};

pub(crate) const COMMIT: CommitId = CommitId::from_bytes([0xc0; 32]);

pub(crate) fn stream() -> Name {
    "stable".parse().expect("a name")
}

/// A directory for one test, with a store in it.
pub(crate) struct Scratch {
    pub(crate) directory: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
        }
    }

    pub(crate) fn location(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_or_create(&self.location()).expect("a new store")
    }

    pub(crate) fn object(&self, digest: &VerityDigest) -> PathBuf {
        self.location().join(object_path(digest).to_string())
    }
}

pub(crate) type Content = (Vec<u8>, VerityDigest);

/// Bytes that differ with `seed`, and their digest.
pub(crate) fn content(seed: u8, len: usize) -> Content {
    let bytes: Vec<u8> = (0..=255).map(|b: u8| b ^ seed).cycle().take(len).collect();
    let digest = compute_verity_digest(&bytes);
    (bytes, digest)
}

/// All that are no directories, sorted.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Puts another file in the place of one; other links to that one stay as they are.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("removed");
    fs::write(path, bytes).expect("planted");
}

/// A pack that names these objects.
pub(crate) fn pack_of(objects: &[Content]) -> Content {
    let metadata = |permissions| Metadata {
        permissions,
        ..Metadata::default()
    };
    let mut tree = Tree::new(metadata(0o755));
    for (number, (bytes, digest)) in objects.iter().enumerate() {
        let kind = Kind::Regular(FileContent::External {
            digest: *digest,
            size_bytes: bytes.len() as u64,
        });
        let inode = Inode::new(metadata(0o644), kind);
        let name = format!("file-{number}");
        tree.insert(InodeId::ROOT, name.as_bytes(), inode)
            .expect("a new name");
    }
    let mut bytes = Vec::new();
    pack::write_pack(&tree, 4096, &mut bytes).expect("a pack");
    let digest = compute_verity_digest(&bytes);
    (bytes, digest)
}

/// A whole release: objects, pack and signed statement.
pub(crate) struct Release {
    pub(crate) objects: Vec<Content>,
    pub(crate) pack: Content,
    /// What boots it, if something does.
    pub(crate) image: Option<Content>,
    /// Whether its objects have signatures.
    pub(crate) is_signed: bool,
    pub(crate) statement: Verified<Statement>,
    pub(crate) file: String,
}

impl Release {
    /// A release of these objects; `seed` makes its pack and commit.
    pub(crate) fn new(seed: u8, objects: Vec<Content>) -> Self {
        let pack = pack_of(&objects);
        Self::with_pack(seed, pack, objects)
    }

    /// A release of the commit that `seed` makes.
    pub(crate) fn with_pack(seed: u8, pack: Content, objects: Vec<Content>) -> Self {
        let statement = Statement {
            os: "debian".parse().expect("a name"),
            variant: None,
            stream: stream(),
            arch: "x86_64".parse().expect("a name"),
            version: None,
            index: u64::from(seed),
            epoch: 0,
            commit: CommitId::from_bytes([seed; 32]),
            tree_digest: TreeDigest::from_bytes([seed; 32]),
            pack_format: 1,
            pack_digest: pack.1,
            pack_size_bytes: pack.0.len() as u64,
            entries: 1,
            objects: objects.len() as u64,
            object_bytes: objects.iter().map(|(bytes, _)| bytes.len() as u64).sum(),
            threshold_bytes: 4096,
            kernel: None,
            created: 1_700_000_000,
        };
        let (statement, file) = sign(&statement);
        Self {
            objects,
            pack,
            image: None,
            is_signed: false,
            statement,
            file,
        }
    }

    pub(crate) fn commit(&self) -> CommitId {
        self.statement.commit
    }

    /// The name of its image.
    pub(crate) fn image_name(&self) -> Option<ImageName> {
        let (_, image) = self.image.as_ref()?;
        Some(ImageName {
            pack: self.pack.1,
            image: *image,
        })
    }

    /// The objects as a pack names them.
    pub(crate) fn object_list(&self) -> impl Iterator<Item = (VerityDigest, u64)> {
        (self.objects.iter()).map(|(bytes, digest)| (*digest, bytes.len() as u64))
    }

    /// What `build` and `sign` do with it.
    pub(crate) fn build<I: StoreIo>(&self, store: &Store<I>) -> Result<(), StoreError> {
        let transaction = store.begin(&Silent)?;
        if self.is_signed {
            let objects = self.objects.iter();
            let signatures: Vec<_> = objects
                .map(|(_, digest)| (*digest, good_signature(digest)))
                .collect();
            transaction.write_object_signatures(&signatures)?;
        }
        for (bytes, digest) in &self.objects {
            if !transaction.has_object(digest, bytes.len() as u64)? {
                let content = ObjectContent::Hashed(bytes);
                transaction.add_object(digest, bytes.len() as u64, content)?;
            }
        }
        let (pack, digest) = &self.pack;
        transaction.add_pack(digest, pack.len() as u64, |out| out.write_all(pack))?;
        if let Some((image, _)) = &self.image {
            let name = self.image_name().expect("it has one");
            transaction.add_image(&name, image.len() as u64, |out| out.write_all(image))?;
        }
        transaction.write_statement(&self.commit(), &stream(), self.file.as_bytes())?;
        transaction.finish()?;
        Ok(())
    }

    /// What `deploy` does with it.
    pub(crate) fn deploy<I: StoreIo>(
        &self,
        store: &Store<I>,
        mode: Mode,
        monitor: &dyn Monitor,
    ) -> Result<Deployed, deploy::DeployError> {
        let transaction = store.begin(monitor)?;
        let request = Request {
            statement: &self.statement,
            mode,
            origin: None,
            stateroot: None,
            etc: None,
            untouched: std::collections::BTreeSet::new(),
            now: 1_700_000_100,
        };
        let deployed = deploy::deploy(&transaction, &request, self.object_list())?;
        transaction.finish()?;
        Ok(deployed)
    }
}

/// The file of a keyset of this version, with the key that `seed` makes; 7 makes the one that signs here.
pub(crate) fn keyset_file(version: u64, seed: u8) -> String {
    let secret = SecretKey::from_seed(&[seed; 32]).expect("a key");
    let public = secret.public();
    let roles = std::array::from_fn(|_| RoleKeys::new(1, [public.id()]));
    let keyset = Keyset::new(version, roles, [*public]).expect("a keyset");
    Unverified::unsigned(&keyset).expect("small").to_string()
}

/// See [`keyset_file`].
pub(crate) fn keyset(version: u64, seed: u8) -> Verified<Keyset> {
    Keyset::parse_trusted(keyset_file(version, seed).as_bytes()).expect("trusted")
}

/// Signs with the tests' only key, which its keyset trusts.
fn sign(statement: &Statement) -> (Verified<Statement>, String) {
    let secret = SecretKey::from_seed(&[7; 32]).expect("a key");
    let public = secret.public();
    let keyset = keyset(1, 7);
    let mut document = Unverified::unsigned(statement).expect("small");
    let signature = secret.sign(document.message());
    document.add(public, signature).expect("it fits");
    (
        document.verify(&keyset).expect("signed"),
        document.to_string(),
    )
}

/// The files, but for the note that something was interrupted: it stays until the next collection.
pub(crate) fn files_of(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = disk.files();
    files.remove("/unswept");
    files
}

/// Arbitrary write-back orders per crash.
const ARBITRARY_ORDERS: u64 = 12;

/// What there is of a small thing.
type Look<'l, N> = dyn Fn(&Store<MemoryIo>, &N) -> Option<Vec<u8>> + 'l;

/// Cuts the power at every step of a change of one small thing: it is as it was before, or as it is
/// after, the store is clean once the change is made again, and then it is as it is after. How many
/// times.
pub(crate) fn play_power_cuts<N>(
    prepare: &dyn Fn(&Store<MemoryIo>) -> N,
    change: &dyn Fn(&Store<MemoryIo>, &N),
    look: &Look<'_, N>,
) -> u64 {
    let open = |disk: &MemoryDisk| Store::open_on(disk.process(Trouble::None)).expect("a store");
    let disk = MemoryDisk::new(true);
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    let name = prepare(&store);
    let before = look(&store, &name);
    drop(store);
    let whole = disk.copy();
    let io = whole.process(Trouble::None);
    let calls = io.calls();
    change(&Store::open_on(io).expect("a store"), &name);
    let after = look(&open(&whole), &name);
    assert_ne!(before, after);
    let mut crashes = 0;
    for at in 0..=calls.get().changes {
        let disk = disk.copy();
        let process = disk.process(Trouble::KilledAtChange { at });
        let is_done = at == calls.get().changes;
        change(&Store::open_on(process).expect("a store"), &name);
        for order in WriteBack::orders(ARBITRARY_ORDERS) {
            let found = disk.crash(order);
            let store = open(&found);
            let content = look(&store, &name);
            assert!(
                content == after || (content == before && !is_done),
                "cut at {at}, {order:?}: {content:?}"
            );
            change(&store, &name);
            let report = check(&store, Depth::Full, &Silent).expect("checked");
            assert_eq!(report.findings, [], "cut at {at}, {order:?}");
            let found = found.crash(WriteBack::Nothing);
            assert_eq!(look(&open(&found), &name), after, "cut at {at}, {order:?}");
            crashes += 1;
        }
    }
    crashes
}
