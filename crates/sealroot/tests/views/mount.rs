// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel shows of a pack and its objects is the tree they were made of.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use rustix::mount::UnmountFlags;
use sealroot::machine::{BootChoices, MachineError, Releases, Retention, Runtime, prune};
use sealroot::monitor::Silent;
use sealroot::mount::{MountError, Source, mount};
use sealroot::release::open_verified_pack;
use sealroot::store::{Store, pack_path};
use sealroot_format::ErrorClass;
use sealroot_format::tree::{InodeId, Kind, Tree};
use sealroot_testkit::{need, on_disk, trees};

use crate::support::{Scratch, dump_of, with_content};

/// How often, and after how long each time, it is looked whether a mount is gone.
const MAX_LOOKS: u32 = 500;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A mount, gone in the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(store: &Store, pack: &File, place: &Path) -> Self {
        mount_on(store, pack, place).expect("mounted");
        Self(place.to_owned())
    }
}

/// Mounts a pack; the record of it lies beside the store.
fn mount_on(store: &Store, pack: &File, place: &Path) -> Result<(), MountError> {
    let source = Source {
        pack: pack.as_fd(),
        digest: None,
        deployment: None,
    };
    mount(store, &runtime(store), &source, place)
}

fn runtime(store: &Store) -> Runtime {
    Runtime::new(store.location().with_file_name("run"))
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // One is enough.
        rustix::mount::unmount(&self.0, UnmountFlags::empty()).expect("unmounted");
        assert!(!is_mounted(&self.0));
    }
}

fn is_mounted(place: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a list");
    let place = place.to_str().expect("plain");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(place))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn what_was_built_is_shown(
        tree in trees::trees(60),
        threshold_bytes in prop_oneof![Just(0), Just(4096), Just(65_536)],
    ) {
        if !need::root() {
            return Ok(());
        }
        let scratch = Scratch::new();
        let (source, place) = (scratch.path("source"), scratch.path("place"));
        fs::create_dir(&source).expect("a directory");
        fs::create_dir(&place).expect("a directory");
        on_disk::write(&without_whiteouts(with_content(tree)), &source).expect("written");
        let statement = scratch.build_release(&source, threshold_bytes);
        let store = scratch.store();
        let pack = open_verified_pack(&store, &statement.pack_digest).expect("a pack");
        let pack: std::os::fd::OwnedFd = pack.into_file().into();
        let _mounted = Mounted::new(&store, &pack.into(), &place);
        prop_assert_eq!(dump_of(&place), dump_of(&source));
    }
}

/// A whiteout in an overlay shows as an empty file that overlayfs takes for one.
fn without_whiteouts(mut tree: Tree) -> Tree {
    let whiteouts = tree.inodes().filter(|(_, inode)| inode.is_whiteout());
    let whiteouts: Vec<InodeId> = whiteouts.map(|(id, _)| id).collect();
    for id in whiteouts {
        tree.inode_mut(id).kind = Kind::Fifo;
    }
    tree
}

#[test]
fn a_pack_that_must_be_a_block_device_becomes_one() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let statement = scratch.build_release(&scratch.small_source(), 4096);
    let place = scratch.path("place");
    fs::create_dir(&place).expect("a directory");
    let stored = scratch
        .path("store")
        .join(pack_path(&statement.pack_digest).to_string());
    // EROFS does not mount files of a tmpfs.
    let copy = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    fs::copy(stored, copy.path()).expect("copied");
    let _mounted = Mounted::new(&scratch.store(), copy.as_file(), &place);
    assert_eq!(dump_of(&place), dump_of(&scratch.path("source")));
}

#[test]
fn what_cannot_be_mounted_leaves_nothing_mounted() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let statement = scratch.build_release(&scratch.small_source(), 4096);
    let store = scratch.store();
    let place = scratch.path("place");
    fs::create_dir(&place).expect("a directory");
    let stored = scratch
        .path("store")
        .join(pack_path(&statement.pack_digest).to_string());
    let pack = File::open(stored).expect("a pack");
    let class = |file: &File, place: &Path| {
        let error = mount_on(&store, file, place).expect_err("refused");
        (error.class(), error)
    };

    let (class_of, _) = class(&pack, &scratch.path("none"));
    assert_eq!(class_of, ErrorClass::NotFound);
    let (class_of, _) = class(&pack, &scratch.path("source/usr/small"));
    assert_eq!(class_of, ErrorClass::Usage);
    let other = File::open(scratch.path("source/usr/bin/one")).expect("a file");
    let (class_of, error) = class(&other, &place);
    assert_eq!(class_of, ErrorClass::Unsupported);
    assert!(
        matches!(
            error,
            MountError::Kernel {
                what: "the pack",
                ..
            }
        ),
        "{error}"
    );
    // The names are there, what they lead to is not.
    let objects = scratch.path("store/objects");
    fs::rename(&objects, scratch.path("store/gone")).expect("renamed");
    let (class_of, _) = class(&pack, &place);
    assert_eq!(class_of, ErrorClass::NotFound);
    assert!(!is_mounted(&place));
}

// Rules: G2
#[test]
fn what_is_mounted_is_not_collected_until_nobody_has_it_open() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let statement = scratch.build_release(&scratch.small_source(), 4096);
    let store = scratch.store();
    let place = scratch.path("place");
    fs::create_dir(&place).expect("a directory");
    let stored = scratch
        .path("store")
        .join(pack_path(&statement.pack_digest).to_string());
    let pack = File::open(&stored).expect("a pack");
    let all = Retention {
        keep: 0,
        releases: Releases::None,
    };
    let choices = || Ok(BootChoices::default());
    let collect = || prune(&store, &runtime(&store), &choices, all, &Silent);
    let source = |digest| Source {
        pack: pack.as_fd(),
        digest,
        deployment: None,
    };

    // A pack that is not known to be the store's: nothing can be said of its objects.
    let mounted = Mounted::new(&store, &pack, &place);
    let error = collect().expect_err("it is mounted");
    assert!(
        matches!(error, MachineError::ForeignMount { .. }),
        "{error}"
    );
    drop(mounted);

    // One of the store's, unmounted while a file in it is open.
    let digest = Some(statement.pack_digest);
    mount(&store, &runtime(&store), &source(digest), &place).expect("mounted");
    let open = File::open(place.join("usr/bin/one")).expect("a file");
    rustix::mount::unmount(&place, UnmountFlags::DETACH).expect("detached");
    assert!(!is_mounted(&place));
    assert_eq!(collect().expect("pruned").packs, []);
    assert!(stored.exists());
    drop(open);
    if cfg!(target_arch = "x86_64") {
        // The kernel takes its time to let go of what nobody has open any more.
        let packs = (0..MAX_LOOKS).find_map(|_| {
            thread::sleep(BETWEEN_LOOKS);
            let packs = collect().expect("pruned").packs;
            (!packs.is_empty()).then_some(packs)
        });
        assert_eq!(packs, Some(vec![statement.pack_digest]));
        assert!(!stored.exists());
    }
}
