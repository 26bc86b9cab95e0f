// SPDX-License-Identifier: MIT OR Apache-2.0
//! A14, A16: the pack is exchanged for another one, or written to, back and forth, while it is
//! opened, authenticated and mounted.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
use rustix::mount::MountAttrFlags;
use sealroot_boot::{BootPlan, Enforcement, Facts, FirmwareState, mount_pack, plan};
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::policy::{Layer, Policy};
use sealroot_sys::mount::FsContext;
use sealroot_sys::verity::measure_verity;

/// A file inside the pack that tells the genuine one from the other.
const TELLTALE: &str = "etc/os-release";

/// Mounts `directory/<digest>.pack` many times while it is becoming `evil.pack` and itself again,
/// as a boot does and, to show that the race is one, by its path. Prints how often each gave what.
///
/// In the mode `sealed` the two exchange their names; in the mode `integrity`, in which the files
/// have no fs-verity, what tells them apart is written into the genuine one.
pub(crate) fn run(
    mode: &str,
    layer: &str,
    directory: &str,
    digest: &str,
    attempts: u32,
) -> Result<()> {
    let genuine = VerityDigest::from_hex(digest).context("a digest")?;
    let plan = boot_plan(mode, layer)?;
    let good = Path::new(directory).join(format!("{genuine}.pack"));
    let evil = Path::new(directory).join("evil.pack");
    let expected = read_telltale(&mount_by_path(&good)?)?;
    ensure!(
        read_telltale(&mount_by_path(&evil)?)? != expected,
        "the packs are the same"
    );

    let ended = AtomicBool::new(false);
    let exchanges = AtomicU64::new(0);
    let mut exchange = exchange(&plan, &good, &evil)?;
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                if exchange() {
                    exchanges.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let result = attempt_all(&plan, directory, genuine, &good, &expected, attempts);
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

/// What makes the pack the evil one, or the genuine one again; it says whether it did.
type Exchange = Box<dyn FnMut() -> bool + Send>;

fn exchange(plan: &BootPlan, good: &Path, evil: &Path) -> Result<Exchange> {
    let (good, evil) = (good.to_owned(), evil.to_owned());
    if plan.enforcement == Enforcement::Kernel {
        return Ok(Box::new(move || {
            renameat_with(CWD, &good, CWD, &evil, RenameFlags::EXCHANGE).is_ok()
        }));
    }
    let (mut next, mut other) = (fs::read(&evil)?, fs::read(&good)?);
    let pairs = next.iter().zip(&other);
    let mut differing = (0..).zip(pairs).filter(|(_, (evil, good))| evil != good);
    let (start, _) = differing.next().context("two packs that differ")?;
    let end = differing.last().map_or(start, |(at, _)| at) + 1;
    let pack = File::options().write(true).open(&good)?;
    Ok(Box::new(move || {
        let written = pack.write_all_at(&next[start..end], start as u64).is_ok();
        std::mem::swap(&mut next, &mut other);
        written
    }))
}

type Counts = [u32; 3];

/// So many times the attempts are made by path until one is fooled.
const PATIENCE: u32 = 5;

fn attempt_all(
    plan: &BootPlan,
    directory: &str,
    genuine: VerityDigest,
    good: &Path,
    expected: &[u8],
    attempts: u32,
) -> Result<[Counts; 2]> {
    let packs = File::open(directory)?;
    let mut counts = [Counts::default(); 2];
    let started = Instant::now();
    for attempt in 0..attempts {
        let as_boot = mount_pack(plan, packs.as_fd(), genuine).ok();
        count(&mut counts[0], as_boot, expected)?;
        if plan.layer != Layer::Erofs || attempt % 4 == 0 {
            count(&mut counts[1], naively(plan, good, genuine)?, expected)?;
        }
        if attempt % 1000 == 0 {
            println!("attempt {attempt} after {:?}", started.elapsed());
        }
    }
    // On a busy machine the two threads seldom meet, and it may take long to be fooled once.
    for _ in 0..PATIENCE * attempts {
        if counts[1][2] > 0 || plan.layer != Layer::Erofs {
            break;
        }
        count(&mut counts[1], naively(plan, good, genuine)?, expected)?;
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
fn naively(plan: &BootPlan, good: &Path, genuine: VerityDigest) -> Result<Option<OwnedFd>> {
    let measured = match plan.enforcement {
        Enforcement::Kernel => measure_verity(File::open(good)?)?
            .sha256()
            .map(VerityDigest::from_bytes),
        Enforcement::AtBoot => Some(compute_verity_digest(&fs::read(good)?)),
    };
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

/// The plan of a boot in a mode and with a layer.
fn boot_plan(mode: &str, layer: &str) -> Result<BootPlan> {
    let percent = if layer == "tmpfs" { "25" } else { "-" };
    let policy = format!(
        "sealroot policy 1\nmode {mode}\nlayer {layer}\ntmpfs-percent {percent}\nroot LABEL=x\n\
          etc transient\nvar volatile\npack sha256:4096:\
          0000000000000000000000000000000000000000000000000000000000000000\n\
          release-index 0\nrelease-epoch 0\nos test\nvariant -\n\
          stream stable\narch x86_64\nepoch-floor 0\n\
         floor-on epoch\nfloor-store -\ntpm-base -\nallow-insecure-boot yes\ncmdline -\n",
    );
    let policy = Policy::parse(policy.as_bytes())?;
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
