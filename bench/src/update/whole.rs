// SPDX-License-Identifier: MIT OR Apache-2.0
//! The update where there is no delta: what a device then fetches, beside the whole of all that is new,
//! casync's chunks and OSTree's objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, ensure};

use super::casync::{Casync, Of};
use super::ostree::{self, OsTree};
use super::{Ours, ratio};
use crate::measure::hardlinked;
use crate::report::Report;
use crate::vendor::{Traffic, json, traffic};

/// Of the bytes of all that is new.
const MOST_BYTES: f64 = 1.05;

const MOST_REQUESTS: u64 = 400;

/// What `publish` compresses with unless told otherwise.
const LEVEL: i32 = 19;

/// Files of at most so many bytes are inside the pack.
const THRESHOLD_BYTES: u64 = 4096;

/// Publishes the new release without a delta, and reports what a device fetches.
pub(super) fn measure(
    name: &str,
    ours: &Ours<'_>,
    theirs: &OsTree,
    trees: &Path,
    scratch: &Path,
    report: &mut Report,
) -> Result<()> {
    let place = |what: &str| -> Result<PathBuf> {
        let place = scratch.join(what);
        fs::create_dir(&place)?;
        Ok(place)
    };
    ours.vendor.publish(&ours.new, &["--deltas", "0"])?;
    let device = hardlinked(&ours.device, &place("whole")?)?;
    let pulled = traffic(&json(&mut ours.vendor.pull(&device))?)?;

    let objects = compressed(&new_objects(ours)?)?;
    let small = small_files(trees)?;
    let all = objects + small;
    let what = format!("{name}, no delta");
    report.ratio_bar(
        format!("{what}: bytes of all that is new"),
        ratio(pulled.bytes, all),
        MOST_BYTES,
    );
    let (requests, most) = (pulled.requests, MOST_REQUESTS);
    report.bar(
        format!("{what}: requests"),
        requests,
        most,
        requests <= most,
    );

    let row = |who: String, traffic: &Traffic| {
        let ours = format!("{:.2}x", ratio(pulled.bytes, traffic.bytes));
        [
            who,
            traffic.bytes.to_string(),
            traffic.requests.to_string(),
            ours,
        ]
    };
    let of_all = format!("{:.2}x", ratio(pulled.bytes, all));
    let mut rows = vec![
        row("sealroot pull".into(), &pulled),
        [
            format!("new objects, each with zstd -{LEVEL}, and small files, {small} bytes"),
            all.to_string(),
            "-".into(),
            of_all,
        ],
    ];
    let objects = theirs.pull_objects(&place("ostree")?)?;
    let who = format!("ostree pull, {}", ostree::version()?);
    rows.push(row(who, &objects));
    if let Some(casync) = Casync::find() {
        let version = casync.version()?;
        for (of, what) in [
            (Of::Image, "an EROFS image"),
            (Of::Directory, "the directory"),
        ] {
            let chunks = casync.fetched(trees, of, &place(what)?)?;
            rows.push(row(format!("{version}, chunks of {what}"), &chunks));
        }
    } else {
        report.line("casync is not there and was left out.\n");
    }
    report.table([&what, "bytes", "requests", "ours"], rows);
    Ok(())
}

/// The objects of the vendor's store.
pub(super) fn objects(store: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut objects = BTreeSet::new();
    for directory in fs::read_dir(store.join("objects"))? {
        for object in fs::read_dir(directory?.path())? {
            objects.insert(object?.path());
        }
    }
    Ok(objects)
}

fn new_objects(ours: &Ours<'_>) -> Result<Vec<PathBuf>> {
    let objects = objects(&ours.vendor.store)?;
    let new: Vec<_> = objects.difference(&ours.old_objects).cloned().collect();
    ensure!(!new.is_empty(), "the new release has no new object");
    Ok(new)
}

/// The bytes of files of which each is compressed by itself, with all cores.
fn compressed(files: &[PathBuf]) -> Result<u64> {
    let next = AtomicUsize::new(0);
    let some = || -> Result<u64> {
        let mut bytes = 0;
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            bytes += zstd::bulk::compress(&fs::read(file)?, LEVEL)?.len() as u64;
        }
        Ok(bytes)
    };
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let bytes = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        bytes.sum()
    })
}

/// The bytes of all contents that are new in the pack, compressed as one.
fn small_files(trees: &Path) -> Result<u64> {
    let mut old = BTreeMap::new();
    collect(&trees.join("old"), &mut old)?;
    let old: BTreeSet<Vec<u8>> = old.into_values().collect();
    let mut new = BTreeMap::new();
    collect(&trees.join("new"), &mut new)?;
    let mut seen = BTreeSet::new();
    new.retain(|_, content| !old.contains(content) && seen.insert(content.clone()));
    let all: Vec<u8> = new.into_values().flatten().collect();
    Ok(zstd::bulk::compress(&all, LEVEL)?.len() as u64)
}

/// Reads the files that are inside a pack, in the order of their paths.
fn collect(directory: &Path, small: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            collect(&path, small)?;
        } else if metadata.is_file() && metadata.len() <= THRESHOLD_BYTES {
            small.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(())
}
