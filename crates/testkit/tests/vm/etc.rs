// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/etc` as a booted machine has it: kept and merged, or gone with the boot.
//!
//! The store has no fs-verity, since the host must open it, too; `/etc` is the same in every mode.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot::etc::{self, Source};
use sealroot::monitor::Silent;
use sealroot::store::{Store, deployment_path};
use sealroot_format::pack::Pack;
use sealroot_format::policy::{DeploymentName, EtcMode, Mode};
use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree, Xattr, XattrSet};
use sealroot_testkit::guest::{EtcChange, PROBE_JOB_DISK, ProbeJob, ProbeReport, write_job_disk};
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::need;
use sealroot_testkit::release::{Layer, Release, usual_kernel};
use sealroot_testkit::vm::{Vm, VmOutcome};

const TIME_OUT: Duration = Duration::from_secs(400);

/// Tricks that would run an attacker's program at the next boot.
const TRICKS: [&str; 3] = ["ld.so.preload", "rc.local", "passwd"];

/// A default with these files; content and label the first two words.
fn default(files: &[(&str, &str, &str)]) -> Tree {
    let metadata = |permissions, label: Option<&str>| Metadata {
        permissions,
        xattrs: XattrSet::from_unsorted(
            (label.into_iter())
                .map(|label| Xattr {
                    name: (*b"security.selinux").into(),
                    value: label.as_bytes().into(),
                })
                .collect(),
        )
        .expect("one attribute"),
        ..Metadata::default()
    };
    let mut tree = Tree::new(metadata(0o755, Some("etc_t")));
    for (name, content, label) in files {
        let kind = Kind::Regular(FileContent::Inline(content.as_bytes().into()));
        let inode = Inode::new(metadata(0o644, Some(label)), kind);
        let inserted = tree.insert(InodeId::ROOT, name.as_bytes(), inode);
        inserted.expect("a new name");
    }
    tree
}

/// The default that the first deployment began with, and that of the release to come.
fn defaults() -> [Tree; 2] {
    [
        default(&[
            ("changed", "1", "etc_t"),
            ("labelled", "1", "etc_t"),
            ("mode", "1", "etc_t"),
            ("passwd", "root:x:0:0::/root:/bin/sh\n", "passwd_t"),
            ("removed", "1", "etc_t"),
            ("untouched", "1", "etc_t"),
        ]),
        default(&[
            ("changed", "2", "etc_t"),
            ("labelled", "2", "etc_t"),
            ("mode", "2", "etc_t"),
            ("new", "2", "new_t"),
            ("passwd", "root:x:0:0::/root:/bin/bash\n", "passwd_t"),
            ("removed", "2", "etc_t"),
            ("untouched", "2", "etc_t"),
        ]),
    ]
}

struct Scene {
    kernel: GuestKernel,
    release: Release,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Option<Self>> {
        let (Some(kernel), true) = (usual_kernel(), need::root()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            release: Release::create(&kernel, Mode::Integrity)?,
            kernel,
            directory: tempfile::tempdir()?,
        }))
    }

    fn on_store<T>(&self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        (self.release.disk()).mounted(|root| work(&Store::open_in_sysroot(root)?))
    }

    /// Boots with a disk that keeps what is written to it.
    fn boot(
        &self,
        initramfs: &Path,
        deployment: DeploymentName,
        changes: &[(&str, EtcChange)],
    ) -> Result<VmOutcome> {
        let job = ProbeJob {
            etc: (changes.iter())
                .map(|(name, change)| ((*name).to_owned(), change.clone()))
                .collect(),
            ..ProbeJob::default()
        };
        let path = self.directory.path().join("job");
        write_job_disk(&path, &job)?;
        Vm::new(&self.kernel)
            .initramfs(initramfs)
            .arguments(&format!("sealroot={deployment}"))
            .disk(Release::DISK_SERIAL, self.release.disk().path())
            .scratch_disk(PROBE_JOB_DISK, &path)
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .run(TIME_OUT)
    }

    /// The deployment, and one more of the same release.
    fn deployments(&self) -> Result<[DeploymentName; 2]> {
        let first: DeploymentName = self.release.deployment().parse()?;
        let second = DeploymentName { serial: 1, ..first };
        self.on_store(|store| {
            let path = |name| store.location().join(deployment_path(&name).to_string());
            fs::create_dir(path(second))?;
            let record = "deployment.toml";
            fs::copy(path(first).join(record), path(second).join(record))?;
            Ok(())
        })?;
        Ok([first, second])
    }
}

fn write(content: &str) -> EtcChange {
    EtcChange::Write(content.to_owned())
}

// Rules: P12
#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_kept_etc_moves_to_the_next_deployment() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let [first, second] = scene.deployments()?;
    let [old, new] = defaults();
    let initramfs = (scene.release).initramfs_with_etc(&scene.kernel, EtcMode::Merge)?;

    // Before there is one, the machine does not boot, and makes none.
    let outcome = scene.boot(&initramfs, first, &[])?;
    ensure!(outcome.report.is_empty(), "{}", outcome.console_tail(10));
    let refusal = "REFUSED state: ostree/verity/deploy/";
    ensure!(
        outcome.console.contains(refusal),
        "{}",
        outcome.console_tail(10)
    );
    let has_own = scene.on_store(|store| Ok(etc::has_own(store, first)?))?;
    ensure!(!has_own, "a boot made an /etc");

    scene.on_store(|store| {
        let transaction = store.begin(&Silent)?;
        etc::merge(&transaction, first, None, &old)?;
        transaction.finish()?;
        Ok(())
    })?;
    let passwd = "root:x:0:0::/root:/bin/sh\nadmin:x:1000:1000::/home/admin:/bin/sh\n";
    let changes = [
        ("added", write("mine")),
        ("changed", write("mine")),
        ("labelled", EtcChange::Label("mine_t".into())),
        ("mode", EtcChange::Mode(0o600)),
        ("passwd", write(passwd)),
        ("removed", EtcChange::Remove),
    ];
    let report: ProbeReport = scene.boot(&initramfs, first, &changes)?.json()?;
    assert_eq!(report.etc["untouched"], "644 etc_t 1");
    assert_eq!(report.etc.len(), 6, "{:?}", report.etc);
    let mount = (report.mountinfo.lines()).find(|line| line.split(' ').nth(4) == Some("/etc"));
    let options = mount
        .and_then(|line| line.split(' ').nth(5))
        .context("a mount at /etc")?;
    ensure!(
        options.starts_with("rw,nosuid,nodev") && !options.contains("noexec"),
        "{options}"
    );
    let booted = report.booted.context("a record of the boot")?;
    ensure!(
        booted.contains("/etc is kept and verified by nobody"),
        "{booted}"
    );

    // The next boot has the changes.
    let report: ProbeReport = scene.boot(&initramfs, first, &[])?.json()?;
    assert_eq!(report.etc["changed"], "644 etc_t mine");

    scene.on_store(|store| {
        let current = etc::open_own(store, first)?.read_whole(&Silent)?;
        let source = Source {
            old: &old,
            current: &current,
            deployment: Some(first),
        };
        let transaction = store.begin(&Silent)?;
        etc::merge(&transaction, second, Some(source), &new)?;
        transaction.finish()?;
        Ok(())
    })?;
    let report: ProbeReport = scene.boot(&initramfs, second, &[])?.json()?;
    let passwd = format!("644 passwd_t {passwd}");
    let expected = [
        ("changed", "644 etc_t mine"),
        ("labelled", "644 mine_t 2"),
        ("mode", "600 etc_t 2"),
        ("new", "644 new_t 2"),
        ("passwd", &passwd),
        ("untouched", "644 etc_t 2"),
    ];
    let mut found: BTreeMap<&str, &str> = (report.etc.iter())
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let added = found.remove("added").context("what was added")?;
    ensure!(added.ends_with(" mine"), "{added}");
    assert_eq!(found, BTreeMap::from(expected));
    Ok(())
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn tricks_in_a_transient_etc_end_with_the_boot() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let deployment: DeploymentName = scene.release.deployment().parse()?;
    let initramfs = scene.release.initramfs(&scene.kernel, Layer::Erofs)?;
    let pack = scene.release.read_pack()?;
    let default = etc::default_of(&Pack::open(&pack)?.tree()?)?;
    let root = default
        .inode(InodeId::ROOT)
        .as_directory()
        .context("a directory")?;
    let tricks = TRICKS.map(|name| (name, write("canary")));
    for boot in 0..2 {
        let outcome = scene.boot(&initramfs, deployment, &tricks)?;
        ensure!(
            !outcome.console.contains("changing /etc"),
            "{}",
            outcome.console_tail(10)
        );
        let report: ProbeReport = outcome.json()?;
        assert_eq!(report.etc.len(), root.len(), "{boot}: {:?}", report.etc);
        ensure!(
            report.etc.values().all(|text| !text.contains("canary")),
            "{boot}"
        );
    }
    Ok(())
}
