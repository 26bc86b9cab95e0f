// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo: a Debian becomes a signed release, boots verified, and is refused after one bit was
//! flipped. `cargo xtask demo` sets everything up and runs this.

#![forbid(unsafe_code)]

mod debian;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sealroot_format::digest::compute_verity_digest;
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, Filesystem};
use sealroot_testkit::guest::{CommandReport, Worker};
use sealroot_testkit::kernel::{GuestKernel, Series};
use sealroot_testkit::vm::{Vm, VmOutcome};
use serde_json::Value;

use crate::show::{say, shell, step};

/// How the policy names the disk.
const LABEL: &str = "demo-root";

/// The serial number of the disk.
const DISK: &str = "root";

/// Where the physical root is mounted on the machine that deploys.
const SYSROOT: &str = "/mnt/root";

const STORE: &str = "ostree/verity";

const TREE_MIB: u64 = 500;
const DISK_MIB: u64 = 700;

const TIME_OUT: Duration = Duration::from_secs(600);

/// The program whose object gets a flipped bit.
const VICTIM: &str = "usr/bin/bash";

fn main() -> Result<()> {
    let kernel = GuestKernel::find(Series::V6_12)
        .context("there is no guest kernel; run `cargo xtask demo`, which fetches it")?;
    let directory = tempfile::tempdir()?;
    let demo = Demo {
        kernel,
        directory: directory.path().to_owned(),
    };
    demo.run()
}

struct Demo {
    kernel: GuestKernel,
    directory: PathBuf,
}

impl Demo {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn run(&self) -> Result<()> {
        step("1", "A small Debian, as debootstrap makes it");
        let tree = self.at("source/tree");
        debian::copy(&tree)?;
        say("systemd, udev, dbus and a shell: 180 MB, and one unit that shows what it sees");

        step("2", "A key, once");
        self.sealroot(&["keys", "new", "vendor"])?;

        step(
            "3",
            "Built, signed and deployed, on a disk whose ext4 has fs-verity",
        );
        let disk = self.empty_disk()?;
        let commit = self.build(&disk)?;
        let deployment = self.sign_and_deploy(&disk, &commit)?;

        step("4", "An initramfs that verifies before it trusts");
        self.initramfs()?;

        step("5", "It boots");
        let outcome = self.boot(&disk, &deployment)?;
        if !outcome.console.contains(debian::END) {
            bail!("the verified Debian did not come up");
        }

        step("6", "One bit of the shell is flipped on the disk");
        let bash = object_of(&tree.join(VICTIM))?;
        let spoiled = self.flip(&disk, &bash, "shell.ext4")?;
        let outcome = self.boot(&spoiled, &deployment)?;
        let corrupted = outcome.console.contains("FILE CORRUPTED");
        if !corrupted || outcome.console.contains(debian::END) {
            bail!("the flipped bit was not noticed");
        }
        say("The kernel refused to read it: the changed shell never ran.");

        step("7", "One bit of the pack is flipped on the disk");
        let pack = pack(&disk)?;
        let spoiled = self.flip(&disk, &pack, "pack.ext4")?;
        let outcome = self.boot(&spoiled, &deployment)?;
        if !outcome.console.contains("sealroot: REFUSED") {
            bail!("the flipped bit was not refused");
        }
        say("The boot program refused the release: nothing of it ran.");
        println!("\nThat is sealroot. README.md says how to use it for your own tree.");
        Ok(())
    }

    /// Runs the command here, visibly.
    fn sealroot(&self, arguments: &[&str]) -> Result<()> {
        shell("sealroot", arguments);
        let status = Command::new(Program::Sealroot.build()?)
            .args(arguments)
            .current_dir(&self.directory)
            .status()
            .context("starting sealroot")?;
        if !status.success() {
            bail!("sealroot ended with {status}");
        }
        Ok(())
    }

    fn empty_disk(&self) -> Result<Disk> {
        let root = self.at("empty");
        fs::create_dir_all(root.join("ostree/deploy/debian/var"))?;
        let path = self.at("root.ext4");
        let disk = Disk::create(&path, Filesystem::Ext4Verity, DISK_MIB, Some(&root))?;
        disk.set_label(LABEL)?;
        Ok(disk)
    }

    fn build(&self, disk: &Disk) -> Result<String> {
        let source = self.at("source");
        let path = self.at("source.ext4");
        let source = Disk::create(&path, Filesystem::Ext4Verity, TREE_MIB, Some(&source))?;
        let mut worker = self.worker(disk)?;
        worker.mount("source", source.path(), "ext4");
        let arguments = [
            "--sysroot",
            SYSROOT,
            "--json",
            "build",
            "--dir",
            "/mnt/source/tree",
            "--os",
            "debian",
            "--stream",
            "stable",
            "--version",
            "12",
            "--index",
            "1",
        ];
        let reports = in_guest(worker, &[&arguments])?;
        source.remove()?;
        let built: Value = reports
            .first()
            .map(|report| serde_json::from_str(&report.output))
            .context("the build said nothing")??;
        let commit = built.get("commit").and_then(Value::as_str);
        Ok(commit.context("the build gave no commit")?.to_owned())
    }

    fn sign_and_deploy(&self, disk: &Disk, commit: &str) -> Result<String> {
        let common = ["--sysroot", SYSROOT, "--keyset", "/vendor.keyset"];
        let with = |rest: &[&'static str]| -> Vec<&str> {
            let mut arguments = common.to_vec();
            arguments.extend(rest);
            arguments.insert(common.len() + 1, commit);
            arguments
        };
        let commands = [
            with(&["sign", "--key", "/vendor.secret"]),
            with(&["verify", "--full"]),
            with(&["deploy"]),
        ];
        let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
        in_guest(self.worker(disk)?, &commands)?;
        Ok(format!("{commit}.0"))
    }

    /// A machine with the disk and the command, for what needs a kernel with fs-verity.
    fn worker(&self, disk: &Disk) -> Result<Worker> {
        let mut worker = Worker::new(&self.kernel, &[])?;
        worker.memory_mib(1024);
        worker.add_file("sealroot", &Program::Sealroot.build()?)?;
        for name in ["vendor.secret", "vendor.keyset"] {
            worker.add_file(name, &self.at(name))?;
        }
        worker.mount(DISK, disk.path(), "ext4");
        Ok(worker)
    }

    fn initramfs(&self) -> Result<()> {
        let modules = self.kernel.modules_directory();
        let modules = modules
            .to_str()
            .context("the path of the modules is text")?;
        let boot_program = Program::Boot.build()?;
        let boot_program = boot_program
            .to_str()
            .context("the path of the program is text")?;
        let root = format!("LABEL={LABEL}");
        self.sealroot(&[
            "--keyset",
            "vendor.keyset",
            "initramfs",
            "--output",
            "initramfs.img",
            "--modules",
            modules,
            "--boot-program",
            boot_program,
            "--mode",
            "sealed",
            "--root",
            &root,
            "--stateroot",
            "debian",
            "--os",
            "debian",
            "--stream",
            "stable",
            "--arch",
            "x86_64",
            "--allow-insecure-boot",
        ])
    }

    fn boot(&self, disk: &Disk, deployment: &str) -> Result<VmOutcome> {
        let cmdline = format!(
            "console=ttyS0 panic=-1 loglevel=4 TERM=dumb systemd.unit={} sealroot={deployment}",
            debian::TARGET
        );
        say(&format!("boots with: {cmdline}\n"));
        Vm::new(&self.kernel)
            .initramfs(&self.at("initramfs.img"))
            .cmdline(&cmdline)
            .memory_mib(1024)
            .scratch_disk(DISK, disk.path())
            .echo()
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .stop_at(debian::END)
            .stop_at(debian::FAILED)
            .run(TIME_OUT)
            .inspect(|_| println!())
    }

    /// A copy of the disk on which one bit of a file is another.
    fn flip(&self, disk: &Disk, path: &str, name: &str) -> Result<Disk> {
        const BYTE: usize = 1100;
        let copy = disk.copy_to(&self.at(name))?;
        let block = copy.block_of(path, 0)?;
        copy.patch_block(block, |bytes| bytes[BYTE] ^= 1)?;
        say(&format!("bit 0 of byte {BYTE} of {path}"));
        Ok(copy)
    }
}

fn in_guest(mut worker: Worker, commands: &[&[&str]]) -> Result<Vec<CommandReport>> {
    say("(in a virtual machine, since this takes a kernel with fs-verity)");
    for arguments in commands {
        worker.command(["/sealroot"].iter().chain(*arguments).copied());
    }
    worker.command(["/init", "umount", SYSROOT]);
    let reports = worker.run(TIME_OUT)?.commands;
    let reports: Vec<CommandReport> = (reports.into_iter())
        .filter(|report| {
            report
                .command
                .first()
                .is_some_and(|word| word == "/sealroot")
        })
        .collect();
    for (report, arguments) in reports.iter().zip(commands) {
        shell("sealroot", arguments);
        print!("{}{}", report.output, report.errors);
    }
    Ok(reports)
}

/// The object of a file of the tree, on the disk.
fn object_of(file: &Path) -> Result<String> {
    let digest = compute_verity_digest(&fs::read(file)?).to_hex();
    let (directory, name) = digest.split_at(2);
    Ok(format!("/{STORE}/objects/{directory}/{name}.file"))
}

/// The only pack, on the disk.
fn pack(disk: &Disk) -> Result<String> {
    disk.mounted(|root| {
        for entry in fs::read_dir(root.join(STORE).join("pack"))? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".pack") {
                return Ok(format!("/{STORE}/pack/{name}"));
            }
        }
        bail!("there is no pack");
    })
}
