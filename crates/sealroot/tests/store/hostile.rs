// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever is planted in the place of a component of a store's paths is refused or replaced,
//! never followed, never waited for; nothing outside of the store is touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode as FileMode, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags};
use sealroot::check::{self, Depth};
use sealroot::monitor::Silent;
use sealroot::store::{Store, object_path, pack_path, statement_path};
use sealroot_format::policy::Mode;
use sealroot_testkit::need;

use crate::support::{Release, content, files_below, stream};

/// Longer than anything here takes, unless it waits for a fifo.
const TIME_OUT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    /// A symbolic link to where the real thing is now.
    LinkToIt,
    /// A symbolic link to something else of the same kind.
    LinkElsewhere,
    Fifo,
    Socket,
    Device,
    /// A file for a directory, a directory for a file.
    OtherKind,
    /// Another filesystem.
    Mount,
}

const PLANTS: [Plant; 7] = [
    Plant::LinkToIt,
    Plant::LinkElsewhere,
    Plant::Fifo,
    Plant::Socket,
    Plant::Device,
    Plant::OtherKind,
    Plant::Mount,
];

/// What a component is to the store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// Whoever finds something else in its place cannot go on.
    Needed,
    /// Is made anew where something else is found.
    Replaceable,
}

/// A sysroot with a store, everything below one scratch directory.
struct Sysroot {
    scratch: tempfile::TempDir,
    release: Release,
}

impl Sysroot {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let release = Release::new(1, (0..3).map(|i| content(i, 5000)).collect());
        let sysroot = Self { scratch, release };
        fs::create_dir(sysroot.root()).expect("made");
        fs::create_dir(sysroot.outside()).expect("made");
        fs::write(sysroot.outside().join("file"), "outside").expect("written");
        fs::create_dir(sysroot.outside().join("directory")).expect("made");
        build_and_deploy(&sysroot.root(), &sysroot.release).expect("deployed");
        sysroot
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("sysroot")
    }

    fn outside(&self) -> PathBuf {
        self.scratch.path().join("outside")
    }

    /// All components, below the sysroot.
    fn components(&self) -> Vec<(String, Role)> {
        use Role::{Needed, Replaceable};
        let object = object_path(&self.release.objects[0].1).to_string();
        let prefix = object.rsplit_once('/').expect("a path").0.to_owned();
        let deployment = format!("deploy/{}.0", self.release.commit());
        let pack = pack_path(&self.release.pack.1).to_string();
        let sign = statement_path(&self.release.commit(), &stream()).to_string();
        let below_store = [
            ("store.toml".into(), Needed),
            ("lock".into(), Needed),
            ("pack".into(), Needed),
            ("objects".into(), Needed),
            ("deploy".into(), Needed),
            ("tmp".into(), Needed),
            (pack, Replaceable),
            (sign, Needed),
            (prefix.clone(), Needed),
            (object.clone(), Replaceable),
            (format!("{deployment}/deployment.toml"), Replaceable),
            (format!("{deployment}/objects"), Needed),
            (format!("{deployment}/{prefix}"), Needed),
            (format!("{deployment}/{object}"), Replaceable),
            (deployment, Needed),
        ];
        let outer = [("ostree".into(), Needed), ("ostree/verity".into(), Needed)];
        let inner = below_store.map(|(path, role)| (format!("ostree/verity/{path}"), role));
        outer.into_iter().chain(inner).collect()
    }
}

fn build_and_deploy(root: &Path, release: &Release) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| {
        let cause = error.source().map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    };
    let store = Store::open_or_create_in_sysroot(root).map_err(|e| text(&e))?;
    release.build(&store).map_err(|e| text(&e))?;
    release
        .deploy(&store, Mode::Integrity, &Silent)
        .map_err(|e| text(&e))?;
    Ok(())
}

/// Unmounts on the way out.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn plant(plant: Plant, path: &Path, aside: &Path, outside: &Path) -> Option<Mounted> {
    let is_directory = path.is_dir();
    fs::rename(path, aside).expect("moved aside");
    let mode = FileMode::from_raw_mode(0o644);
    match plant {
        Plant::LinkToIt => symlink(aside, path).expect("planted"),
        Plant::LinkElsewhere => {
            let target = if is_directory { "directory" } else { "file" };
            symlink(outside.join(target), path).expect("planted");
        }
        Plant::Fifo => mknodat(CWD, path, FileType::Fifo, mode, 0).expect("planted"),
        Plant::Device => {
            let null = makedev(1, 3);
            mknodat(CWD, path, FileType::CharacterDevice, mode, null).expect("planted");
        }
        Plant::Socket => {
            // Paths of sockets are short.
            let bound = outside.join("socket");
            UnixListener::bind(&bound).expect("bound");
            fs::rename(bound, path).expect("planted");
        }
        Plant::OtherKind if is_directory => fs::write(path, "").expect("planted"),
        Plant::OtherKind => fs::create_dir(path).expect("planted"),
        Plant::Mount => {
            fs::rename(aside, path).expect("moved back");
            let mounted = if is_directory {
                rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), None)
            } else {
                rustix::mount::mount_bind(path, path)
            };
            mounted.expect("mounted");
            return Some(Mounted(path.into()));
        }
    }
    None
}

fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = if path.is_dir() {
        files_below(path)
    } else {
        vec![path.into()]
    };
    let with_content = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap_or_default();
        (path, bytes)
    };
    files.into_iter().map(with_content).collect()
}

// Rules: N2, N3
#[test]
fn nothing_planted_in_a_path_is_followed() {
    if !need::root() {
        return;
    }
    let components = Sysroot::new().components();
    let mut refused = 0;
    for (component, role) in &components {
        for kind in PLANTS {
            let when = format!("{kind:?} at {component}");
            let sysroot = Arc::new(Sysroot::new());
            let path = sysroot.root().join(component);
            let aside = sysroot.scratch.path().join("aside");
            let mounted = plant(kind, &path, &aside, &sysroot.outside());
            let before = [&aside, &sysroot.outside()].map(|path| contents(path));

            let result = in_time(&sysroot, &when);
            match (role, &result) {
                (Role::Needed, Ok(())) => {
                    // An own layer or record that is no good makes a new deployment.
                    let is_deployment = component.contains("/deploy/");
                    // A statement's name is given to the new statement.
                    let is_statement = component.contains(".stable.");
                    assert!(is_deployment || is_statement, "{when}: was not refused");
                }
                (Role::Replaceable, Err(error)) if kind != Plant::Mount => {
                    panic!("{when}: was not replaced: {error}");
                }
                (_, Err(error)) => {
                    refused += 1;
                    assert!(error.contains("sysroot"), "{when}: {error}");
                }
                (Role::Replaceable, Ok(())) => {}
            }
            let after = [&aside, &sysroot.outside()].map(|path| contents(path));
            assert_eq!(before, after, "{when}: something outside was touched");
            drop(mounted);
        }
    }
    assert!(refused > 60, "{refused}");
}

/// Builds, deploys and checks in another thread, which must come to an end.
fn in_time(sysroot: &Arc<Sysroot>, when: &str) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let sysroot = Arc::clone(sysroot);
    std::thread::spawn(move || {
        let result = build_and_deploy(&sysroot.root(), &sysroot.release);
        if let Ok(store) = Store::open_in_sysroot(&sysroot.root()) {
            let _ = check::check(&store, Depth::Full, &Silent);
        }
        drop(sysroot);
        sender.send(result).expect("somebody waits");
    });
    let result = receiver.recv_timeout(TIME_OUT);
    result.unwrap_or_else(|_| panic!("{when}: it waits"))
}
