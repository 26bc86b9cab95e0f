// SPDX-License-Identifier: MIT OR Apache-2.0
//! A14: the pack is exchanged for another one, back and forth, while it is opened, authenticated
//! and mounted.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
use rustix::mount::MountAttrFlags;
use sealroot_boot::{BootPlan, Facts, FirmwareState, mount_pack, plan};
use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::Policy;
use sealroot_sys::mount::FsContext;
use sealroot_sys::verity::measure_verity;

/// A file inside the pack that tells the genuine one from the other.
const TELLTALE: &str = "etc/os-release";

/// Mounts `directory/<digest>.pack` many times while it is being exchanged for `evil.pack`, as a
/// boot does and, to show that the race is one, by its path. Prints how often each gave what.
pub(crate) fn run(directory: &str, digest: &str, attempts: u32) -> Result<()> {
    let genuine = VerityDigest::from_hex(digest).context("a digest")?;
    let good = Path::new(directory).join(format!("{genuine}.pack"));
    let evil = Path::new(directory).join("evil.pack");
    let expected = read_telltale(&mount_by_path(&good)?)?;
    ensure!(
        read_telltale(&mount_by_path(&evil)?)? != expected,
        "the packs are the same"
    );

    let ended = AtomicBool::new(false);
    let exchanges = AtomicU64::new(0);
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                if renameat_with(CWD, &good, CWD, &evil, RenameFlags::EXCHANGE).is_ok() {
                    exchanges.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let result = attempt_all(directory, genuine, &good, &expected, attempts);
        ended.store(true, Ordering::Relaxed);
        result
    });
    let [as_boot, by_path] = result?;
    println!("exchanges {}", exchanges.load(Ordering::Relaxed));
    println!(
        "boot good {} refused {} evil {}",
        as_boot[0], as_boot[1], as_boot[2]
    );
    println!(
        "path good {} refused {} evil {}",
        by_path[0], by_path[1], by_path[2]
    );
    Ok(())
}

type Counts = [u32; 3];

fn attempt_all(
    directory: &str,
    genuine: VerityDigest,
    good: &Path,
    expected: &[u8],
    attempts: u32,
) -> Result<[Counts; 2]> {
    let plan = boot_plan()?;
    let packs = File::open(directory)?;
    let mut counts = [Counts::default(); 2];
    let started = Instant::now();
    for attempt in 0..attempts {
        let as_boot = mount_pack(&plan, packs.as_fd(), genuine).ok();
        count(&mut counts[0], as_boot, expected)?;
        if attempt % 4 == 0 {
            count(&mut counts[1], naively(good, genuine)?, expected)?;
        }
        if attempt % 1000 == 0 {
            println!("attempt {attempt} after {:?}", started.elapsed());
        }
    }
    Ok(counts)
}

fn count(counts: &mut Counts, mount: Option<OwnedFd>, expected: &[u8]) -> Result<()> {
    let slot = match mount {
        None => 1,
        Some(mount) if read_telltale(&mount)? == expected => 0,
        Some(_) => 2,
    };
    counts[slot] += 1;
    Ok(())
}

/// Measures and mounts by path: what must not be done.
fn naively(good: &Path, genuine: VerityDigest) -> Result<Option<OwnedFd>> {
    let measured = measure_verity(File::open(good)?)?
        .sha256()
        .map(VerityDigest::from_bytes);
    if measured != Some(genuine) {
        return Ok(None);
    }
    mount_by_path(good).map(Some)
}

fn mount_by_path(pack: &Path) -> Result<OwnedFd> {
    let context = FsContext::open("erofs")?;
    context.set_string("source", pack.to_str().context("a path in UTF-8")?)?;
    context.set_flag("ro")?;
    Ok(context.create_mount(MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

fn read_telltale(mount: &OwnedFd) -> Result<Vec<u8>> {
    let file = openat(
        mount,
        TELLTALE,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut File::from(file), &mut bytes)?;
    Ok(bytes)
}

/// The plan of a boot with the layer `erofs` and fs-verity.
fn boot_plan() -> Result<BootPlan> {
    let policy = Policy::parse(
        b"sealroot policy 1\nmode sealed\nlayer erofs\ntmpfs-percent -\nroot LABEL=x\n\
          etc transient\nvar volatile\npack sha256:4096:\
          0000000000000000000000000000000000000000000000000000000000000000\nos test\nvariant -\n\
          stream stable\narch x86_64\nepoch-floor 0\nallow-insecure-boot yes\ncmdline -\n",
    )?;
    let facts = Facts {
        cmdline: fs::read("/proc/cmdline")?,
        firmware: FirmwareState::Unknown,
        locked_down: false,
        kernel: "any".into(),
        memory_bytes: 1 << 29,
    };
    match plan(&policy, &facts) {
        Ok(plan) => Ok(plan),
        Err(refusal) => bail!("{refusal}"),
    }
}
