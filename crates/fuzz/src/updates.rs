// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole deltas, applied to a release in a store in memory.

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};

use rustix::fs::{MemfdFlags, memfd_create};
use sealroot::delta::{self, Application, Release};
use sealroot::monitor::Silent;
use sealroot::store::{Store, VeritySupport, object_path};
use sealroot_format::codec::Cursor;
use sealroot_format::digest::{CommitId, VerityDigest, compute_verity_digest};
use sealroot_format::pack::{FORMAT_VERSION, PackSummary, write_pack};
use sealroot_format::sign::{Statement, Unverified, Verified};
use sealroot_format::tree::{
    FileContent, InlineContent, Inode, InodeId, Kind, Metadata, Tree, dump,
};
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble};
use sha2::{Digest as _, Sha256};

use crate::documents::{keyset_of_seeds, secret_key};

const THRESHOLD_BYTES: u32 = 128;

/// Two releases, and a device that has the first.
#[derive(Debug)]
struct Update {
    disk: MemoryDisk,
    old: Tree,
    old_pack: VerityDigest,
    new: Tree,
    statement: Verified<Statement>,
}

/// A file's name and content.
type NamedFile = (&'static str, Vec<u8>);

impl Update {
    /// From a release with these files to one with those.
    fn between(old: &[NamedFile], new: &[NamedFile]) -> Self {
        let disk = MemoryDisk::new(true);
        let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a new store");
        assert_eq!(store.verity(), VeritySupport::Kernel);
        let transaction = store.begin(&Silent).expect("nobody else has it");
        for (_, content) in old
            .iter()
            .chain(new)
            .filter(|(_, content)| is_object(content))
        {
            let write = |out: &mut dyn io::Write| out.write_all(content);
            let added = transaction.add_unknown(content.len() as u64, write);
            added.expect("memory");
        }
        transaction.finish().expect("memory");
        let (old, new) = (tree_of(old), tree_of(new));
        Self {
            disk,
            old_pack: packed(&old).digest,
            statement: statement_of(&new),
            old,
            new,
        }
    }

    fn releases<'r>(&'r self, store: &'r Store<MemoryIo>) -> [Release<'r, MemoryIo>; 2] {
        [
            (self.old_pack, &self.old),
            (self.statement.pack_digest, &self.new),
        ]
        .map(|(pack, tree)| Release { store, pack, tree })
    }

    /// The delta between the two.
    fn delta(&self) -> Vec<u8> {
        let store = Store::open_on(self.disk.process(Trouble::None)).expect("a store");
        let [from, to] = self.releases(&store);
        let mut made = Vec::new();
        let scratch = scratch().expect("memory");
        delta::make(&from, &to, scratch, &mut made, &Silent).expect("a delta");
        made
    }
}

fn is_object(content: &[u8]) -> bool {
    content.len() > THRESHOLD_BYTES as usize
}

fn tree_of(files: &[NamedFile]) -> Tree {
    let mut tree = Tree::new(Metadata::default());
    for (name, content) in files {
        let size_bytes = content.len() as u64;
        let content = if is_object(content) {
            let digest = compute_verity_digest(content);
            FileContent::External { digest, size_bytes }
        } else {
            let source = Arc::new(content.clone());
            FileContent::Inline(InlineContent::new(source, 0..size_bytes))
        };
        let inode = Inode::new(Metadata::default(), Kind::Regular(content));
        let inserted = tree.insert(InodeId::ROOT, name.as_bytes(), inode);
        inserted.expect("each name once");
    }
    tree
}

fn packed(tree: &Tree) -> PackSummary {
    write_pack(tree, THRESHOLD_BYTES, &mut io::sink()).expect("a small tree")
}

fn statement_of(tree: &Tree) -> Verified<Statement> {
    let pack = packed(tree);
    let name = |text: &str| text.parse().expect("a name");
    let statement = Statement {
        os: name("debian"),
        variant: None,
        stream: name("stable"),
        arch: name("x86_64"),
        version: None,
        index: 2,
        epoch: 1,
        commit: CommitId::from_bytes([2; 32]),
        tree_digest: dump::digest(tree).expect("content in memory"),
        pack_format: FORMAT_VERSION,
        pack_digest: pack.digest,
        pack_size_bytes: pack.size_bytes,
        entries: pack.entries,
        objects: pack.objects,
        object_bytes: pack.object_bytes,
        threshold_bytes: THRESHOLD_BYTES,
        kernel: None,
        created: 1_790_000_000,
    };
    let secret = secret_key();
    let mut signed = Unverified::unsigned(&statement).expect("a short text");
    let signature = secret.sign(signed.message());
    let added = signed.add(secret.public(), signature);
    added.expect("it has just signed");
    signed.verify(keyset_of_seeds()).expect("its signature")
}

/// A file in memory.
fn scratch() -> io::Result<File> {
    Ok(memfd_create("scratch", MemfdFlags::CLOEXEC)?.into())
}

/// What the fuzzer begins with.
#[derive(Debug)]
pub struct DeltaSeeds {
    /// A delta, as [`delta_apply`] takes it.
    pub apply: Vec<u8>,
    /// Its head.
    pub head: Vec<u8>,
    /// Its groups, before compression.
    pub groups: Vec<Vec<u8>>,
}

/// A delta in parts, and without what the fuzzer cannot guess: digests and compression. Lengths of renumbering and
/// text, then each group: the first and the last of its objects, its length and its bytes.
fn unframed(made: &[u8], open: impl Fn(&[u8], usize) -> Vec<u8>) -> DeltaSeeds {
    let mut cursor = Cursor::new(made);
    cursor.take(HEAD_BYTES - 16).expect("magic and digests");
    let short = |number: u32| u16::try_from(number).expect("a small delta").to_le_bytes();
    let renumbering_bytes = cursor.u32().expect("a number");
    let text_bytes = cursor.u64().expect("a number");
    let mut apply = short(renumbering_bytes).to_vec();
    apply.extend(short(u32::try_from(text_bytes).expect("a short text")));
    let count = cursor.u32().expect("a number");
    let mut table = cursor.clone();
    let table_bytes = count as usize * 48;
    cursor.take(table_bytes).expect("a table");
    let mut groups = Vec::new();
    for _ in 0..count {
        let mut number = || table.u32().expect("a number");
        let [encoded_bytes, decoded_bytes, first, last] = [number(), number(), number(), number()];
        table.take(32).expect("a digest");
        let encoded = cursor.take(encoded_bytes as usize).expect("a group");
        let group = open(encoded, decoded_bytes as usize);
        apply.extend([first, last].map(|object| u8::try_from(object).unwrap_or(NO_OBJECT)));
        apply.extend(short(decoded_bytes));
        apply.extend_from_slice(&group);
        groups.push(group);
    }
    DeltaSeeds {
        apply,
        head: made[..HEAD_BYTES + table_bytes].to_vec(),
        groups,
    }
}

/// Of a delta: all before the table of groups.
const HEAD_BYTES: usize = 16 + 2 * 32 + 4 + 8 + 4;
const NO_OBJECT: u8 = u8::MAX;

/// The delta that these bytes stand for.
fn framed(data: &[u8], from: &VerityDigest, to: &VerityDigest) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(data);
    let (renumbering_bytes, text_bytes) = (cursor.u16()?, cursor.u16()?);
    let (mut table, mut groups, mut count) = (Vec::new(), Vec::new(), 0_u32);
    while !cursor.rest().is_empty() {
        let objects = [cursor.u8()?, cursor.u8()?];
        let group_bytes = usize::from(cursor.u16()?).min(cursor.rest().len());
        let group = cursor.take(group_bytes)?;
        let encoded = stored(group);
        for len in [encoded.len(), group.len()] {
            table.extend(u32::try_from(len).ok()?.to_le_bytes());
        }
        let object = |object| match object {
            NO_OBJECT => u32::MAX,
            object => object.into(),
        };
        table.extend(objects.map(object).into_iter().flat_map(u32::to_le_bytes));
        table.extend(Sha256::digest(&encoded));
        groups.extend(encoded);
        count += 1;
    }
    let mut out = b"sealroot delta 1".to_vec();
    out.extend(from.as_bytes());
    out.extend(to.as_bytes());
    out.extend(u32::from(renumbering_bytes).to_le_bytes());
    out.extend(u64::from(text_bytes).to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(table);
    out.extend(groups);
    Some(out)
}

/// LZMA2 that compresses nothing.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, chunk) in bytes.chunks(1 << 16).enumerate() {
        out.push(if index == 0 { 1 } else { 2 });
        let len = u16::try_from(chunk.len() - 1).unwrap_or(u16::MAX);
        out.extend(len.to_be_bytes());
        out.extend(chunk);
    }
    out.push(0);
    out
}

/// The releases that [`delta_apply`] knows: text, an object file, something compressed, and what is new.
fn update() -> &'static Update {
    static UPDATE: OnceLock<Update> = OnceLock::new();
    UPDATE.get_or_init(|| {
        let [old, new] = seeds_of_files();
        Update::between(&old, &new)
    })
}

fn seeds_of_files() -> [Vec<NamedFile>; 2] {
    [files(0), files(1)]
}

fn files(release: u8) -> Vec<NamedFile> {
    let words = |seed: u8, count: u16| -> Vec<u8> {
        let word = |number: u16| format!("{:04x}{}", number.wrapping_mul(40_503), seed);
        (0..count).map(word).collect::<String>().into_bytes()
    };
    let mut module = include_bytes!("../testdata/module.o").to_vec();
    let mut compressed = include_bytes!("../testdata/words.gz").to_vec();
    if release == 1 {
        module.extend(b"more");
        compressed.extend(b"more");
    }
    vec![
        ("a.txt", words(release, 8)),
        ("b.txt", words(0, 100 + u16::from(release))),
        ("c.ko", module),
        ("d.gz", compressed),
        ("e.new", words(release, 60)),
    ]
}

/// What the fuzzer begins with.
pub fn delta_seeds(open: impl Fn(&[u8], usize) -> Vec<u8>) -> DeltaSeeds {
    unframed(&update().delta(), open)
}

/// A delta, applied: what comes out is the tree that was signed, or nothing.
pub fn delta_apply(data: &[u8]) {
    let update = update();
    let statement = &update.statement;
    let Some(made) = framed(data, &update.old_pack, &statement.pack_digest) else {
        return;
    };
    let disk = update.disk.copy();
    let store = Store::open_on(disk.process(Trouble::None)).expect("a store");
    let [from, _] = update.releases(&store);
    let transaction = store.begin(&Silent).expect("nobody else has it");
    let mut rest = made.as_slice();
    let application = Application {
        from: &from,
        statement,
        scratch: &scratch,
        monitor: &Silent,
    };
    let applied = application.apply(&transaction, &mut rest);
    if let Ok(tree) = applied {
        assert!(tree == update.new, "another tree than was signed");
        transaction.finish().expect("memory");
        for (digest, _) in delta::objects_in_order(&tree) {
            let path = format!("/{}", object_path(&digest));
            assert!(disk.files().contains_key(&path), "an object is missing");
        }
    }
}
