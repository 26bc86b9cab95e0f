// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories made by the `ostree` program from trees made by a number.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{XattrFlags, lsetxattr};
use sealroot::monitor::Silent;
use sealroot::ostree::{FileCheck, OstreeError, OstreeTree, ReadOptions, read_commit};
use sealroot::spool::Spool;
use sealroot_format::hex;
use sealroot_testkit::content::{Numbers, bytes};
use sealroot_testkit::need;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::encode::{self, Value, array};
use crate::entries::{Objects, xattrs};

/// The modes that keep all of any commit, as `ostree init` calls them.
pub(crate) const MODES: [&str; 4] = ["bare", "bare-user", "archive", SPLIT];

/// The mode that `ostree` reads, but does not write.
pub(crate) const SPLIT: &str = "bare-split-xattrs";

/// One commit in a repository of each mode.
pub(crate) struct Repositories {
    pub(crate) directory: TempDir,
    pub(crate) commit: String,
}

impl Repositories {
    pub(crate) fn path(&self, mode: &str) -> PathBuf {
        self.directory.path().join(mode)
    }

    /// Where the commit's tree was made.
    pub(crate) fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// Commits what `make` makes, as `test`; `None` without the program or root rights.
    pub(crate) fn new(make: impl FnOnce(&Path)) -> Option<Self> {
        if need::tool("ostree").is_none() || !need::root() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut repositories = Self {
            directory,
            commit: String::new(),
        };
        let source = repositories.source();
        fs::create_dir(&source).unwrap();
        make(&source);
        for mode in MODES {
            let path = repositories.path(mode);
            ostree(&path, &["init", "--mode", mode]);
            ostree(&path, &["config", "set", "core.fsync", "false"]);
        }
        let bare = repositories.path("bare");
        let tree = format!("--tree=dir={}", source.display());
        let output = ostree(
            &bare,
            &[
                "commit",
                "--branch=test",
                "--subject=A subject",
                "--body=And a body",
                &tree,
                "--add-metadata-string=version=12.5",
                "--add-metadata=numbers=[(1, 'x')]",
                "--add-metadata-string=ostree.linux=6.12.1",
            ],
        );
        let commit = String::from_utf8(output.stdout).unwrap();
        commit.trim_end().clone_into(&mut repositories.commit);
        for mode in MODES.into_iter().skip(1).filter(|mode| *mode != SPLIT) {
            let bare = bare.to_str().unwrap();
            ostree(&repositories.path(mode), &["pull-local", bare, "test"]);
        }
        split_xattrs(&bare, &repositories.path(SPLIT));
        ostree(&repositories.path(SPLIT), &["fsck", "--quiet"]);
        Some(repositories)
    }

    /// Reads the commit from the repository of one mode.
    pub(crate) fn read(&self, mode: &str, objects: &Objects) -> Result<OstreeTree, OstreeError> {
        read(&self.path(mode), "test", objects)
    }

    /// All objects of one mode's repository, sorted.
    pub(crate) fn objects(&self, mode: &str) -> Vec<PathBuf> {
        let mut objects = Vec::new();
        for directory in self.path(mode).join("objects").read_dir().unwrap() {
            for object in directory.unwrap().path().read_dir().unwrap() {
                let path = object.unwrap().path();
                // Nobody reads these under their own name.
                if path.extension().unwrap() != "file-xattrs" {
                    objects.push(path);
                }
            }
        }
        objects.sort_unstable();
        objects
    }
}

/// Fills a repository of mode bare-split-xattrs with what is in a bare one.
fn split_xattrs(bare: &Path, split: &Path) {
    fs::copy(bare.join("refs/heads/test"), split.join("refs/heads/test")).unwrap();
    let objects = bare.join("objects").read_dir().unwrap();
    for object in objects.flat_map(|directory| directory.unwrap().path().read_dir().unwrap()) {
        let from = object.unwrap().path();
        let to = split.join(from.strip_prefix(bare).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        copy_without_xattrs(&from, &to);
        if to.extension().unwrap() != "file" {
            continue;
        }
        let pairs = xattrs(&from)
            .into_iter()
            .filter(|(_, value)| !value.0.is_empty());
        let pairs = pairs.map(|(name, value)| {
            let name = [&*name.0, b"\0"].concat();
            Value::Tuple(vec![encode::bytes(name), encode::bytes(value.0)])
        });
        let encoded = array(1, pairs.collect()).encode();
        let name = hex::encode(&Sha256::digest(&encoded));
        let kept = split.join(format!("objects/{}/{}.file-xattrs", &name[..2], &name[2..]));
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::write(kept, &encoded).unwrap();
        // OSTree would have a hard link; a file of its own can be damaged alone.
        fs::write(to.with_extension("file-xattrs-link"), &encoded).unwrap();
    }
}

fn copy_without_xattrs(from: &Path, to: &Path) {
    let stat = from.symlink_metadata().unwrap();
    if stat.is_symlink() {
        symlink(from.read_link().unwrap(), to).unwrap();
    } else {
        fs::write(to, fs::read(from).unwrap()).unwrap();
    }
    lchown(to, Some(stat.uid()), Some(stat.gid())).unwrap();
    if !stat.is_symlink() {
        fs::set_permissions(to, stat.permissions()).unwrap();
    }
}

/// The threshold of all tests.
pub(crate) const THRESHOLD_BYTES: u32 = 4096;

pub(crate) fn read(path: &Path, rev: &str, objects: &Objects) -> Result<OstreeTree, OstreeError> {
    let options = ReadOptions {
        threshold_bytes: THRESHOLD_BYTES,
        files: FileCheck::Checksums,
    };
    read_commit(
        path,
        rev,
        &options,
        &Spool::in_temporary_directory(),
        objects,
        &Silent,
    )
}

/// Runs `ostree`, which must succeed.
pub(crate) fn ostree(repository: &Path, arguments: &[&str]) -> Output {
    let output = try_ostree(repository, arguments);
    assert!(
        output.status.success(),
        "ostree {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

pub(crate) fn try_ostree(repository: &Path, arguments: &[&str]) -> Output {
    Command::new("ostree")
        // It writes names in the charset of the locale.
        .env("LC_ALL", "C.UTF-8")
        // The one kind of signature that Debian's is built with besides GPG's.
        .env("OSTREE_DUMMY_SIGN_ENABLED", "1")
        .arg(format!("--repo={}", repository.display()))
        .args(arguments)
        .output()
        .unwrap()
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// An access or default ACL that gives one more user the right to read.
fn acl(user: u32) -> Vec<u8> {
    let mut acl = 2u32.to_le_bytes().to_vec();
    let undefined = u32::MAX;
    for (tag, permissions, id) in [
        (0x01u16, 7u16, undefined),
        (0x02, 4, user),
        (0x04, 5, undefined),
        (0x10, 5, undefined),
        (0x20, 4, undefined),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

/// `cap_net_raw+ep` as the kernel stores it.
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Sizes around every threshold: empty, the pack's, blocks, chunks, what is held in memory.
const SIZES: [usize; 14] = [
    0,
    1,
    63,
    64,
    65,
    4095,
    4096,
    4097,
    65_535,
    65_536,
    65_537,
    1 << 20,
    (1 << 20) + 1,
    (4 << 20) + 1,
];

/// A small tree with one of everything that OSTree carries.
pub(crate) fn make_everything(root: &Path) {
    let file = |name: &str, content: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    };
    for (size, seed) in SIZES.into_iter().zip(0..) {
        file(&format!("usr/random/{size}"), &bytes(seed, size));
        file(&format!("usr/zeros/{size}"), &vec![0; size]);
    }
    for (mode, seed) in [0o000, 0o400, 0o644, 0o755, 0o4755, 0o2755, 0o1644, 0o7777]
        .iter()
        .zip(100..)
    {
        let path = file(&format!("usr/modes/{mode:o}"), &bytes(seed, 20));
        chown(&path, Some(seed as u32), Some(4_294_967_294)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
        let path = root.join(format!("usr/directories/{mode:o}"));
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(1000), Some(seed as u32)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
    }
    // The same content: one object under two names, and two objects.
    file("usr/same/a", b"the same");
    file("usr/same/b", b"the same");
    fs::set_permissions(
        file("usr/same/c", b"the same"),
        Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::hard_link(
        root.join("usr/random/65536"),
        root.join("usr/same/hardlink"),
    )
    .unwrap();
    make_xattrs(root);
    make_names(root);
}

fn make_xattrs(root: &Path) {
    let directory = root.join("usr/xattrs");
    fs::create_dir_all(&directory).unwrap();
    for (name, seed) in ["small", "large"].into_iter().zip(200..) {
        let path = directory.join(name);
        fs::write(
            &path,
            bytes(seed, if name == "small" { 10 } else { 10_000 }),
        )
        .unwrap();
        set_xattr(&path, "user.z", b"last");
        set_xattr(&path, "user.a", b"");
        set_xattr(&path, "user.binary", b"\0\x01\xff\0");
        set_xattr(&path, "security.selinux", b"system_u:object_r:usr_t:s0\0");
        set_xattr(&path, "security.capability", &CAPABILITY);
        set_xattr(&path, "trusted.t", b"t");
        set_xattr(&path, "system.posix_acl_access", &acl(seed as u32));
        set_xattr(&path, "user.long", &bytes(seed, 2000));
    }
    let inner = directory.join("directory");
    fs::create_dir(&inner).unwrap();
    set_xattr(&inner, "user.d", b"d");
    set_xattr(&inner, "security.selinux", b"system_u:object_r:lib_t:s0\0");
    set_xattr(&inner, "system.posix_acl_access", &acl(3));
    set_xattr(&inner, "system.posix_acl_default", &acl(4));
    let link = directory.join("link");
    symlink("small", &link).unwrap();
    lchown(&link, Some(7), Some(8)).unwrap();
    set_xattr(&link, "security.selinux", b"system_u:object_r:bin_t:s0\0");
    set_xattr(&link, "trusted.link", b"l");
}

fn make_names(root: &Path) {
    let directory = root.join("usr/names");
    fs::create_dir_all(&directory).unwrap();
    let long = "n".repeat(255);
    let names = [
        "a b",
        " ",
        "-rf",
        ".hidden",
        "...",
        "\u{fc}n\u{ef}c\u{f6}de",
        "\u{1f600}",
        "\u{65e5}\u{672c}",
        "back\\slash",
        "tab\tbell\x07",
        "%s%n",
        "'quote\"",
        "Z",
        "a",
        "A",
        ".ostree-wh.gone",
        "#",
        "~",
        "\u{202e}rtl",
        "e\u{301}",
        &long,
    ];
    for (name, seed) in names.iter().zip(300..) {
        fs::write(directory.join(name), bytes(seed, 5)).unwrap();
    }
    symlink("/absolute/target", directory.join("link")).unwrap();
    symlink("dangling", directory.join("dangling")).unwrap();
    symlink("t".repeat(4095), directory.join("longest link")).unwrap();
    let deep = (0..60).fold(directory, |path, level| path.join(format!("level {level}")));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"deep").unwrap();
}

/// A random tree.
pub(crate) fn make_random(root: &Path, seed: u64) {
    let mut numbers = Numbers::new(seed);
    let mut directories = vec![root.join("usr")];
    fs::create_dir(&directories[0]).unwrap();
    for at in 0..120 {
        let parent = &directories[numbers.below(directories.len() as u64) as usize];
        let path = parent.join(format!("{:x}", numbers.below(1 << 40)));
        match numbers.below(10) {
            0..2 => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            2 => {
                let len = 1 + numbers.below(200) as usize;
                symlink("l".repeat(len), &path).unwrap();
                continue;
            }
            _ => {
                let magnitude = 1 + numbers.below(17);
                let size = numbers.below(1 << magnitude) as usize;
                // A few contents only, so that objects are shared.
                fs::write(&path, bytes(at % 40, size)).unwrap();
            }
        }
        chown(
            &path,
            Some(numbers.below(3) as u32),
            Some(numbers.below(3) as u32),
        )
        .unwrap();
        for _ in 0..numbers.below(4) {
            let namespace = ["user", "security", "trusted"][numbers.below(3) as usize];
            let name = format!("{namespace}.{}", numbers.below(1000));
            set_xattr(
                &path,
                &name,
                &bytes(numbers.next(), numbers.below(60) as usize),
            );
        }
        let mode = numbers.below(0o10_000) as u32;
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
}
