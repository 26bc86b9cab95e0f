// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's hardware and kernel: mounts, modules, disks, the report port, power.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount as unmount_path};
use sealroot_testkit::vm::REPORT_PORT;

/// How often, every 10 ms, a device is looked for before it counts as absent.
const DEVICE_TRIES: u32 = 500;

/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`.
const COMPRESSED: i32 = 4;

/// Mounts what every Linux system has, where it is not mounted yet.
pub(crate) fn mount_basics() -> Result<()> {
    for (kind, target, probe) in [
        ("devtmpfs", "/dev", "/dev/null"),
        ("proc", "/proc", "/proc/self"),
        ("sysfs", "/sys", "/sys/class"),
        ("tmpfs", "/run", "/run/."),
    ] {
        let there = Path::new(probe).exists() && kind != "tmpfs" || is_mounted(target);
        if !there {
            mount(kind, target, kind, MountFlags::empty(), None)
                .with_context(|| format!("mounting {target}"))?;
        }
    }
    Ok(())
}

fn is_mounted(target: &str) -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| {
        text.lines()
            .any(|line| line.split(' ').nth(4) == Some(target))
    })
}

pub(crate) fn load_modules(directory: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let file = File::open(&path)?;
        let is_compressed = path.extension().is_none_or(|extension| extension != "ko");
        let flags = if is_compressed { COMPRESSED } else { 0 };
        match rustix::system::finit_module(&file, c"", flags) {
            // There is hardware of which a machine has none.
            Ok(()) | Err(Errno::NODEV) => {}
            Err(errno) => return Err(errno).with_context(|| format!("loading {}", path.display())),
        }
    }
    Ok(())
}

/// Mounts the disk with this serial number.
pub(crate) fn mount_disk(serial: &str, target: &str, kind: &str, read_only: bool) -> Result<()> {
    let device = wait_for(|| find_disk(serial)).with_context(|| format!("no disk {serial}"))?;
    fs::create_dir_all(target).with_context(|| format!("creating {target}"))?;
    let flags = if read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    mount(&device, target, kind, flags, None)
        .with_context(|| format!("mounting {} on {target}", device.display()))
}

/// Mounts the first partition of a disk.
pub(crate) fn mount_partition(serial: &str, target: &str, kind: &str) -> Result<()> {
    let disk = wait_for(|| find_disk(serial)).with_context(|| format!("no disk {serial}"))?;
    let mut device = disk.into_os_string();
    device.push("1");
    let device = PathBuf::from(device);
    wait_for(|| device.exists().then_some(())).context("no partition")?;
    fs::create_dir_all(target).with_context(|| format!("creating {target}"))?;
    mount(&device, target, kind, MountFlags::empty(), None)
        .with_context(|| format!("mounting {} on {target}", device.display()))
}

pub(crate) fn unmount(target: &str) -> Result<()> {
    unmount_path(target, UnmountFlags::empty()).with_context(|| format!("unmounting {target}"))
}

/// The disk with this serial number, if the machine has it.
pub(crate) fn find_disk(serial: &str) -> Option<PathBuf> {
    find_in_class("/sys/class/block", "serial", serial)
}

/// The port that reports go over. Its number says nothing: it is found by name.
pub(crate) fn report_port() -> Result<PathBuf> {
    let find = || find_in_class("/sys/class/virtio-ports", "name", REPORT_PORT);
    wait_for(find).context("no report port")
}

/// Writes the report.
pub(crate) fn report(bytes: &[u8]) -> Result<()> {
    let path = report_port()?;
    let mut port = File::options()
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    port.write_all(bytes).context("writing the report")
}

/// The device of a class that has this value in this attribute.
fn find_in_class(class: &str, attribute: &str, value: &str) -> Option<PathBuf> {
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join(attribute)).ok()?;
        let device = Path::new("/dev").join(entry.file_name());
        (found.trim_end() == value && device.exists()).then_some(device)
    })
}

pub(crate) fn wait_for<T>(mut find: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..DEVICE_TRIES {
        if let Some(found) = find() {
            return Some(found);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Makes the kernel forget what it has read.
pub(crate) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")
}

/// Ends the machine.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    let refused = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    println!("sealroot-guest: cannot power off: {refused:?}");
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &[String]) -> Result<std::process::Output> {
    let [program, arguments @ ..] = command else {
        bail!("an empty command");
    };
    std::process::Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("starting {program}"))
}
