// SPDX-License-Identifier: MIT OR Apache-2.0
//! From one deployment to the next on a real filesystem, with real owners, modes and xattrs.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use sealroot::etc::{self, Change, EtcError, Merged, MissingAccounts, Source};
use sealroot::monitor::Silent;
use sealroot::store::{KernelIo, Store, StorePath};
use sealroot_format::policy::{DeploymentName, Mode};
use sealroot_format::tree::Tree;
use sealroot_testkit::need;

use crate::support::{Released, text, tree};

/// A release of a tree whose `/usr/etc` is this.
fn release(seed: u8, etc: &str) -> (Released, Tree) {
    let below = |line: &str| format!("/usr/etc{}", line.trim());
    let lines: Vec<String> = etc.lines().map(below).collect();
    let whole = tree(&format!(
        "/etc dir\n/usr dir\n/usr/etc dir\n{}",
        lines.join("\n")
    ));
    let default = etc::default_of(&whole).expect("a default");
    assert_eq!(text(&default), text(&tree(etc)));
    (Released::new(seed, &whole), default)
}

struct Machine {
    _directory: tempfile::TempDir,
    store: Store,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").expect("a scratch directory");
        let store = Store::open_or_create(&directory.path().join("store")).expect("a store");
        Self {
            _directory: directory,
            store,
        }
    }

    fn path(&self, name: DeploymentName, below: &str) -> PathBuf {
        let etc = etc::path_of(name).to_string();
        self.store.location().join(etc).join(below)
    }

    fn first(&self, release: &(Released, Tree)) -> DeploymentName {
        let name = release.0.deploy(&self.store, Mode::Integrity);
        let transaction = self.store.begin(&Silent).expect("begun");
        etc::merge(&transaction, name, None, &release.1).expect("filled");
        transaction.finish().expect("finished");
        name
    }

    fn update(&self, from: DeploymentName, release: &(Released, Tree)) -> (DeploymentName, Merged) {
        let name = release.0.deploy(&self.store, Mode::Integrity);
        let (old, current) = etc::read_own(&self.store, from, &Silent).expect("read");
        let source = Source {
            old: &old,
            current: &current,
            deployment: Some(from),
        };
        let transaction = self.store.begin(&Silent).expect("begun");
        let merged = etc::merge(&transaction, name, Some(source), &release.1).expect("merged");
        transaction.finish().expect("finished");
        (name, merged)
    }
}

fn set_xattr(path: &Path, name: &str, value: &str) {
    rustix::fs::lsetxattr(path, name, value.as_bytes(), XattrFlags::empty()).expect("set");
}

fn xattr(path: &Path, name: &str) -> Option<String> {
    let mut value = [0; 256];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    Some(String::from_utf8_lossy(&value[..len]).into_owned())
}

#[test]
fn local_changes_move_to_the_next_release() {
    if !need::root() {
        return;
    }
    let machine = Machine::new();
    let first = release(
        1,
        "/conf file 1 label=conf_t\n/gone file 1\n/group file root:x:0:\n/labelled file 1 label=old_t
         /link link target\n/passwd file root:x:0:0\n/quiet file 1 mode=600 uid=3\n/sub dir mode=755
         /sub/a file 1",
    );
    let one = machine.first(&first);
    let at = |below: &str| machine.path(one, below);
    assert_eq!(
        xattr(&at("conf"), "security.selinux").as_deref(),
        Some("conf_t")
    );
    assert_eq!(fs::symlink_metadata(at("quiet")).expect("there").uid(), 3);

    fs::write(at("conf"), "mine").expect("changed");
    fs::remove_file(at("gone")).expect("removed");
    fs::write(at("passwd"), "root:x:0:0\nadmin:x:1000:1000\n").expect("a user added");
    set_xattr(&at("labelled"), "security.selinux", "mine_t");
    fs::set_permissions(at("sub"), fs::Permissions::from_mode(0o710)).expect("a mode");
    chown(at("sub/a"), Some(77), Some(78)).expect("an owner");
    symlink("elsewhere", at("local-link")).expect("a symlink");
    lchown(at("local-link"), Some(5), Some(6)).expect("an owner");
    fs::write(at("large"), vec![7; 3_000_000]).expect("a large file");
    fs::hard_link(at("large"), at("large-too")).expect("a hardlink");
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).expect("a fifo");
    set_xattr(&at("large"), "user.note", "keep");

    let second = release(
        2,
        "/conf file 2 label=conf_t\n/gone file 2\n/group file root:x:0:\n/labelled file 2 label=old_t
         /link link other\n/new file 2 label=new_t\n/passwd file root:x:0:0\\nnewd:x:90:90
         /quiet file 2 mode=640 uid=3\n/sub dir mode=755\n/sub/a file 2\n/sub/b file 2",
    );
    let (two, merged) = machine.update(one, &second);
    let at = |below: &str| machine.path(two, below);
    let read = |below: &str| fs::read_to_string(at(below)).expect("readable");
    assert_eq!(read("conf"), "mine");
    assert!(!at("gone").exists());
    assert_eq!(read("passwd"), "root:x:0:0\nadmin:x:1000:1000\n");
    assert_eq!(read("labelled"), "2");
    assert_eq!(
        xattr(&at("labelled"), "security.selinux").as_deref(),
        Some("mine_t")
    );
    assert_eq!(
        xattr(&at("new"), "security.selinux").as_deref(),
        Some("new_t")
    );
    assert_eq!(
        xattr(&at("conf"), "security.selinux").as_deref(),
        Some("conf_t")
    );
    let stat = |below: &str| fs::symlink_metadata(at(below)).expect("there");
    assert_eq!(stat("sub").mode() & 0o7777, 0o710);
    assert_eq!((read("sub/a").as_str(), read("sub/b").as_str()), ("2", "2"));
    assert_eq!((stat("sub/a").uid(), stat("sub/a").gid()), (77, 78));
    assert_eq!((stat("local-link").uid(), stat("local-link").gid()), (5, 6));
    assert_eq!(
        fs::read_link(at("local-link")).expect("a link"),
        Path::new("elsewhere")
    );
    assert_eq!(
        fs::read_link(at("link")).expect("a link"),
        Path::new("other")
    );
    assert_eq!(
        (read("quiet").as_str(), stat("quiet").mode() & 0o7777),
        ("2", 0o640)
    );
    assert_eq!(fs::read(at("large")).expect("there"), vec![7; 3_000_000]);
    assert_eq!(stat("large").ino(), stat("large-too").ino());
    assert_eq!(
        xattr(&at("large-too"), "user.note").as_deref(),
        Some("keep")
    );
    assert!(!at("pipe").exists());
    assert_eq!(merged.skipped, [Box::from(*b"/pipe")]);
    let missing = MissingAccounts {
        file: "passwd",
        names: vec!["newd".into()],
    };
    assert_eq!(merged.missing_accounts, [missing]);
    // Neither release's default was touched, and the first deployment is as it was.
    assert_eq!(
        fs::read_to_string(machine.path(one, "conf")).expect("there"),
        "mine"
    );
    assert_eq!(
        fs::read_to_string(machine.path(one, "sub/a")).expect("there"),
        "1"
    );
}

#[test]
fn the_differences_of_a_deployment_are_told() {
    if !need::root() {
        return;
    }
    let machine = Machine::new();
    let first = release(1, "/a file 1\n/b file 1\n/d dir");
    let one = machine.first(&first);
    let differences = || {
        let directory = etc::open_own(&machine.store, one).expect("opened");
        etc::diff(&first.1, &directory.tree(&Silent).expect("read"))
    };
    assert_eq!(differences(), []);
    fs::write(machine.path(one, "a"), "mine").expect("changed");
    fs::remove_file(machine.path(one, "b")).expect("removed");
    fs::set_permissions(machine.path(one, "d"), fs::Permissions::from_mode(0o700)).expect("set");
    fs::write(machine.path(one, "d/e"), "mine").expect("added");
    let found: Vec<(String, Change)> = (differences().into_iter())
        .map(|found| (found.path.escape_ascii().to_string(), found.change))
        .collect();
    let expected = [
        ("/a".into(), Change::Changed(vec![etc::Aspect::Content])),
        ("/b".into(), Change::Removed),
        ("/d".into(), Change::Changed(vec![etc::Aspect::Permissions])),
        ("/d/e".into(), Change::Added),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_etc_that_is_a_symlink_is_not_followed() {
    if !need::root() {
        return;
    }
    let machine = Machine::new();
    let first = release(1, "/a file 1");
    let one = machine.first(&first);
    let place = machine.path(one, "");
    let place = place.parent().expect("a parent").join("etc");
    fs::remove_dir_all(&place).expect("removed");
    symlink("/etc", &place).expect("planted");
    etc::read_own(&machine.store, one, &Silent).expect_err("a symlink");
    assert!(!etc::has_own(&machine.store, one).expect("looked at"));
    let transaction = machine.store.begin(&Silent).expect("begun");
    etc::merge(&transaction, one, None, &first.1).expect_err("a symlink");
    assert!(place.is_symlink());
}

#[test]
fn a_reset_makes_it_the_default_again() {
    if !need::root() {
        return;
    }
    let machine = Machine::new();
    let first = release(
        1,
        "/a file 1 mode=600\n/d dir mode=750\n/d/b file 1 label=b_t\n/l link a",
    );
    let one = machine.first(&first);
    let at = |below: &str| machine.path(one, below);
    fs::write(at("a"), "mine").expect("changed");
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o666)).expect("set");
    fs::remove_file(at("d/b")).expect("removed");
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o700)).expect("set");
    fs::remove_file(at("l")).expect("removed");
    symlink("mine", at("l")).expect("changed");
    fs::write(at("own"), "mine").expect("added");
    let place = KernelIo::open(&at("")).expect("opened");
    let reset = |path: &str| {
        let path = StorePath::new(path).expect("a path");
        etc::reset(&place, &first.1, &machine.store, &path)
    };
    for path in ["a", "d", "d/b", "l"] {
        reset(path).expect(path);
    }
    let error = reset("own").expect_err("the release has none");
    assert!(matches!(error, EtcError::NotInDefault { .. }), "{error}");
    fs::create_dir(at("x")).expect("made");
    let directory = etc::open_own(&machine.store, one).expect("opened");
    let left = etc::diff(&first.1, &directory.tree(&Silent).expect("read"));
    let left: Vec<_> = left
        .iter()
        .map(|found| found.path.escape_ascii().to_string())
        .collect();
    assert_eq!(left, ["/own", "/x"]);
    // A directory is not replaced by a file, nor the other way round.
    fs::remove_file(at("a")).expect("removed");
    fs::create_dir(at("a")).expect("made");
    let error = reset("a").expect_err("a directory");
    assert!(matches!(error, EtcError::InTheWay { .. }), "{error}");
}
