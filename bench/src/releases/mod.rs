// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ten releases of one OS, a few packages updated in each: what deltas take on the server, and what
//! devices fetch that are some releases behind.

mod steps;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sealroot_testkit::need;

use self::steps::Steps;
use crate::measure::{hardlinked, output};
use crate::report::Report;
use crate::setting::Setting;
use crate::vendor::{QUICKLY, Traffic, Vendor, json, traffic};

const RELEASES: usize = 10;

/// From how many of the releases before it a release has deltas.
const DELTAS: [usize; 4] = [0, 1, 2, 4];

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let trees = need::cache().join("update-batch");
    if !trees.is_dir() {
        need::missing(&trees.display().to_string());
        return Ok(());
    }
    let scratch = setting.scratch()?;
    let releases = Releases::new(setting, &trees, scratch.path())?;
    report.section("Ten releases");
    report.line(
        "A month of updates, published as ten releases with a few packages more in each, and a device with \
         each of the first nine that pulls the tenth. Bytes and requests are all that a device asks for.\n",
    );
    report.table(["release", "packages in it"], releases.packages());
    let mut served = Vec::new();
    let mut fetched = Vec::new();
    for count in DELTAS {
        releases.publish_deltas(count)?;
        let deltas = releases.vendor.deltas()?;
        let bytes: u64 = deltas.values().sum();
        let channel_bytes = releases.vendor.channel()?.len();
        let row = [count, deltas.len(), bytes.try_into()?, channel_bytes];
        served.push(row.map(|number| number.to_string()));
        let place = scratch.path().join(format!("devices-{count}"));
        fetched.push(releases.fetched(&place)?);
    }
    let head = [
        "`--deltas`",
        "deltas",
        "their bytes",
        "bytes of the channel",
    ];
    report.table(head, served);
    let row = |behind: usize| {
        std::array::from_fn(|column| match column.checked_sub(1) {
            None => behind.to_string(),
            Some(count) => {
                let Traffic { bytes, requests } = &fetched[count][behind - 1];
                format!("{bytes} in {requests}")
            }
        })
    };
    let with = |count| format!("`--deltas {count}`");
    let heads = DELTAS.map(with);
    let [none, one, two, four] = heads.each_ref().map(String::as_str);
    let head = ["releases behind: bytes in requests", none, one, two, four];
    report.table(head, (1..RELEASES).map(row));
    Ok(())
}

/// All releases published, and devices that stopped at each.
struct Releases<'s> {
    vendor: Vendor<'s>,
    /// From the first on.
    commits: Vec<String>,
    devices: Vec<PathBuf>,
    steps: Steps,
}

impl<'s> Releases<'s> {
    fn new(setting: &'s Setting, trees: &Path, scratch: &Path) -> Result<Self> {
        let vendor = Vendor::new(setting, scratch)?;
        let (old, new) = (trees.join("old"), trees.join("new"));
        let steps = Steps::new(&old, &new, RELEASES - 1)?;
        let tree = scratch.join("tree");
        let mut copy = std::process::Command::new("cp");
        output(copy.arg("--archive").arg(&old).arg(&tree))?;
        let mut commits = Vec::new();
        let mut devices: Vec<PathBuf> = Vec::new();
        for index in 1..=RELEASES {
            if index > 1 {
                steps.take(index - 2, &new, &tree)?;
            }
            if index == RELEASES {
                steps::check_same(&tree, &new)?;
            }
            let commit = vendor.release(&tree, index as u64)?;
            let level: &[&str] = if index == 1 { &QUICKLY } else { &[] };
            vendor.publish(&commit, &[level, &["--deltas", "0"]].concat())?;
            commits.push(commit);
            if index == RELEASES {
                break;
            }
            let place = scratch.join(format!("device-{index}"));
            let device = match devices.last() {
                None => vendor.device(place)?,
                Some(before) => {
                    fs::create_dir(&place)?;
                    hardlinked(before, &place)?
                }
            };
            json(&mut vendor.pull(&device))?;
            devices.push(device);
        }
        Ok(Self {
            vendor,
            commits,
            devices,
            steps,
        })
    }

    fn packages(&self) -> Vec<[String; 2]> {
        let sources = self.steps.sources().iter().zip(2..);
        let row = |(sources, index): (&Vec<String>, usize)| [index.to_string(), sources.join(", ")];
        sources.map(row).collect()
    }

    /// Makes what deltas are missing, from so many releases before each.
    fn publish_deltas(&self, count: usize) -> Result<()> {
        let count = count.to_string();
        let mut commits = self.commits.iter();
        commits.try_for_each(|commit| self.vendor.publish(commit, &["--deltas", &count]))
    }

    /// What devices fetch for the newest release, those first that are one behind.
    fn fetched(&self, place: &Path) -> Result<Vec<Traffic>> {
        let behind = self.devices.iter().rev().enumerate();
        let fetch = |(number, device): (usize, &PathBuf)| {
            let place = place.join(number.to_string());
            fs::create_dir_all(&place)?;
            traffic(&json(&mut self.vendor.pull(&hardlinked(device, &place)?))?)
        };
        let fetched: Result<Vec<_>> = behind.map(fetch).collect();
        fetched.with_context(|| format!("in {}", place.display()))
    }
}
