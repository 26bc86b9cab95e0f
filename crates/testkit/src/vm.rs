// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual machines under QEMU's own emulation, so that no hardware support is needed.
//!
//! The console is captured whole; results come over a virtio-serial port, which works whatever
//! the guest makes of its console. A machine ends with its guest, at a marker on the console, or
//! when its time is up, and in any case before [`Vm::run`] returns: it is killed by its process
//! id, and the kernel kills it should this process die.

mod abort;
mod drive;
mod fickle;
mod firmware;
mod slot;
mod start;
mod tpm;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use abort::{EmulatorAborted, despite_aborts};
pub use drive::LOG_SECTOR_BYTES;
use drive::{DiskUse, Writes};
pub use fickle::FickleDisk;
pub use firmware::{EnrolledKeys, Firmware};
use slot::Slot;
use start::Start;
pub use tpm::Tpm;

use crate::kernel::GuestKernel;
use crate::need;

/// The name of the port that reports come over.
pub const REPORT_PORT: &str = "org.sealroot.report";

/// A machine to be run, possibly several times.
#[derive(Clone, Debug)]
pub struct Vm {
    start: Start,
    tpm: Option<Tpm>,
    memory_mib: u32,
    processors: u32,
    counts_instructions: bool,
    disks: Vec<DiskUse>,
    strings: Vec<String>,
    stop_at: Vec<String>,
    power_cut: Option<(String, Delay)>,
    echo: bool,
}

/// How long after something a machine is killed.
#[derive(Clone, Copy, Debug)]
pub enum Delay {
    /// This long.
    Time(Duration),
    /// This share of how long the machine had been running by then, in thousandths: what takes twice
    /// as long where the machine is slow or busy is met at the same place.
    OfUptime(u32),
}

impl Delay {
    fn after(self, uptime: Duration) -> Duration {
        match self {
            Self::Time(time) => time,
            Self::OfUptime(thousandths) => uptime * thousandths / 1000,
        }
    }
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmEnd {
    /// The guest powered off, rebooted or panicked.
    Ended,
    /// A marker given to [`Vm::stop_at`] appeared on the console.
    Marker(String),
    /// The power failed, as [`Vm::cut_power`] had told.
    PowerCut,
    /// The time was up.
    TimedOut,
}

/// What is left of a machine that has been run.
#[derive(Clone, Debug)]
pub struct VmOutcome {
    /// Everything on the serial console, without carriage returns.
    pub console: String,
    /// Everything that came over the port [`REPORT_PORT`].
    pub report: String,
    /// How it ended.
    pub end: VmEnd,
    /// How long it ran.
    pub wall: Duration,
}

impl VmOutcome {
    /// The last lines of the console, for messages.
    pub fn console_tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.console.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Vm {
    /// A machine with this kernel, 512 MiB of memory and nothing else.
    pub fn new(kernel: &GuestKernel) -> Self {
        Self::start(Start::Kernel {
            kernel: kernel.clone(),
            initramfs: None,
            cmdline: "console=ttyS0 panic=-1 loglevel=5 no_timer_check".into(),
            firmware: None,
        })
    }

    /// A machine that boots from its disks, with 512 MiB of memory.
    pub fn with_firmware(firmware: &Firmware) -> Self {
        Self::start(Start::Firmware(firmware.clone()))
    }

    const fn start(start: Start) -> Self {
        Self {
            start,
            tpm: None,
            memory_mib: 512,
            processors: 1,
            counts_instructions: false,
            disks: Vec::new(),
            strings: Vec::new(),
            stop_at: Vec::new(),
            power_cut: None,
            echo: false,
        }
    }

    /// The initramfs file of a machine that is given its kernel.
    #[must_use]
    pub fn initramfs(mut self, path: &Path) -> Self {
        if let Start::Kernel { initramfs, .. } = &mut self.start {
            *initramfs = Some(path.to_owned());
        }
        self
    }

    /// Replaces the kernel command line of a machine that is given its kernel.
    #[must_use]
    pub fn cmdline(mut self, text: &str) -> Self {
        if let Start::Kernel { cmdline, .. } = &mut self.start {
            text.clone_into(cmdline);
        }
        self
    }

    /// Adds to the kernel command line of a machine that is given its kernel.
    #[must_use]
    pub fn arguments(mut self, text: &str) -> Self {
        if let Start::Kernel { cmdline, .. } = &mut self.start {
            cmdline.push(' ');
            cmdline.push_str(text);
        }
        self
    }

    /// The kernel command line of a machine that is given its kernel; empty of another.
    pub fn command_line(&self) -> &str {
        match &self.start {
            Start::Kernel { cmdline, .. } => cmdline,
            Start::Firmware(_) => "",
        }
    }

    /// UEFI firmware for a machine that is given its kernel: its variables are there, and nothing
    /// of what is started is verified.
    #[must_use]
    pub fn firmware(mut self, of: &Firmware) -> Self {
        if let Start::Kernel { firmware, .. } = &mut self.start {
            *firmware = Some(of.clone());
        }
        self
    }

    /// The TPM of the machine.
    #[must_use]
    pub fn tpm(mut self, tpm: &Tpm) -> Self {
        self.tpm = Some(tpm.clone());
        self
    }

    /// Memory of the machine.
    #[must_use]
    pub const fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Has time pass in the machine by what it does: a nanosecond for each instruction, none while it
    /// waits.
    #[must_use]
    pub const fn count_instructions(mut self) -> Self {
        self.counts_instructions = true;
        self
    }

    /// Processors of the machine.
    #[must_use]
    pub const fn processors(mut self, processors: u32) -> Self {
        self.processors = processors;
        self
    }

    /// Adds a disk that keeps what the guest writes.
    #[must_use]
    pub fn disk(self, serial: &str, path: &Path) -> Self {
        self.add_disk(serial, path, Writes::Kept)
    }

    /// Adds a disk whose image stays as it is: what the guest writes is gone with the machine.
    #[must_use]
    pub fn scratch_disk(self, serial: &str, path: &Path) -> Self {
        self.add_disk(serial, path, Writes::Dropped)
    }

    /// Adds a disk that keeps what the guest writes, which is logged too, with all flushes.
    #[must_use]
    pub fn logged_disk(self, serial: &str, path: &Path, log: &Path) -> Self {
        self.add_disk(serial, path, Writes::Logged(log.to_owned()))
    }

    /// Adds a disk that answers two reads of one place differently.
    #[must_use]
    pub fn fickle_disk(self, serial: &str, disk: &FickleDisk) -> Self {
        self.add_disk(serial, disk.socket(), Writes::Served)
    }

    /// The machine without the disk of this serial number.
    #[must_use]
    pub fn without_disk(mut self, serial: &str) -> Self {
        self.disks.retain(|disk| disk.serial != serial);
        self
    }

    fn add_disk(mut self, serial: &str, path: &Path, use_of_writes: Writes) -> Self {
        self.disks.push(DiskUse {
            serial: serial.to_owned(),
            path: path.to_owned(),
            use_of_writes,
        });
        self
    }

    /// Adds a string of the machine's maker, which nobody vouches for (SMBIOS type 11).
    #[must_use]
    pub fn maker_string(mut self, text: &str) -> Self {
        self.strings.push(text.to_owned());
        self
    }

    /// Ends the machine as soon as this text appears on its console.
    #[must_use]
    pub fn stop_at(mut self, marker: &str) -> Self {
        self.stop_at.push(marker.to_owned());
        self
    }

    /// Kills the machine some time after this text appears on its console.
    #[must_use]
    pub fn cut_power(mut self, marker: &str, after: Delay) -> Self {
        self.power_cut = Some((marker.to_owned(), after));
        self
    }

    /// Shows the console on standard output while it runs.
    #[must_use]
    pub const fn echo(mut self) -> Self {
        self.echo = true;
        self
    }

    /// Runs the machine until it ends or `time_out` has passed.
    pub fn run(&self, time_out: Duration) -> Result<VmOutcome> {
        let _slot = Slot::take();
        let directory = tempfile::tempdir()?;
        let report = directory.path().join("report");
        let errors = directory.path().join("errors");
        let started = Instant::now();
        let mut command = self.command(&report)?;
        let socket = directory.path().join("tpm");
        let tpm = self.tpm.as_ref();
        let _tpm = tpm
            .map(|tpm| tpm.add_to(&mut command, &socket))
            .transpose()?;
        let mut machine = Machine(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(fs::File::create(&errors)?)
                .spawn()
                .context("starting QEMU")?,
        );
        let output = machine
            .0
            .stdout
            .take()
            .context("QEMU's console is a pipe")?;
        let (sender, receiver) = channel();
        let reader = thread::spawn(move || forward(output, |chunk| sender.send(chunk).is_ok()));
        let (mut console, end) = self.watch(&receiver, started, time_out);
        let status = match end {
            VmEnd::Ended => Some(machine.0.wait()?),
            VmEnd::Marker(_) | VmEnd::PowerCut | VmEnd::TimedOut => None,
        };
        drop(machine);
        for chunk in receiver {
            console.extend(chunk);
        }
        let _ = reader.join();
        if let Some(status) = status.filter(|status| !status.success()) {
            let said = fs::read_to_string(&errors)?;
            if status.signal() == Some(abort::SIGABRT) {
                return Err(EmulatorAborted(said).into());
            }
            bail!("QEMU ended with {status}: {said}");
        }
        Ok(VmOutcome {
            console: String::from_utf8_lossy(&console).replace('\r', ""),
            report: String::from_utf8_lossy(&fs::read(&report).unwrap_or_default()).into_owned(),
            end,
            wall: started.elapsed(),
        })
    }

    fn watch(
        &self,
        receiver: &Receiver<Vec<u8>>,
        started: Instant,
        time_out: Duration,
    ) -> (Vec<u8>, VmEnd) {
        let deadline = started + time_out;
        let mut console = Vec::new();
        let mut power_cut = None;
        loop {
            let end = power_cut.unwrap_or(deadline);
            let left = end.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(chunk) => {
                    if self.echo {
                        show(&chunk, &mut io::stdout().lock());
                    }
                    console.extend(chunk);
                }
                Err(RecvTimeoutError::Timeout) if power_cut.is_some() => {
                    return (console, VmEnd::PowerCut);
                }
                Err(RecvTimeoutError::Timeout) => return (console, VmEnd::TimedOut),
                Err(RecvTimeoutError::Disconnected) => return (console, VmEnd::Ended),
            }
            let text = String::from_utf8_lossy(&console);
            if let Some(marker) = self.stop_at.iter().find(|marker| text.contains(*marker)) {
                let end = VmEnd::Marker(marker.clone());
                drop(text);
                return (console, end);
            }
            if let Some((marker, after)) = &self.power_cut
                && power_cut.is_none()
                && text.contains(marker)
            {
                let after = after.after(started.elapsed());
                power_cut = Some((Instant::now() + after).min(deadline));
            }
        }
    }

    fn command(&self, report: &Path) -> Result<Command> {
        let qemu = need::find_tool("qemu-system-x86_64").context("QEMU is missing")?;
        // setpriv becomes QEMU: the process id stays, and the signal is set.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(qemu);
        command.args(["-machine", self.start.machine(), "-cpu", "max"]);
        command.args(["-smp", &self.processors.to_string()]);
        if self.counts_instructions {
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        command.args(["-m", &format!("{}M", self.memory_mib)]);
        command.args([
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-monitor",
            "none",
        ]);
        command.args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]);
        command.args(["-device", "virtio-serial-pci", "-chardev"]);
        command.arg(format!("file,id=report,path={}", escaped(report)?));
        command.arg("-device");
        command.arg(format!("virtserialport,chardev=report,name={REPORT_PORT}"));
        for (index, disk) in self.disks.iter().enumerate() {
            command.arg("-drive").arg(disk.drive(index)?);
            let boot_order = match self.start {
                Start::Firmware(_) => format!(",bootindex={index}"),
                Start::Kernel { .. } => String::new(),
            };
            command.arg("-device");
            command.arg(format!(
                "virtio-blk-pci,drive=disk{index},serial={}{boot_order}",
                disk.serial
            ));
        }
        for text in &self.strings {
            let value = text.replace(',', ",,");
            command.args(["-smbios", &format!("type=11,value={value}")]);
        }
        self.start.add_to(&mut command)?;
        Ok(command)
    }
}

/// In QEMU's options a comma is written twice.
fn escaped(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.replace(',', ",,"))
}

fn forward(mut from: impl Read, mut to: impl FnMut(Vec<u8>) -> bool) {
    let mut buffer = vec![0; 65536];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || !to(buffer[..count].to_vec()) {
            return;
        }
    }
}

/// A running QEMU, killed by its process id when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hands on what came from a console: bytes, for a chunk may end within a character.
fn show(chunk: &[u8], out: &mut impl Write) {
    let mut lines = chunk.split(|byte| *byte == b'\r');
    // Who has closed the output does not want to see it.
    let _ = lines.try_for_each(|part| out.write_all(part));
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    #[test]
    fn characters_survive_the_end_of_a_chunk() {
        let text = "gr\u{fc}n\r\n\u{2192}\r\n";
        for at in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            let mut shown = Vec::new();
            super::show(first, &mut shown);
            super::show(second, &mut shown);
            assert_eq!(shown, "gr\u{fc}n\n\u{2192}\n".as_bytes(), "{at}");
        }
    }
}
