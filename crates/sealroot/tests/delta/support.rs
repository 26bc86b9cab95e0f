// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vendor with two releases, and a device with the first.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sealroot::build::{self, Origin};
use sealroot::delta::{self, Application, DeltaError, Made, Release};
use sealroot::monitor::Silent;
use sealroot::release;
use sealroot::source::{Compressed, Devices};
use sealroot::store::Store;
use sealroot_delta::GroupWriter;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack;
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, RoleKeys, Statement, Unverified, Verified};
use sealroot_format::tree::Tree;
pub(crate) use sealroot_testkit::content::bytes;
use sealroot_testkit::on_disk::set_times;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Files with their content, by their paths.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

/// A release, and the store that has it.
pub(crate) struct Released {
    pub(crate) statement: Statement,
    pub(crate) tree: Tree,
}

impl Released {
    pub(crate) fn as_release<'r>(&'r self, store: &'r Store) -> Release<'r> {
        Release {
            store,
            pack: self.statement.pack_digest,
            tree: &self.tree,
        }
    }
}

/// Where the table of groups begins in a delta, and the length of an entry of it.
pub(crate) const TABLE: usize = 16 + 2 * 32 + 4 + 8 + 4;
pub(crate) const ENTRY: usize = 48;

/// A device with an old release, and the delta to the new one.
pub(crate) struct Update {
    pub(crate) device: Place,
    pub(crate) old: Released,
    pub(crate) new: Released,
    pub(crate) delta: Vec<u8>,
}

impl Update {
    /// Between releases of these files.
    pub(crate) fn between(old: &Files, new: &Files) -> Self {
        let (vendor, device) = (Place::new(), Place::new());
        let installed = device.build(old);
        let (from, new) = (vendor.build(old), vendor.build(new));
        let (delta, _) = vendor.delta(&from, &new);
        Self {
            device,
            old: installed,
            new,
            delta,
        }
    }

    /// A number of the delta's head.
    pub(crate) fn field(&self, at: usize) -> usize {
        let bytes = self.delta[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    }

    /// Applies the delta with these parts in the place of its objects, all literals.
    pub(crate) fn apply_parts(&self, parts: &[(Part, &[u8])]) -> Result<(), DeltaError> {
        let short = |len: usize| u32::try_from(len).expect("short");
        let columns: [Vec<u32>; 4] = [
            parts.iter().map(|(part, _)| part.base).collect(),
            parts.iter().map(|(_, new)| short(new.len())).collect(),
            parts.iter().map(|(part, _)| part.opened_bytes).collect(),
            parts.iter().map(|(part, _)| part.stage).collect(),
        ];
        let mut group = short(parts.len()).to_le_bytes().to_vec();
        group.extend(columns.iter().flatten().flat_map(|word| word.to_le_bytes()));
        let mut patches = GroupWriter::new();
        for (_, new) in parts {
            patches.push(&[], new, &[]);
        }
        group.extend(patches.finish());

        let right = &self.delta;
        let of_pack = TABLE + 2 * ENTRY..TABLE + 2 * ENTRY + self.field(TABLE);
        let encoded = stored(&group);
        let mut delta = right[..TABLE + ENTRY].to_vec();
        let only_object = 0;
        for number in [encoded.len(), group.len(), only_object, only_object] {
            delta.extend(short(number).to_le_bytes());
        }
        delta.extend(Sha256::digest(&encoded));
        delta.extend(&right[of_pack]);
        delta.extend(encoded);
        let applied = self.device.apply(&self.old, &self.new.statement, &delta);
        applied.map(drop)
    }
}

/// LZMA2 that compresses nothing.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, chunk) in bytes.chunks(1 << 16).enumerate() {
        out.push(if index == 0 { 1 } else { 2 });
        let len = u16::try_from(chunk.len() - 1).expect("at most 65,536");
        out.extend(len.to_be_bytes());
        out.extend(chunk);
    }
    out.push(0);
    out
}

/// One part of a new object, as it stands in a group.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) base: u32,
    pub(crate) opened_bytes: u32,
    pub(crate) stage: u32,
}

pub(crate) struct Place {
    directory: TempDir,
    pub(crate) store: Store,
    /// The index of the last release.
    index: Cell<u64>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open_or_create(&directory.path().join("store")).expect("a store");
        Self {
            directory,
            store,
            index: Cell::new(0),
        }
    }

    /// Builds a release of these files; names that end in `@` are hardlinks of the name before it.
    pub(crate) fn build(&self, files: &Files) -> Released {
        let root = tempfile::tempdir_in(self.directory.path()).expect("a directory");
        for (path, content) in files {
            let target = root.path().join(path.trim_end_matches('@'));
            fs::create_dir_all(target.parent().expect("a directory")).expect("made");
            if path.ends_with('@') {
                let first = std::str::from_utf8(content).expect("a path");
                fs::hard_link(root.path().join(first), target).expect("linked");
            } else {
                fs::write(target, content).expect("written");
            }
        }
        set_times(root.path()).expect("set");
        self.build_directory(root.path())
    }

    fn build_directory(&self, root: &Path) -> Released {
        self.index.set(self.index.get() + 1);
        let origin = Origin::Directory {
            path: root,
            devices: Devices::Refuse,
            compressed: Compressed::Keep,
        };
        let name = |text: &str| text.parse().expect("a name");
        let release = build::Release {
            os: name("exampleos"),
            variant: None,
            stream: name("stable"),
            arch: name("x86_64"),
            version: None,
            index: self.index.get(),
            epoch: 0,
            kernel: None,
            created: 1_700_000_000,
            threshold_bytes: 4096,
        };
        let built = build::build(&self.store, origin, &release, &Silent).expect("built");
        let statement = built.statement;
        let tree = release::check_pack(&self.store, &statement).expect("a pack");
        Released { statement, tree }
    }

    pub(crate) fn delta(&self, from: &Released, to: &Released) -> (Vec<u8>, Made) {
        let mut out = Vec::new();
        let (from, to) = (from.as_release(&self.store), to.as_release(&self.store));
        let scratch = tempfile::tempfile().expect("a file");
        let made = delta::make(&from, &to, scratch, &mut out, &Silent).expect("a delta");
        assert_eq!(made.delta_bytes, out.len() as u64);
        (out, made)
    }

    /// Applies a delta and adds the pack that comes of it.
    pub(crate) fn apply(
        &self,
        from: &Released,
        to: &Statement,
        mut delta: &[u8],
    ) -> Result<Tree, DeltaError> {
        let transaction = self.store.begin(&Silent).expect("begun");
        let (from, statement) = (from.as_release(&self.store), verified(to));
        let tree = applying(&from, &statement).apply(&transaction, &mut delta)?;
        let (digest, size_bytes) = (to.pack_digest, to.pack_size_bytes);
        let write = |out: &mut dyn std::io::Write| {
            let written = pack::write_pack(&tree, to.threshold_bytes, out);
            written.map(drop).map_err(std::io::Error::other)
        };
        let added = transaction.add_pack(&digest, size_bytes, write);
        added.expect("added");
        transaction.finish().expect("finished");
        Ok(tree)
    }

    /// That the store has the release whole.
    pub(crate) fn assert_has(&self, statement: &Statement) {
        let tree = release::check_pack(&self.store, statement).expect("a pack");
        let check = release::ObjectCheck::Hashed;
        let verdict = release::verify_objects(&self.store, &tree, check, &Silent);
        let findings = verdict.expect("looked at").findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    pub(crate) fn has_pack(&self, digest: &VerityDigest) -> bool {
        self.store.open_pack(digest).is_ok()
    }
}

/// A delta that makes the release of this statement.
pub(crate) fn applying<'a>(
    from: &'a Release<'a>,
    statement: &'a Verified<Statement>,
) -> Application<'a> {
    Application {
        from,
        statement,
        scratch: &tempfile::tempfile,
        monitor: &Silent,
    }
}

pub(crate) fn verified(statement: &Statement) -> Verified<Statement> {
    let key = SecretKey::from_seed(&[1; 32]).expect("a key");
    let role = || RoleKeys::new(1, [key.public().id()]);
    let keyset = Keyset::new(1, [role(), role(), role()], [*key.public()]).expect("a keyset");
    let mut document = Unverified::unsigned(&keyset).expect("a document");
    let signature = key.sign(document.message());
    document.add(key.public(), signature).expect("added");
    let keyset = document.verify_first().expect("verified");
    let mut document = Unverified::unsigned(statement).expect("a document");
    let signature = key.sign(document.message());
    document.add(key.public(), signature).expect("added");
    document.verify(&keyset).expect("verified")
}
