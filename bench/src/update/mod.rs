// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an update costs: bytes, requests, and the time of those who make and apply it, beside OSTree's
//! static deltas.

mod casync;
mod chain;
mod normalized;
mod ostree;
mod repacked;
mod whole;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use sealroot_testkit::need;

use self::normalized::Kernel;
use self::ostree::OsTree;
use crate::measure::{Contestant, Run, hardlinked, measure, run_once};
use crate::memory::{mib, peak_in, watched};
use crate::report::{Limit, Report, ms};
use crate::setting::Setting;
use crate::vendor::{QUICKLY, Traffic, Vendor, json, number, traffic};

/// An update, and what is demanded of it.
struct Update {
    name: &'static str,
    directory: &'static str,
    /// What is demanded beside OSTree, which makes no delta of a whole system in sensible time.
    beside_ostree: Option<Demands>,
}

struct Demands {
    /// Of the bytes of OSTree's delta.
    bytes: f64,
    /// What of it may be for the pack, bytes.
    pack_bytes: u64,
    /// Of the CPU time that making and applying OSTree's takes.
    make: Option<f64>,
    apply: Option<f64>,
    normalized: &'static [normalized::Demands],
}

const UPDATES: [Update; 3] = [
    Update {
        name: "a month of updates and a kernel",
        directory: "update-batch",
        beside_ostree: Some(Demands {
            bytes: 0.78,
            pack_bytes: 500_000,
            make: Some(0.3),
            apply: Some(0.8),
            // The kernel as it is shipped is packed with xz, and comes whole.
            normalized: &[
                normalized::Demands {
                    kernel: Kernel::AsShipped,
                    bytes: None,
                    apply: Some(0.8),
                    pack_bytes: 100_000,
                },
                normalized::Demands {
                    kernel: Kernel::Zstd,
                    bytes: Some(0.58),
                    apply: Some(0.8),
                    pack_bytes: 100_000,
                },
            ],
        }),
    },
    Update {
        name: "the next kernel, modules decompressed",
        directory: "update-kernel",
        beside_ostree: Some(Demands {
            bytes: 0.55,
            pack_bytes: 20_000,
            make: None,
            apply: None,
            normalized: &[normalized::Demands {
                kernel: Kernel::AsShipped,
                bytes: Some(0.20),
                // Its kernel is packed with zstd -22, and opened.
                apply: None,
                pack_bytes: 20_000,
            }],
        }),
    },
    Update {
        name: "the next Debian",
        directory: "update-major",
        beside_ostree: None,
    },
];

/// Requests of an update with a delta: channel, statement, and the delta's head and rest.
const MOST_REQUESTS: u64 = 4;

/// What making a delta may hold resident.
const MAX_MAKING_BYTES: u64 = 1 << 30;

const ROUNDS: usize = 3;

const OSTREE: &str = "ostree static-delta apply-offline";

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let version = ostree::version()?;
    report.section("Updates");
    report.line(format_args!(
        "Ours are fetched by `pull` from a directory with everything that a client asks for. OSTree's is one inline \
         delta with bsdiff; {version}. Making is measured once, applying in the median of {} rounds.\n",
        setting.rounds(ROUNDS)
    ));
    let (mut rows, mut normalized_rows) = (Vec::new(), Vec::new());
    for update in &UPDATES {
        let trees = need::cache().join(update.directory);
        if !trees.is_dir() {
            continue;
        }
        let (row, their_bytes) = one(setting, update, &trees, report)?;
        rows.push(row);
        if let (Some(demands), Some(their_bytes)) = (&update.beside_ostree, their_bytes) {
            for demands in demands.normalized {
                let update = (update.name, demands);
                let row = normalized::measure(setting, update, &trees, their_bytes, report)?;
                normalized_rows.push(row);
            }
        }
    }
    let head = [
        "update",
        "bytes",
        "for the pack",
        "requests",
        "OSTree's bytes",
        "ours",
        "making, CPU ms",
        "OSTree's",
    ];
    report.table(head, rows);
    report.table(normalized::HEAD, normalized_rows);
    let batch = need::cache().join("update-batch");
    let oldest = need::cache().join("update-older/old");
    if batch.is_dir() && oldest.is_dir() {
        let trees = [&oldest, &batch.join("old"), &batch.join("new")];
        chain::measure(setting, trees.map(PathBuf::as_path), report)?;
    }
    Ok(())
}

/// A row of the table, and the bytes of OSTree's delta.
fn one(
    setting: &Setting,
    update: &Update,
    trees: &Path,
    report: &mut Report,
) -> Result<([String; 8], Option<u64>)> {
    let name = update.name;
    let scratch = setting.scratch()?;
    let ours = Ours::new(setting, trees, scratch.path())?;
    let theirs = update.beside_ostree.as_ref().map(|demands| {
        let theirs = Theirs::new(trees, scratch.path())?;
        let repositories = &theirs.repositories;
        whole::measure(name, &ours, repositories, trees, scratch.path(), report)?;
        anyhow::Ok((demands, theirs))
    });
    let theirs = theirs.transpose()?;
    ours.vendor.publish(&ours.new, &QUICKLY)?;

    let runs = scratch.path().join("runs");
    fs::create_dir(&runs)?;
    let mut contestants = vec![pulling(&ours.vendor, &ours.device)];
    let mut limits = Vec::new();
    if let Some((demands, theirs)) = &theirs {
        contestants.push(applying(&theirs.repositories, &theirs.delta));
        limits.push(applying_limit(demands.apply));
    }
    measure(&mut contestants, setting.rounds(ROUNDS), &runs)?;
    report.times(name, &contestants, &limits);

    let pulled = json(&mut ours.vendor.pull(&ours.device))?;
    let Traffic { bytes, requests } = traffic(&pulled)?;
    let is_met = requests <= MOST_REQUESTS;
    report.bar(format!("{name}: requests"), requests, MOST_REQUESTS, is_met);
    let (peak, most) = (ours.making_peak_bytes, MAX_MAKING_BYTES);
    let what = format!("{name}: memory to make");
    report.bar(what, mib(peak), mib(most), peak <= most);
    let cpu = |run: &Run| run.user + run.system;
    let making = cpu(&ours.making);
    let mut row = [
        name.into(),
        bytes.to_string(),
        ours.pack_bytes.to_string(),
        requests.to_string(),
        "-".into(),
        "-".into(),
        ms(making),
        "-".into(),
    ];
    let mut of_ostree = None;
    if let Some((demands, theirs)) = &theirs {
        let their_bytes = fs::metadata(&theirs.delta)?.len();
        of_ostree = Some(their_bytes);
        let ratio = ratio(bytes, their_bytes);
        report.ratio_bar(format!("{name}: bytes of OSTree's"), ratio, demands.bytes);
        let (pack, most) = (ours.pack_bytes, demands.pack_bytes);
        report.bar(
            format!("{name}: bytes for the pack"),
            pack,
            most,
            pack <= most,
        );
        let their_making = cpu(&theirs.making);
        if let Some(most) = demands.make {
            let measured = making.as_secs_f64() / their_making.as_secs_f64();
            report.ratio_bar(format!("{name}: CPU to make, of OSTree's"), measured, most);
        }
        row[4] = their_bytes.to_string();
        row[5] = format!("{ratio:.2}x");
        row[7] = ms(their_making);
    }
    Ok((row, of_ostree))
}

/// A device of ours that fetches the newest release.
fn pulling<'a>(vendor: &'a Vendor<'_>, device: &'a Path) -> Contestant<'a> {
    Contestant::new("sealroot pull", move |place| {
        let store = hardlinked(device, place)?;
        Ok(vec![vendor.pull(&store)])
    })
}

/// A client of OSTree's that applies a delta.
fn applying<'a>(repositories: &'a OsTree, delta: &'a Path) -> Contestant<'a> {
    Contestant::new(OSTREE, move |place| {
        let repository = hardlinked(&repositories.client, place)?;
        Ok(vec![ostree::apply(&repository, delta)])
    })
}

/// What pulling may take of the CPU time of that.
const fn applying_limit(cpu: Option<f64>) -> Limit<'static> {
    Limit {
        other: OSTREE,
        cpu,
        wall: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(ours: u64, other: u64) -> f64 {
    ours as f64 / other as f64
}

/// A vendor who has published the old release and built the new one, and a device that has the old one.
struct Ours<'s> {
    vendor: Vendor<'s>,
    device: PathBuf,
    old_objects: BTreeSet<PathBuf>,
    /// The commit of the new release.
    new: String,
    pack_bytes: u64,
    making: Run,
    making_peak_bytes: u64,
}

impl<'s> Ours<'s> {
    fn new(setting: &'s Setting, trees: &Path, scratch: &Path) -> Result<Self> {
        let vendor = Vendor::new(setting, scratch)?;
        let old = vendor.release(&trees.join("old"), 1)?;
        let old_objects = whole::objects(&vendor.store)?;
        vendor.publish(&old, &QUICKLY)?;
        let device = vendor.device(scratch.join("device"))?;
        json(&mut vendor.pull(&device))?;
        let new = vendor.release(&trees.join("new"), 2)?;
        let measured = scratch.join("measured.delta");
        let mut make = watched(&vendor.delta(&old, &new, &measured))?;
        let (making, made) = run_once(&mut make)?;
        let (making_peak_bytes, made) = peak_in(&made)?;
        Ok(Self {
            pack_bytes: number(&serde_json::from_str(made)?, "pack_bytes")?,
            making_peak_bytes,
            old_objects,
            vendor,
            device,
            new,
            making,
        })
    }
}

/// The same with OSTree.
struct Theirs {
    repositories: OsTree,
    delta: PathBuf,
    making: Run,
}

impl Theirs {
    fn new(trees: &Path, scratch: &Path) -> Result<Self> {
        let repositories = OsTree::new(trees, scratch)?;
        let delta = scratch.join("ostree.delta");
        let (making, _) = run_once(&mut repositories.make_delta(&delta))?;
        Ok(Self {
            repositories,
            delta,
            making,
        })
    }
}
