// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same updates of a vendor who takes modules and documentation decompressed (`build --normalize`), and packs
//! the kernel with zstd, beside what OSTree makes of the trees as they are shipped, and of the same.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::ostree::OsTree;
use super::{ROUNDS, applying, applying_limit, pulling, ratio, repacked};
use crate::measure::{self, output, run_once};
use crate::report::{Report, ms};
use crate::setting::Setting;
use crate::vendor::{QUICKLY, Vendor, number};

/// What the kernel is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    AsShipped,
    Zstd,
}

/// A form, and what is demanded of it.
pub(super) struct Demands {
    pub(super) kernel: Kernel,
    /// Of the bytes of OSTree's delta between the trees as they are shipped.
    pub(super) bytes: Option<f64>,
    /// Of the CPU time that applying OSTree's delta between the same trees takes.
    pub(super) apply: Option<f64>,
    /// What of it may be for the pack, bytes.
    pub(super) pack_bytes: u64,
}

/// Makes the deltas between `old` and `new` of a directory, of which OSTree's as shipped has `their_bytes`; a row of
/// [`HEAD`].
pub(super) fn measure(
    setting: &Setting,
    (name, demands): (&str, &Demands),
    trees: &Path,
    their_bytes: u64,
    report: &mut Report,
) -> Result<[String; 6]> {
    let scratch = setting.scratch()?;
    let scratch = scratch.path();
    let vendor = Vendor::new(setting, scratch)?;
    let normalized = scratch.join("trees");
    fs::create_dir(&normalized)?;
    let name = match demands.kernel {
        Kernel::AsShipped => format!("{name}, normalized"),
        Kernel::Zstd => format!("{name}, normalized, kernel packed with zstd"),
    };
    let release = |tree: &str, index| {
        let source = match demands.kernel {
            Kernel::AsShipped => trees.join(tree),
            Kernel::Zstd => {
                let source = scratch.join(format!("zstd-{tree}"));
                repacked::copy(&trees.join(tree), &source)?;
                source
            }
        };
        let commit = vendor.release_with(&source, index, &["--normalize"])?;
        output(&mut vendor.unpack(&commit, &normalized.join(tree)))?;
        anyhow::Ok(commit)
    };
    let (old, new) = (release("old", 1)?, release("new", 2)?);
    let delta = scratch.join("normalized.delta");
    let (making, made) = run_once(&mut vendor.delta(&old, &new, &delta))?;
    let bytes = fs::metadata(&delta)?.len();
    let pack_bytes = number(&serde_json::from_str(&made)?, "pack_bytes")?;
    let theirs = OsTree::new(&normalized, scratch)?;
    let delta = scratch.join("ostree.delta");
    output(&mut theirs.make_delta(&delta))?;
    let of_normalized = fs::metadata(&delta)?.len();

    vendor.publish(&old, &QUICKLY)?;
    let device = vendor.device(scratch.join("device"))?;
    output(&mut vendor.pull(&device))?;
    vendor.publish(&new, &QUICKLY)?;
    let runs = scratch.join("runs");
    fs::create_dir(&runs)?;
    let mut contestants = [pulling(&vendor, &device), applying(&theirs, &delta)];
    measure::measure(&mut contestants, setting.rounds(ROUNDS), &runs)?;
    report.times(&name, &contestants, &[applying_limit(demands.apply)]);

    let of_shipped = ratio(bytes, their_bytes);
    if let Some(most) = demands.bytes {
        let what = format!("{name}: bytes of OSTree's as shipped");
        report.ratio_bar(what, of_shipped, most);
    }
    let what = format!("{name}: bytes for the pack");
    let is_met = pack_bytes <= demands.pack_bytes;
    report.bar(what, pack_bytes, demands.pack_bytes, is_met);
    Ok([
        name,
        bytes.to_string(),
        pack_bytes.to_string(),
        format!("{of_shipped:.2}x"),
        format!("{of_normalized} ({:.2}x)", ratio(bytes, of_normalized)),
        ms(making.user + making.system),
    ])
}

/// What is in a row.
pub(super) const HEAD: [&str; 6] = [
    "normalized update",
    "bytes",
    "for the pack",
    "of OSTree's as shipped",
    "OSTree's of the same trees (ours)",
    "making, CPU ms",
];
