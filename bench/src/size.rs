// SPDX-License-Identifier: MIT OR Apache-2.0
//! How large packs are.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use sealroot_format::limits::{DEFAULT_THRESHOLD_BYTES, MAX_THRESHOLD_BYTES};
use sealroot_testkit::least_size::least_bytes;

use crate::measure::output;
use crate::report::Report;
use crate::setting::Setting;

/// Where mkcomposefs draws the line.
const COMPOSEFS_THRESHOLD: u32 = 64;

const THRESHOLDS: [u32; 6] = [
    0,
    COMPOSEFS_THRESHOLD,
    512,
    DEFAULT_THRESHOLD_BYTES,
    16_384,
    MAX_THRESHOLD_BYTES,
];

/// What a pack may be of the least that its entries need.
const MAX_RATIO: f64 = 1.05;

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let scratch = setting.scratch()?;
    report.section("Size of packs");
    report.line(
        "The least is the sum over all entries of inode, xattrs and tail rounded up to 32 bytes, \
         full blocks and directory entries; an xattr that several have is in it once.\n",
    );
    let composefs_bytes = composefs_bytes(setting, scratch.path())?;
    let mut rows = Vec::new();
    for threshold in THRESHOLDS {
        let path = scratch.path().join(format!("pack-{threshold}"));
        let mut image = setting.sealroot();
        image.args(["image", "--devices", "keep", "--threshold"]);
        image.arg(threshold.to_string());
        output(image.arg(&setting.directory).arg(&path))?;
        let pack = fs::read(&path)?;
        let bytes = pack.len() as u64;
        let least = least_bytes(&pack)?;
        let what = format!("pack size at threshold {threshold}");
        #[expect(clippy::cast_precision_loss, reason = "sizes of images")]
        let ratio = bytes as f64 / least as f64;
        report.ratio_bar(format!("{what}: the least"), ratio, MAX_RATIO);
        let mut composefs = String::new();
        if threshold == COMPOSEFS_THRESHOLD {
            let what = format!("{what}: mkcomposefs' image");
            report.bar(what, bytes, composefs_bytes, bytes <= composefs_bytes);
            composefs = composefs_bytes.to_string();
        }
        let ratio = format!("{ratio:.3}x");
        rows.push([
            threshold.to_string(),
            bytes.to_string(),
            least.to_string(),
            ratio,
            composefs,
        ]);
    }
    report.table(
        ["threshold", "bytes", "least", "ratio", "mkcomposefs"],
        rows,
    );
    Ok(())
}

/// The length of the image that mkcomposefs makes: both make the same.
fn composefs_bytes(setting: &Setting, scratch: &Path) -> Result<u64> {
    let path = scratch.join("composefs");
    let command = setting
        .rust_mkcomposefs()
        .or_else(|| setting.c_mkcomposefs());
    let mut command = command.context("there is no mkcomposefs")?;
    output(command.arg(&setting.directory).arg(&path))?;
    Ok(fs::metadata(&path)?.len())
}
