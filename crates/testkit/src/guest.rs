// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program inside a guest is told, and what it reports.
//!
//! A *worker* guest runs a [`Job`] from an initramfs: commands, one after another. The guest
//! program's own commands (`/init mount` and so on) do what a shell would.
//!
//! A *probe* is the same program as the init of a booted test OS: it says what it sees.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::binaries::Program;
use crate::cpio::Archive;
use crate::disk::succeed;
use crate::kernel::GuestKernel;
use crate::manifest::Manifest;
use crate::vm::{Firmware, Tpm, Vm, VmOutcome};

/// Where a worker finds its job.
pub const JOB_PATH: &str = "/job.json";

/// The serial number of the disk that a probe's [`ProbeJob`] is on, as JSON padded with spaces.
pub const PROBE_JOB_DISK: &str = "job";

/// Where a guest that is to trace its boot has the boot program, instead of as `/init`: this file
/// being there tells the guest program to start it under strace, whose output is the report.
pub const TRACED_BOOT_PATH: &str = "/traced-boot";

/// The line of the console that shows that the booted root runs a program.
pub const PROBE_MARKER: &str = "sealroot-guest: the root has started its init";

/// What the line before [`PROBE_MARKER`] begins with: how long the kernel had run then, in nanoseconds.
pub const PROBE_CLOCK: &str = "sealroot-guest: nanoseconds since the start of the kernel: ";

/// This file being there tells the guest program to boot as plain systems do: it loads the
/// initramfs's modules, mounts the disk with the serial number in it, and starts the init there.
pub const PLAIN_BOOT_PATH: &str = "/plain-boot";

/// The list of disks, as JSON, for a machine that tries one after another.
pub const TRIES_PATH: &str = "/tries.json";

/// The guest program on such a machine, which has another `/init`.
pub const TRIES_PROGRAM: &str = "/tries";

/// Where the policies lie, by disk, of those that have another than the initramfs.
pub const POLICIES_PATH: &str = "/policies";

/// Whether the kernel wants a built-in signature of every file with fs-verity.
pub const REQUIRE_SIGNATURES: &str = "/proc/sys/fs/verity/require_signatures";

/// What the line begins with, on console and report, that a try begins with.
pub const TRY_MARKER: &str = "sealroot-guest: now ";

/// Where the magic number of an ext4 filesystem is: disks whose turn has not come have another.
pub const EXT4_MAGIC_AT: u64 = 1080;

/// The serial number of the disk that a [`Job`] for a booted Debian is on, as JSON padded with
/// spaces.
pub const JOB_DISK: &str = "job";

/// Writes something as a disk that a guest reads: JSON padded with spaces.
pub fn write_job_disk(path: &Path, content: &impl Serialize) -> Result<()> {
    const DISK_BYTES: usize = 1 << 20;
    let mut text = serde_json::to_vec(content)?;
    if text.len() > DISK_BYTES {
        bail!("a disk with {} bytes for a guest", text.len());
    }
    text.resize(DISK_BYTES, b' ');
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// What a probe does to its own disk before it looks a second time, as live storage or an
/// intruder with root rights would.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProbeJob {
    /// The serial number of the disk to change.
    pub disk: String,
    /// Positions on the disk, each of a byte to be inverted.
    pub invert_bytes_at: Vec<u64>,
    /// What root does in its `/etc`, by the name there.
    #[serde(default)]
    pub etc: BTreeMap<String, EtcChange>,
}

/// What the kernel's keyring for fs-verity does with what root adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerityKeyring {
    /// It takes it.
    Open,
    /// It refuses.
    Closed,
}

/// A change of something in `/etc`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum EtcChange {
    /// It gets this content.
    Write(String),
    /// It goes.
    Remove,
    /// It gets this SELinux label.
    Label(String),
    /// It gets this mode.
    Mode(u32),
}

/// What a probe, the init of the test OS, found itself booted on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The root without what is mounted on it.
    pub manifest: Manifest,
    /// The digest of its canonical dump, or why there is none.
    pub tree_digest: Result<String, String>,
    /// The mounts, as in `/proc/self/mountinfo`.
    pub mountinfo: String,
    /// What is in `/etc`: mode, label and content of each file, by name.
    pub etc: BTreeMap<String, String>,
    /// All that is in `/etc`, as [`crate::etc_files::read`] tells it.
    #[serde(default)]
    pub etc_files: BTreeMap<String, String>,
    /// What the boot program left in `/run/sealroot/booted.json`.
    pub booted: Option<String>,
    /// PCR 15 of the bank SHA-256, in hex, where there is a TPM.
    #[serde(default)]
    pub pcr_15: Option<String>,
    /// What became of a key that root added to the kernel's keyring for fs-verity.
    #[serde(default)]
    pub verity_keyring: Option<VerityKeyring>,
    /// What [`REQUIRE_SIGNATURES`] says.
    #[serde(default)]
    pub requires_signatures: Option<String>,
    /// The root once more, after the [`ProbeJob`] and with empty caches.
    pub manifest_after_job: Option<Manifest>,
}

impl ProbeReport {
    /// The line of `mountinfo` for the root.
    pub fn root_mount(&self) -> Option<&str> {
        self.mountinfo
            .lines()
            .rfind(|line| line.split(' ').nth(4) == Some("/"))
    }
}

/// Where the modules lie that a worker loads, in the order of their names.
pub const MODULES_PATH: &str = "/modules";

/// Commands for a worker guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// What to run. The first that fails ends the job.
    pub commands: Vec<Vec<String>>,
}

/// What became of one command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandReport {
    /// The command.
    pub command: Vec<String>,
    /// Its exit code; `None` if a signal ended it or it could not be started.
    pub exit_code: Option<i32>,
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    pub errors: String,
    /// How long it took, in milliseconds of the guest's clock.
    pub milliseconds: u64,
    /// How much processor time it took, of its own and of the kernel's, in milliseconds.
    pub cpu_milliseconds: u64,
}

/// What a worker reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JobReport {
    /// The commands run, in order.
    pub commands: Vec<CommandReport>,
}

/// A guest that runs commands from an initramfs.
#[derive(Debug)]
pub struct Worker {
    kernel: GuestKernel,
    archive: Archive,
    job: Job,
    memory_mib: u32,
    processors: u32,
    firmware: Option<(Firmware, Tpm)>,
    disks: Vec<WorkerDisk>,
}

#[derive(Debug)]
struct WorkerDisk {
    serial: String,
    image: PathBuf,
    log: Option<PathBuf>,
}

impl Worker {
    /// A guest with the guest program as `/init` and the modules named and needed, loaded at start.
    pub fn new(kernel: &GuestKernel, modules: &[&str]) -> Result<Self> {
        let mut archive = Archive::new();
        for directory in ["dev", "proc", "sys", "run", "tmp", "mnt"] {
            archive.directory(directory);
        }
        let own = ["virtio_pci", "virtio_blk", "virtio_console"];
        let names: Vec<&str> = own.iter().chain(modules).copied().collect();
        for (index, module) in kernel.modules(&names)?.iter().enumerate() {
            let path = format!("{}/{index:03}-{}.ko", &MODULES_PATH[1..], module.name);
            archive.file(&path, 0o644, &module.bytes);
        }
        let mut worker = Self {
            kernel: kernel.clone(),
            archive,
            job: Job::default(),
            memory_mib: 512,
            processors: 1,
            firmware: None,
            disks: Vec::new(),
        };
        worker.add_file("init", &Program::Guest.build()?)?;
        Ok(worker)
    }

    /// Adds an executable file of the host; `path` is relative to the guest's root.
    pub fn add_file(&mut self, path: &str, source: &Path) -> Result<()> {
        let bytes =
            std::fs::read(source).with_context(|| format!("reading {}", source.display()))?;
        self.archive.file(path, 0o755, &bytes);
        Ok(())
    }

    /// Adds a program of the host, where it is there, with the libraries it loads.
    pub fn add_program(&mut self, program: &Path) -> Result<()> {
        add_program(&mut self.archive, program)
    }

    /// Gives the guest a disk, whose writes are kept, and mounts it at `/mnt/<serial>`.
    pub fn mount(&mut self, serial: &str, image: &Path, kind: &str) {
        self.add_disk(serial, image, None, kind);
    }

    /// Like [`Worker::mount`], with a [log](crate::write_log) of all writes.
    pub fn mount_logged(&mut self, serial: &str, image: &Path, log: &Path, kind: &str) {
        self.add_disk(serial, image, Some(log.to_owned()), kind);
    }

    fn add_disk(&mut self, serial: &str, image: &Path, log: Option<PathBuf>, kind: &str) {
        self.disks.push(WorkerDisk {
            serial: serial.to_owned(),
            image: image.to_owned(),
            log,
        });
        let point = format!("/mnt/{serial}");
        self.command(["/init", "mount", serial, &point, kind]);
    }

    /// Like [`Worker::mount`], of the first partition of the disk.
    pub fn mount_partition(&mut self, serial: &str, image: &Path, kind: &str) {
        self.disks.push(WorkerDisk {
            serial: serial.to_owned(),
            image: image.to_owned(),
            log: None,
        });
        let point = format!("/mnt/{serial}");
        self.command(["/init", "mount-partition", serial, &point, kind]);
    }

    /// Memory of the guest.
    pub const fn memory_mib(&mut self, memory_mib: u32) {
        self.memory_mib = memory_mib;
    }

    /// Gives the guest this firmware and this TPM.
    pub fn firmware(&mut self, firmware: &Firmware, tpm: &Tpm) {
        self.firmware = Some((firmware.clone(), tpm.clone()));
    }

    /// Processors of the guest.
    pub const fn processors(&mut self, processors: u32) {
        self.processors = processors;
    }

    /// Adds a command; `/init` is the guest program itself.
    pub fn command<'w>(&mut self, words: impl IntoIterator<Item = &'w str>) {
        self.job
            .commands
            .push(words.into_iter().map(str::to_owned).collect());
    }

    /// Runs the guest; the reports of its commands, all of which succeeded.
    pub fn run(mut self, time_out: Duration) -> Result<JobReport> {
        let job = serde_json::to_vec(&self.job)?;
        self.archive.file(&JOB_PATH[1..], 0o644, &job);
        let directory = tempfile::tempdir()?;
        let initramfs = directory.path().join("initramfs");
        std::fs::write(&initramfs, self.archive.finish())?;
        let mut vm = Vm::new(&self.kernel)
            .initramfs(&initramfs)
            .memory_mib(self.memory_mib)
            .processors(self.processors);
        if let Some((firmware, tpm)) = &self.firmware {
            vm = vm.firmware(firmware).tpm(tpm);
        }
        for disk in &self.disks {
            vm = match &disk.log {
                None => vm.disk(&disk.serial, &disk.image),
                Some(log) => {
                    fs::File::create(log)?;
                    vm.logged_disk(&disk.serial, &disk.image, log)
                }
            };
        }
        let outcome = vm.run(time_out)?;
        let report: JobReport = outcome.json()?;
        for command in &report.commands {
            if command.exit_code != Some(0) {
                bail!(
                    "in the guest, {:?} ended with {:?}: {}{}\n{}",
                    command.command,
                    command.exit_code,
                    command.output,
                    command.errors,
                    outcome.console_tail(20)
                );
            }
        }
        if report.commands.len() != self.job.commands.len() {
            bail!(
                "the guest ran {} of {} commands",
                report.commands.len(),
                self.job.commands.len()
            );
        }
        Ok(report)
    }
}

impl VmOutcome {
    /// The report as JSON; an error with the end of the console if there is none.
    pub fn json<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        serde_json::from_str(&self.report).with_context(|| {
            format!(
                "the guest ended with {:?} after {:?} and the report {:?}; its console:\n{}",
                self.end,
                self.wall,
                self.report,
                self.console_tail(40)
            )
        })
    }
}

/// Adds a program of this machine to an archive, where it is here, with the libraries it loads.
pub fn add_program(archive: &mut Archive, program: &Path) -> Result<()> {
    let list = succeed(Command::new("ldd").arg(program))?;
    let list = String::from_utf8(list)?;
    let words = list.split_whitespace().map(Path::new);
    let libraries = words.filter(|word| word.is_absolute());
    for path in std::iter::once(program).chain(libraries) {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.to_str().context("a path that is no UTF-8")?;
        archive.file(name.trim_start_matches('/'), 0o755, &bytes);
    }
    Ok(())
}
