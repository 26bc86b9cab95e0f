// SPDX-License-Identifier: MIT OR Apache-2.0
//! A store and what was built into it.

use std::fs;
use std::path::{Path, PathBuf};

use sealroot::build::{self, Origin, Release};
use sealroot::monitor::Silent;
use sealroot::object::Discard;
use sealroot::release;
use sealroot::source::{Compressed, Devices, DirectoryOptions, read_directory};
use sealroot::spool::Spool;
use sealroot::store::Store;
use sealroot_format::sign::Statement;
use sealroot_format::tree::{FileContent, InodeId, Kind, Tree, dump};

/// A directory for one test.
pub(crate) struct Scratch {
    pub(crate) directory: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_or_create(&self.path("store")).expect("a store")
    }

    /// Builds a directory into the store; the tree as its pack has it.
    pub(crate) fn build(&self, directory: &Path, threshold_bytes: u32) -> Tree {
        let statement = self.build_release(directory, threshold_bytes);
        release::check_pack(&self.store(), &statement).expect("a pack")
    }

    /// Builds a directory into the store.
    pub(crate) fn build_release(&self, directory: &Path, threshold_bytes: u32) -> Statement {
        let origin = Origin::Directory {
            path: directory,
            devices: Devices::Keep,
            compressed: Compressed::Keep,
        };
        let name = |text: &str| text.parse().expect("a name");
        let release = Release {
            os: name("exampleos"),
            variant: None,
            stream: name("stable"),
            arch: name("x86_64"),
            version: None,
            index: 1,
            epoch: 0,
            kernel: None,
            created: 1_700_000_000,
            threshold_bytes,
        };
        let built = build::build(&self.store(), origin, &release, &Silent);
        built.expect("built").statement
    }

    /// Makes a small tree with two large files in it.
    pub(crate) fn small_source(&self) -> PathBuf {
        let source = self.path("source");
        fs::create_dir_all(source.join("usr/bin")).expect("a directory");
        fs::write(source.join("usr/bin/one"), vec![1; 70_000]).expect("a file");
        fs::write(source.join("usr/bin/two"), vec![2; 70_000]).expect("a file");
        fs::write(source.join("usr/small"), "small").expect("a file");
        source
    }

    /// The small tree, and it in the store.
    pub(crate) fn small_tree(&self) -> Tree {
        self.build(&self.small_source(), 4096)
    }

    /// The names beside the store and the source.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).expect("a directory");
        let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("plain");
        let names = entries.map(|entry| name(entry.expect("an entry")));
        let mut names: Vec<_> = names
            .filter(|name| !matches!(&**name, "store" | "source"))
            .collect();
        names.sort();
        names
    }
}

/// The dump of a directory.
pub(crate) fn dump_of(directory: &Path) -> String {
    let options = DirectoryOptions {
        devices: Devices::Keep,
        ..DirectoryOptions::default()
    };
    let tree = read_directory(
        directory,
        &options,
        &Spool::in_temporary_directory(),
        &Discard,
        &Silent,
    )
    .expect("a tree");
    text(&tree)
}

pub(crate) fn text(tree: &Tree) -> String {
    let mut text = Vec::new();
    dump::write_dump(tree, &mut text).expect("content that can be read");
    String::from_utf8(text).expect("a dump is ASCII")
}

/// Random trees name objects that nobody has: gives these files some content.
pub(crate) fn with_content(mut tree: Tree) -> Tree {
    let ids: Vec<InodeId> = tree.inodes().map(|(id, _)| id).collect();
    for id in ids {
        if let Kind::Regular(content) = &mut tree.inode_mut(id).kind
            && let FileContent::External { digest, size_bytes } = content
        {
            let len = usize::try_from(*size_bytes % 600_000).expect("small");
            let bytes = digest.as_bytes().iter().cycle().take(len);
            *content = FileContent::Inline(bytes.copied().collect::<Vec<u8>>().into());
        }
    }
    tree
}
