// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sysroot with a repository and a commit that the `ostree` program made.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sealroot::adopt::{AdoptError, Adopted, Request, adopt};
use sealroot::import::FoundStatement;
use sealroot::monitor::Silent;
use sealroot::ostree::Repository;
use sealroot::store::Store;
use sealroot_format::digest::CommitId;
use sealroot_testkit::content::bytes;
use sealroot_testkit::need;
use tempfile::TempDir;

/// Files up to this many bytes go into the pack.
pub(crate) const THRESHOLD_BYTES: u32 = 4096;

pub(crate) struct Sysroot {
    directory: TempDir,
    pub(crate) commit: CommitId,
}

impl Sysroot {
    /// A repository of this mode with one commit, as the ref `main`; `None` without the program or
    /// root rights.
    pub(crate) fn new(mode: &str) -> Option<Self> {
        Self::new_in(&std::env::temp_dir(), mode)
    }

    /// The same, in a directory below `parent`.
    pub(crate) fn new_in(parent: &Path, mode: &str) -> Option<Self> {
        if need::tool("ostree").is_none() || !need::root() {
            return None;
        }
        let directory = tempfile::tempdir_in(parent).unwrap();
        let tree = directory.path().join("tree");
        make_tree(&tree);
        let path = directory.path().join("ostree/repo");
        fs::create_dir_all(&path).unwrap();
        ostree(&path, &["init", "--mode", mode]);
        let tree = format!("--tree=dir={}", tree.display());
        let canonical: &[&str] = match mode {
            "bare-user-only" => &["--canonical-permissions", "--no-xattrs"],
            _ => &[],
        };
        let arguments = ["commit", "--branch=main", &tree];
        let output = ostree(&path, &[&arguments, canonical].concat());
        let commit = String::from_utf8(output.stdout).unwrap();
        Some(Self {
            commit: CommitId::from_hex(commit.trim_end()).unwrap(),
            directory,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn repository_path(&self) -> PathBuf {
        self.path().join("ostree/repo")
    }

    pub(crate) fn repository(&self) -> Repository {
        Repository::open(&self.repository_path()).unwrap()
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.path().join("ostree/verity")
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_or_create_in_sysroot(self.path()).unwrap()
    }

    pub(crate) fn adopt(&self, release: Option<&FoundStatement>) -> Result<Adopted, AdoptError> {
        let repository = self.repository();
        let request = Request {
            repository: &repository,
            commit: self.commit,
            release,
            threshold_bytes: THRESHOLD_BYTES,
        };
        adopt(&self.store(), &request, &Silent)
    }

    /// Runs `ostree` on the repository, which must succeed.
    pub(crate) fn ostree(&self, arguments: &[&str]) -> String {
        let output = ostree(&self.repository_path(), arguments);
        String::from_utf8(output.stdout).unwrap()
    }

    /// `ostree fsck` finds nothing.
    pub(crate) fn assert_clean(&self) {
        self.ostree(&["fsck", "--quiet"]);
    }
}

/// Files of every size that matters, equal content in several objects, and links.
fn make_tree(root: &Path) {
    let file = |name: &str, content: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    for (size, seed) in [0, 1, 4096, 4097, 70_000, 300_000].into_iter().zip(0..) {
        file(&format!("usr/sizes/{size}"), &bytes(seed, size));
    }
    // One content, three objects: their modes differ.
    for mode in [0o644, 0o755, 0o600] {
        let name = format!("usr/same/{mode:o}");
        file(&name, &bytes(9, 9000));
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(root.join(name), permissions).unwrap();
    }
    // Longer than the threshold as a file: it must not become an object.
    std::os::unix::fs::symlink("t".repeat(4000), root.join("usr/link")).unwrap();
    for number in 0..12 {
        file(&format!("usr/many/{number}"), &bytes(100 + number, 5000));
    }
    file(
        "usr/lib/os-release",
        b"ID=exampleos\nPRETTY_NAME=\"Example OS\"\n",
    );
    file("usr/etc/config", b"a = 1\n");
}

/// Distinct contents above the threshold in that tree.
pub(crate) const OBJECTS: u64 = 3 + 1 + 12;

/// Runs `ostree`, which must succeed.
pub(crate) fn ostree(repository: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("ostree")
        .env("LC_ALL", "C.UTF-8")
        .arg(format!("--repo={}", repository.display()))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ostree {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// The inodes of all files below a directory, with how many names each has.
pub(crate) fn inodes(directory: &Path) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                open.push(path);
            } else {
                found.insert(metadata.ino(), metadata.nlink());
            }
        }
    }
    found
}
