// SPDX-License-Identifier: MIT OR Apache-2.0
//! Adoption where the kernel has fs-verity, on a filesystem that is mounted read-only as OSTree
//! keeps it; `ostree fsck` judges.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::content;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::{JobReport, Worker};
use sealroot_testkit::kernel::{GuestKernel, Series};
use sealroot_testkit::need;

const TOOLS: [&str; 6] = ["ostree", "fsverity", "dash", "mount", "touch", "tr"];

const FOUND: &str = "it was found before";

/// Large files of the tree.
const FILES: u64 = 40;

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_commit_is_adopted_and_given_back_on_ext4() -> Result<()> {
    adopt(Filesystem::Ext4Verity, "ext4", &[])
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_commit_is_adopted_and_given_back_on_btrfs() -> Result<()> {
    adopt(Filesystem::Btrfs, "btrfs", &["btrfs"])
}

fn adopt(filesystem: Filesystem, kind: &str, modules: &[&str]) -> Result<()> {
    let Some(kernel) = GuestKernel::find(Series::V6_12) else {
        return Ok(());
    };
    if !need::root() || TOOLS.iter().any(|name| need::tool(name).is_none()) {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let object = make_sysroot(directory.path())?;
    let image = directory.path().join("disk");
    let disk = Disk::create(
        &image,
        filesystem,
        512,
        Some(&directory.path().join("root")),
    );
    // OSTree makes the roots of its deployments immutable.
    let deployments = "root/ostree/deploy/exampleos/deploy";
    for entry in fs::read_dir(directory.path().join(deployments))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let name = entry.file_name();
            run(
                directory.path(),
                "chattr",
                &format!("-i {deployments}/{}", name.display()),
            )?;
        }
    }
    let mut worker = Worker::new(&kernel, modules)?;
    worker.add_file("sealroot", &Program::Sealroot.build()?)?;
    worker.add_file("keyset", &directory.path().join("vendor.keyset"))?;
    for name in TOOLS {
        worker.add_program(&need::find_tool(name).context(FOUND)?)?;
    }
    worker.mount("root", disk?.path(), kind);
    let script = SCRIPT.replace("OBJECT", &object);
    let shell = need::find_tool("dash").context(FOUND)?;
    let shell = shell.to_str().context("a path that is no UTF-8")?;
    worker.command([shell, "-e", "-c", &script]);
    let report = worker.run(Duration::from_secs(500))?;
    judge(&report)
}

/// What is done in the guest; each line of its output is one answer.
const SCRIPT: &str = r#"
s="/sealroot --sysroot /mnt/root --keyset /keyset --json"
f="ostree --repo=/mnt/root/ostree/repo fsck --quiet"
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH
# One file has fs-verity of another kind already: it can only be copied.
fsverity enable --salt=01 /mnt/root/ostree/repo/objects/OBJECT
mount -o remount,bind,ro /mnt/root
one_line() { tr -d '\n'; echo; }
$s adopt --dry-run | one_line
test ! -e /mnt/root/ostree/verity
$s adopt | one_line
! touch /mnt/root/touched 2>/dev/null
mount -o remount,bind,rw /mnt/root
$f >/dev/null
$s check --full | one_line
$s adopt | one_line
$s revert --yes --run /run/none | one_line
test ! -e /mnt/root/ostree/verity
$f >/dev/null
$s adopt | one_line
"#;

fn judge(report: &JobReport) -> Result<()> {
    let output = &report.commands.last().context("a report")?.output;
    let answers: Vec<serde_json::Value> = output
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let [looked, adopted, check, again, reverted, anew] = answers.as_slice() else {
        anyhow::bail!("{output}");
    };
    ensure!(looked["has_verity"] == true, "{looked}");
    ensure!(looked["done"].is_null(), "{looked}");
    let done = &adopted["done"];
    ensure!(done["linked_objects"] == FILES - 1, "{done}");
    let copied = done["copied"].as_array().context("a list")?;
    ensure!(copied.len() == 1, "{done}");
    ensure!(
        copied[0][1]
            .as_str()
            .is_some_and(|why| why.contains("another kind")),
        "{done}"
    );
    ensure!(done["deployment"].is_string(), "{done}");
    let bytes = |of: &serde_json::Value, key: &str| of[key].as_u64().unwrap_or_default();
    // That one file cannot be taken shows only when it is tried.
    let foreseen = bytes(looked, "verity_bytes") + bytes(done, "added_bytes");
    ensure!(
        bytes(done, "extra_verity_bytes") <= foreseen,
        "{done}, {looked}"
    );
    ensure!(
        check["findings"].as_array().is_some_and(Vec::is_empty),
        "{check}"
    );
    ensure!(
        again["done"]["is_new"] == false && again["done"]["linked_objects"] == 0,
        "{again}"
    );
    ensure!(
        reverted["removed_refs"]
            .as_array()
            .is_some_and(|refs| refs.len() == 1),
        "{reverted}"
    );
    ensure!(anew["done"]["linked_objects"] == FILES - 1, "{anew}");
    println!("before: {looked}\nafter: {done}");
    Ok(())
}

/// A sysroot that OSTree has deployed to, in `root`, with a signed statement of its commit; the
/// path of one of its large objects.
fn make_sysroot(directory: &Path) -> Result<String> {
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.join("tree").join(name);
        fs::create_dir_all(path.parent().context("a directory")?)?;
        fs::write(path, bytes).context("writing the tree")
    };
    for number in 0..FILES {
        let size = 5000 + 9000 * usize::try_from(number)?;
        file(&format!("usr/lib/{number}"), &content::bytes(number, size))?;
    }
    file("usr/etc/hostname", b"example\n")?;
    file("usr/lib/os-release", b"ID=exampleos\n")?;
    file("usr/lib/modules/6.1.0/vmlinuz", b"kernel")?;
    file("usr/lib/modules/6.1.0/initramfs.img", b"initramfs")?;
    for name in ["root/boot", "root/ostree/deploy", "root/ostree/repo"] {
        fs::create_dir_all(directory.join(name))?;
    }
    let sealroot = Program::Sealroot.build()?;
    let sealroot = sealroot.to_str().context("a path that is no UTF-8")?;
    for (program, line) in [
        ("ostree", "--repo=root/ostree/repo init --mode=bare"),
        ("ostree", "admin os-init exampleos --sysroot=root"),
        (
            "ostree",
            "--repo=root/ostree/repo commit --branch=main --no-xattrs --tree=dir=tree",
        ),
        (
            "ostree",
            "admin deploy main --os=exampleos --karg=quiet --sysroot=root",
        ),
        (sealroot, "keys new vendor"),
        (
            sealroot,
            "--store vendor build --ostree root/ostree/repo main --os exampleos --stream stable \
             --index 1",
        ),
        (
            sealroot,
            "--store vendor sign --ostree root/ostree/repo main --key vendor.secret",
        ),
    ] {
        run(directory, program, line)?;
    }
    let objects = directory.join("root/ostree/repo/objects");
    for first in fs::read_dir(objects)? {
        let first = first?;
        for object in fs::read_dir(first.path())? {
            let object = object?;
            if object.metadata()?.len() == 14_000 {
                let (first, rest) = (first.file_name(), object.file_name());
                return Ok(format!("{}/{}", first.display(), rest.display()));
            }
        }
    }
    anyhow::bail!("there is no object of 14000 bytes")
}

fn run(directory: &Path, program: &str, line: &str) -> Result<()> {
    let output = Command::new(program)
        .args(line.split_whitespace())
        .current_dir(directory)
        .output()
        .with_context(|| format!("starting {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {line}: {errors}");
    Ok(())
}
