// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attacks on machines whose firmware verifies what it starts: on what lies before the root, and on
//! the sealed whole.
//!
//! Each boots from power-on, through OVMF with Secure Boot and keys of the test's own. The same tree
//! is accepted only of a boot that is sealed.

mod bench;
mod beside;
mod disks;
mod floors;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::judge::{BOOT_PROGRAM, REGISTERED};
use super::run::{Outcome, Report, for_each};
use super::tally::Counts;
use super::{Accept, Verdict, judge};
use crate::esp;
use crate::guest::ProbeReport;
use crate::release::Release;
use crate::vm::{Firmware, Tpm, Vm, VmOutcome};

pub use bench::{Bench, PARAMETERS, Variant, later_systemd};
pub(super) use disks::write_hibernated;

/// The column of what does not depend on how the pack is brought up.
pub const NO_LAYER: &str = "-";

const TIME_OUT: Duration = Duration::from_secs(400);

const ESP_MIB: u64 = 64;

/// Files of a boot partition.
pub type Files = Vec<(String, Vec<u8>)>;

/// What a machine is switched on with.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its firmware, for itself.
    pub firmware: Firmware,
    /// Its TPM, for itself.
    pub tpm: Option<Tpm>,
    /// Its boot partitions, in the order in which the firmware tries them.
    pub esps: Vec<Files>,
    /// Strings of its maker.
    pub strings: Vec<String>,
    /// Its other disks, by serial number.
    pub disks: Vec<(String, PathBuf)>,
}

type Prepare = Box<dyn Fn(&Bench, &Path) -> Result<Stage> + Send + Sync>;

/// One attack, or several that share a boot.
#[expect(missing_debug_implementations, reason = "what is prepared is code")]
pub struct ChainAttack {
    /// The ids in the threat model, each with how many changes of its kind there are.
    pub ids: Vec<(&'static str, usize)>,
    /// What is done, for people.
    pub name: String,
    /// Puts the machine together, in a directory for it.
    prepare: Prepare,
    /// What may come of it.
    pub accept: Accept,
    /// What the console must say, and how often: it shows that the attack got where it was aimed at.
    said: Vec<(&'static str, usize)>,
    /// Whether every change must pass it, and not only the full run.
    pub is_short: bool,
    /// Whether the boot loader's fallback mends it.
    is_mended: bool,
}

impl ChainAttack {
    fn new(
        ids: &[(&'static str, usize)],
        name: impl Into<String>,
        accept: Accept,
        prepare: impl Fn(&Bench, &Path) -> Result<Stage> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ids: ids.to_vec(),
            name: name.into(),
            prepare: Box::new(prepare),
            accept,
            said: Vec::new(),
            is_short: false,
            is_mended: false,
        }
    }

    fn said(mut self, text: &'static str, times: usize) -> Self {
        self.said.push((text, times));
        self
    }

    const fn mended(mut self) -> Self {
        self.is_mended = true;
        self
    }

    const fn short(mut self) -> Self {
        self.is_short = true;
        self
    }
}

/// All of them.
pub fn catalogue() -> Vec<ChainAttack> {
    let mut attacks = beside::attacks();
    attacks.extend(floors::attacks());
    attacks.extend(disks::attacks());
    attacks
}

/// Plays those of `known` that are `chosen`.
pub fn run(
    known: &[ChainAttack],
    chosen: impl Fn(&ChainAttack) -> bool,
    bench: &Bench,
) -> Result<Report> {
    let started = Instant::now();
    let report = Mutex::new(Report::default());
    let attacks: Vec<&ChainAttack> = known.iter().filter(|attack| chosen(attack)).collect();
    for_each(&attacks, |attack| {
        let verdict = play(attack, bench);
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        let [(first, _), others @ ..] = attack.ids.as_slice() else {
            return;
        };
        let outcome = Outcome::of(first, NO_LAYER, &attack.name, &attack.accept, verdict);
        for (id, played) in others {
            report.played_too(id, NO_LAYER, *played);
        }
        let counts = Counts {
            played: attack.ids.first().map_or(0, |(_, played)| *played),
            boots: 1,
            machines: 1,
            repairable: attack.is_mended.into(),
            mended: (attack.is_mended && outcome.accepted).into(),
            ..Counts::default()
        };
        report.add(first, NO_LAYER, counts, outcome);
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (id, known) in known.iter().flat_map(|attack| &attack.ids) {
        report.know(id, NO_LAYER, *known);
    }
    report.end(started);
    Ok(report)
}

fn play(attack: &ChainAttack, bench: &Bench) -> Result<Verdict> {
    let directory = tempfile::tempdir()?;
    let stage = (attack.prepare)(bench, directory.path())?;
    let mut outcome = boot(&stage, directory.path())?;
    if !outcome.console.contains(BOOT_PROGRAM) && !attack.accept.denied {
        // An emulated machine on a busy host may fail before our program is started.
        outcome = boot(&stage, directory.path())?;
    }
    let console = || outcome.console_tail(40);
    for (text, times) in &attack.said {
        let found = outcome.console.matches(text).count();
        ensure!(found == *times, "{found} times {text:?}:\n{}", console());
    }
    let verdict = judge(&outcome, bench.release());
    match &verdict {
        Verdict::SameTree => check_sealed(&outcome)?,
        Verdict::Died(_) | Verdict::Wrong(_) => bail!("{verdict:?}:\n{}", console()),
        _ => {}
    }
    Ok(verdict)
}

/// Switches the machine on.
fn boot(stage: &Stage, directory: &Path) -> Result<VmOutcome> {
    let mut vm = Vm::with_firmware(&stage.firmware).memory_mib(1024);
    if let Some(tpm) = &stage.tpm {
        vm = vm.tpm(tpm);
    }
    for (index, files) in stage.esps.iter().enumerate() {
        let name = format!("esp{index}");
        let files: Vec<(&str, &[u8])> = (files.iter())
            .map(|(name, content)| (&**name, &**content))
            .collect();
        let disk = esp::create(&directory.join(&name), ESP_MIB, &files)?;
        vm = vm.scratch_disk(&name, disk.path());
    }
    for text in &stage.strings {
        vm = vm.maker_string(text);
    }
    for (serial, path) in &stage.disks {
        vm = vm.scratch_disk(serial, path);
    }
    vm.stop_at("sealroot: the machine powers off")
        .stop_at("Kernel panic")
        .stop_at("Security Violation")
        .stop_at(REGISTERED)
        .run(TIME_OUT)
}

/// That nothing speaks against a boot's being sealed.
fn check_sealed(outcome: &VmOutcome) -> Result<()> {
    let booted = outcome.json::<ProbeReport>()?.booted;
    let booted: serde_json::Value = serde_json::from_str(&booted.context("booted.json")?)?;
    ensure!(
        booted["sealed"] == true
            && booted["insecure"] == serde_json::json!([])
            && booted["mode"] == "sealed",
        "{booted}"
    );
    Ok(())
}

/// The disk that every machine has.
fn root_disk(path: &Path) -> (String, PathBuf) {
    (Release::DISK_SERIAL.to_owned(), path.to_owned())
}
