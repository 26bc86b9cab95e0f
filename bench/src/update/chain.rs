// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that skipped a release: the direct delta, the chain over the release between, and which of
//! them `pull` takes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::ratio;
use crate::measure::hardlinked;
use crate::report::Report;
use crate::setting::Setting;
use crate::vendor::{QUICKLY, Vendor, json, number, traffic};

/// Of the bytes of the direct delta.
const MOST_BYTES: f64 = 1.5;

const NAME: &str = "a release skipped";

/// Measures with the trees of three releases, the oldest first.
pub(super) fn measure(setting: &Setting, trees: [&Path; 3], report: &mut Report) -> Result<()> {
    let scratch = setting.scratch()?;
    let vendor = Vendor::new(setting, scratch.path())?;
    let [oldest, older, newest] = trees;
    let deltas = |count: &'static str| [&QUICKLY[..], &["--deltas", count]].concat();
    vendor.publish(&vendor.release(oldest, 1)?, &QUICKLY)?;
    let device = vendor.device(scratch.path().join("device"))?;
    json(&mut vendor.pull(&device))?;
    vendor.publish(&vendor.release(older, 2)?, &deltas("1"))?;
    let commit = vendor.release(newest, 3)?;
    vendor.publish(&commit, &deltas("1"))?;

    let mut rows = Vec::new();
    let mut pull = |way: &str| -> Result<u64> {
        let place = scratch.path().join(way);
        fs::create_dir(&place)?;
        let pulled = json(&mut vendor.pull(&hardlinked(&device, &place)?))?;
        let steps = pulled["steps"].as_array().context("no steps")?.len();
        let traffic = traffic(&pulled)?;
        let numbers = [steps as u64, traffic.bytes, traffic.requests];
        let [steps, bytes, requests] = numbers.map(|number| number.to_string());
        rows.push([format!("pull, {way}"), steps, bytes, requests]);
        Ok(traffic.bytes)
    };
    let over_chain = pull("with the deltas of the chain")?;
    vendor.publish(&commit, &deltas("2"))?;
    let directly = pull("with the direct delta as well")?;

    let sizes = vendor.deltas()?;
    let size = |pair| {
        let size = sizes.get(&pair).copied();
        size.with_context(|| format!("the channel has no delta {pair:?}"))
    };
    let (first, second, direct) = (size((1, 2))?, size((2, 3))?, size((1, 3))?);
    let chain = first + second;
    let what = format!("{NAME}: bytes over the chain, of those over the direct delta");
    report.ratio_bar(what, ratio(over_chain, directly), MOST_BYTES);
    let plan = number(&json(vendor.pull(&device).arg("--plan"))?, "bytes")?;
    let cheaper = chain.min(direct);
    let what = format!("{NAME}: bytes of the way that is taken");
    report.bar(what, plan, cheaper, plan <= cheaper);
    report.line(format_args!(
        "A device that skipped a release: the direct delta has {direct} bytes, the chain {first} + {second} = {chain}, of which \
         only what the last release needs is fetched.\n"
    ));
    report.table([NAME, "steps", "bytes", "requests"], rows);
    Ok(())
}
