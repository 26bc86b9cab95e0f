// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small trees for the tests of `/etc`, written one entry a line.

use std::fmt::Write as _;

use sealroot::deploy::{self, EtcMode, Request};
use sealroot::etc::{self, Plan, Sides};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreIo};
use sealroot_format::digest::{CommitId, TreeDigest, compute_verity_digest};
use sealroot_format::pack;
use sealroot_format::policy::{DeploymentName, Mode};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, RoleKeys, Statement, Unverified, Verified};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree, Xattr, XattrSet};

/// A tree of lines `path kind [content] [key=value...]`, kinds `dir`, `file`, `link` and `fifo`,
/// in content `\\n` is a new line;
/// keys `mode`, `uid`, `gid`, `label`, `user.x` and `acl`. Directories come before what is in them.
pub(crate) fn tree(lines: &str) -> Tree {
    let mut tree = Tree::new(metadata(0o755));
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let path = words.next().expect("a path");
        let kind = words.next().expect("a kind");
        let (mode, kind) = match kind {
            "dir" => (0o755, Kind::directory()),
            "fifo" => (0o644, Kind::Fifo),
            "link" => {
                let target = words.next().expect("a target");
                (0o777, Kind::Symlink(target.as_bytes().into()))
            }
            _ => {
                let content = words.next().expect("content").replace("\\n", "\n");
                (
                    0o644,
                    Kind::Regular(FileContent::Inline(content.into_bytes().into())),
                )
            }
        };
        let mut inode = Inode::new(metadata(mode), kind);
        for word in words {
            set(&mut inode.metadata, word);
        }
        let (parent, name) = path.rsplit_once('/').expect("a path with a slash");
        let parent = lookup(&tree, parent).expect("its directory first");
        tree.insert(parent, name.as_bytes(), inode)
            .expect("a new entry");
    }
    tree
}

fn set(metadata: &mut Metadata, word: &str) {
    let (key, value) = word.split_once('=').expect("a key and a value");
    let number = || value.parse().expect("a number");
    let name: &[u8] = match key {
        "mode" => {
            metadata.permissions = u16::from_str_radix(value, 8).expect("a mode");
            return;
        }
        "uid" => {
            metadata.uid = number();
            return;
        }
        "gid" => {
            metadata.gid = number();
            return;
        }
        "label" => b"security.selinux",
        "acl" => b"system.posix_acl_access",
        key => key.as_bytes(),
    };
    let mut xattrs: Vec<Xattr> = metadata.xattrs.iter().cloned().collect();
    xattrs.push(Xattr {
        name: name.into(),
        value: value.as_bytes().into(),
    });
    metadata.xattrs = XattrSet::from_unsorted(xattrs).expect("different names");
}

fn metadata(permissions: u16) -> Metadata {
    Metadata {
        permissions,
        ..Metadata::default()
    }
}

pub(crate) fn lookup(tree: &Tree, path: &str) -> Option<InodeId> {
    tree.lookup(
        path.split('/')
            .filter(|name| !name.is_empty())
            .map(str::as_bytes),
    )
}

/// The tree in the words that [`tree`] reads.
pub(crate) fn text(tree: &Tree) -> String {
    let mut lines = Vec::new();
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        let inode = tree.inode(id);
        let (kind, usual) = match &inode.kind {
            Kind::Directory(_) => ("dir".to_owned(), 0o755),
            Kind::Regular(content) => (format!("file {}", bytes(content)), 0o644),
            Kind::Symlink(target) => (format!("link {}", target.escape_ascii()), 0o777),
            _ => ("fifo".to_owned(), 0o644),
        };
        let mut line = format!("{} {kind}", path.escape_ascii());
        let data = &inode.metadata;
        if data.permissions != usual {
            write!(line, " mode={:o}", data.permissions).expect("to memory");
        }
        for (key, id) in [("uid", data.uid), ("gid", data.gid)] {
            if id != 0 {
                write!(line, " {key}={id}").expect("to memory");
            }
        }
        for Xattr { name, value } in &data.xattrs {
            let key = match &**name {
                b"security.selinux" => "label".to_owned(),
                b"system.posix_acl_access" => "acl".to_owned(),
                name => name.escape_ascii().to_string(),
            };
            write!(line, " {key}={}", value.escape_ascii()).expect("to memory");
        }
        if line != "/ dir" {
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn bytes(content: &FileContent) -> String {
    match content {
        FileContent::Inline(content) => content
            .read()
            .expect("in memory")
            .escape_ascii()
            .to_string(),
        FileContent::External { digest, .. } => digest.to_string(),
    }
}

pub(crate) fn merge(old: &Tree, current: &Tree, new: &Tree) -> Plan {
    etc::plan(Sides { old, current, new }).expect("a plan")
}

/// A release of a tree with small files, built and signed.
pub(crate) struct Released {
    pack: Vec<u8>,
    statement: Verified<Statement>,
    file: String,
}

impl Released {
    pub(crate) fn new(seed: u8, tree: &Tree) -> Self {
        let mut pack = Vec::new();
        pack::write_pack(tree, 4096, &mut pack).expect("a pack");
        let statement = Statement {
            os: "debian".parse().expect("a name"),
            variant: None,
            stream: "stable".parse().expect("a name"),
            arch: "x86_64".parse().expect("a name"),
            version: None,
            index: seed.into(),
            epoch: 0,
            commit: CommitId::from_bytes([seed; 32]),
            tree_digest: TreeDigest::from_bytes([seed; 32]),
            pack_format: 1,
            pack_digest: compute_verity_digest(&pack),
            pack_size_bytes: pack.len() as u64,
            entries: tree.len() as u64,
            objects: 0,
            object_bytes: 0,
            threshold_bytes: 4096,
            kernel: None,
            created: 1_700_000_000,
        };
        let (statement, file) = sign(&statement);
        Self {
            pack,
            statement,
            file,
        }
    }

    /// Puts it into a store and deploys it.
    pub(crate) fn deploy<I: StoreIo>(&self, store: &Store<I>, mode: Mode) -> DeploymentName {
        let transaction = store.begin(&Silent).expect("begun");
        let Statement {
            commit,
            stream,
            pack_digest,
            pack_size_bytes,
            ..
        } = &*self.statement;
        transaction
            .add_pack(pack_digest, *pack_size_bytes, |out| {
                out.write_all(&self.pack)
            })
            .expect("the pack");
        transaction
            .write_statement(commit, stream, self.file.as_bytes())
            .expect("the statement");
        let request = Request {
            statement: &self.statement,
            mode,
            origin: None,
            stateroot: Some("debian".parse().expect("a name")),
            etc: Some(EtcMode::Merge),
            untouched: std::collections::BTreeSet::new(),
            now: 1_700_000_100,
        };
        let deployed = deploy::deploy(&transaction, &request, []).expect("deployed");
        transaction.finish().expect("finished");
        deployed.name
    }
}

/// Signs with the tests' only key, which its keyset trusts.
fn sign(statement: &Statement) -> (Verified<Statement>, String) {
    let secret = SecretKey::from_seed(&[7; 32]).expect("a key");
    let public = secret.public();
    let roles = std::array::from_fn(|_| RoleKeys::new(1, [public.id()]));
    let keyset = Keyset::new(1, roles, [*public]).expect("a keyset");
    let keyset = Unverified::unsigned(&keyset).expect("small").to_string();
    let keyset = Keyset::parse_trusted(keyset.as_bytes()).expect("trusted");
    let mut document = Unverified::unsigned(statement).expect("small");
    let signature = secret.sign(document.message());
    document.add(public, signature).expect("it fits");
    let text = document.to_string();
    (document.verify(&keyset).expect("signed"), text)
}
