// SPDX-License-Identifier: MIT OR Apache-2.0
//! The export profile, judged by `mkcomposefs` on the same directories.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, lsetxattr};
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::write_composefs;
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Timestamp, Tree};
use sealroot_testkit::trees::split;
use sealroot_testkit::{need, on_disk};

use crate::judges::samples;

/// `SEALROOT_MKCOMPOSEFS`, or `mkcomposefs` in `PATH`: of composefs or of composefs-rs.
struct Judge {
    tool: PathBuf,
    /// Only the one of composefs-rs keeps hardlinks. It differs from the other where a time is
    /// before 1970: it takes that for one far in the future.
    is_rust: bool,
}

impl Judge {
    fn find() -> Option<Self> {
        let tool = match env::var_os("SEALROOT_MKCOMPOSEFS") {
            Some(path) => path.into(),
            None => need::tool("mkcomposefs")?,
        };
        let output = Command::new(&tool)
            .arg("--help")
            .output()
            .expect("mkcomposefs runs");
        let help = [output.stdout, output.stderr].concat();
        let is_rust = help.escape_ascii().to_string().contains("--hardlinks");
        Some(Self { tool, is_rust })
    }

    /// Compares their image of `source`, a directory or a dump file, with ours of `tree`; gives the length.
    fn compare(&self, source: &[&OsStr], tree: &Tree) -> usize {
        let mut ours = Vec::new();
        let summary = write_composefs(tree, &mut ours).expect("the tree can be written");
        let image = tempfile::NamedTempFile::new().expect("a temporary file");
        let output = Command::new(&self.tool)
            .args(self.is_rust.then_some("--hardlinks"))
            .args([
                "--print-digest",
                "--min-version",
                &summary.version.to_string(),
            ])
            .args(source)
            .arg(image.path())
            .output()
            .expect("mkcomposefs runs");
        assert!(output.status.success(), "{}", output.stderr.escape_ascii());
        let theirs = fs::read(image.path()).expect("their image");
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        let lengths = (ours.len(), theirs.len());
        assert!(
            ours == theirs,
            "lengths {lengths:?}, first difference at {differs:x?}"
        );
        let digest = String::from_utf8(output.stdout).expect("a digest");
        assert_eq!(digest.trim(), summary.digest.to_hex());
        theirs.len()
    }

    /// Takes away what cannot be judged: external content becomes sparse files small enough to be
    /// hashed by all, hardlinked whiteouts are refused by all.
    fn admissible(&self, tree: Tree) -> Tree {
        let mut tree = if self.is_rust {
            tree
        } else {
            without_hardlinks(&tree)
        };
        let ids: Vec<_> = tree.inodes().map(|(id, _)| id).collect();
        for id in ids {
            let inode = tree.inode_mut(id);
            if let Kind::Regular(FileContent::External { size_bytes, .. }) = &mut inode.kind {
                *size_bytes = 65_537 + *size_bytes % 1_000_000;
            }
            if inode.is_whiteout() && inode.name_count() > 1 {
                inode.kind = Kind::Fifo;
            }
            if self.is_rust && inode.metadata.mtime.seconds < 0 {
                inode.metadata.mtime = Timestamp::default();
            }
        }
        tree
    }
}

/// Every name an inode of its own.
fn without_hardlinks(tree: &Tree) -> Tree {
    let mut copy = Tree::new(tree.inode(InodeId::ROOT).metadata.clone());
    let mut parents = vec![InodeId::ROOT];
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        let mut components: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
        let name = components.pop().filter(|name| !name.is_empty());
        let Some(name) = name else { continue };
        parents.truncate(components.len() + 1);
        let inode = tree.inode(id);
        let kind = match &inode.kind {
            Kind::Directory(_) => Kind::directory(),
            other => other.clone(),
        };
        let inode = Inode::new(inode.metadata.clone(), kind);
        let id = copy
            .insert(parents[components.len()], name, inode)
            .expect("a valid tree");
        parents.push(id);
    }
    copy
}

#[test]
fn random_trees_become_the_same_images() {
    let (Some(judge), true) = (Judge::find(), need::root()) else {
        return;
    };
    for tree in samples(220, 60) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        on_disk::write(&judge.admissible(tree), directory.path()).expect("written");
        let tree = on_disk::read(directory.path()).expect("read");
        let their_bytes = judge.compare(&[directory.path().as_ref()], &tree);
        assert_not_larger(&tree, their_bytes);
    }
}

/// The pack of `tree` at the threshold of composefs is not larger than their image of it.
fn assert_not_larger(tree: &Tree, their_bytes: usize) {
    let pack = crate::written(&split(tree, 64), 64);
    let our_bytes = pack.len();
    assert!(
        our_bytes <= their_bytes,
        "{our_bytes} and {their_bytes} bytes"
    );
}

impl Judge {
    fn compare_directory(&self, directory: &Path) {
        let tree = on_disk::read(directory).expect("the directory can be read");
        let tree = if self.is_rust {
            tree
        } else {
            without_hardlinks(&tree)
        };
        let their_bytes = self.compare(&[directory.as_ref()], &tree);
        assert_not_larger(&tree, their_bytes);
    }
}

#[test]
fn a_real_directory_becomes_the_same_image_and_its_pack_is_not_larger() {
    if let Some(judge) = Judge::find() {
        judge.compare_directory(Path::new("/usr/share"));
    }
}

#[test]
fn a_debian_becomes_the_same_image_with_and_without_labels_and_its_pack_is_not_larger() {
    let (Some(judge), true) = (Judge::find(), need::root()) else {
        return;
    };
    let debian = need::cache().join("debian");
    if !debian.join("usr/bin").is_dir() {
        need::missing("the small Debian");
        return;
    }
    judge.compare_directory(&debian);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let labelled = directory.path().join("labelled");
    let copied = Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .args([&debian, &labelled])
        .status()
        .expect("cp runs");
    assert!(copied.success());
    let tree = on_disk::read(&labelled).expect("the copy can be read");
    let mut walk = tree.walk();
    while let Some((path, _)) = walk.next() {
        let kind = ["bin", "lib", "etc", "usr"][path.len() % 4];
        let label = format!("system_u:object_r:{kind}_t:s0\0");
        let path = labelled.join(OsStr::from_bytes(path.get(1..).unwrap_or_default()));
        // An inode with several names keeps the last label.
        let any = XattrFlags::empty();
        lsetxattr(&path, "security.selinux", label.as_bytes(), any).expect("labelled");
    }
    judge.compare_directory(&labelled);
}

#[test]
fn files_too_large_to_be_hashed_become_the_same_image() {
    let Some(judge) = Judge::find() else {
        return;
    };
    let digest = "0123456789abcdef".repeat(4);
    let mut dump = String::from("/ 4096 40755 2 0 0 0 0.0 - - -\n");
    let mut tree = Tree::new(Metadata {
        permissions: 0o755,
        ..Metadata::default()
    });
    // Names that make every alignment of the chunk map.
    for (name, size_bytes) in [
        ("a", (1 << 32) - 1),
        ("b", 1 << 32),
        ("c", 1 << 43),
        ("d", (1 << 43) + 1),
        ("e", 300 << 43),
        ("f", 700 << 43),
        ("g", 900 << 43),
    ] {
        let redirect = format!("{}/{}", &digest[..2], &digest[2..]);
        writeln!(
            dump,
            "/{name} {size_bytes} 100644 1 0 0 0 0.0 {redirect} - {digest}"
        )
        .expect("written");
        let digest = VerityDigest::from_hex(&digest).expect("a digest");
        let kind = Kind::Regular(FileContent::External { digest, size_bytes });
        let metadata = Metadata {
            permissions: 0o644,
            ..Metadata::default()
        };
        tree.insert(InodeId::ROOT, name.as_bytes(), Inode::new(metadata, kind))
            .expect("inserted");
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(dump.as_bytes()).expect("written");
    judge.compare(&["--from-file".as_ref(), file.path().as_ref()], &tree);
}
