// SPDX-License-Identifier: MIT OR Apache-2.0
//! Older images that were genuinely signed: as a replayed disk, and as the loader's fallback after
//! tries that an attacker has used up: A34, A37.

use std::path::Path;

use anyhow::Result;

use super::bench::{Bench, Variant};
use super::{ChainAttack, Files, Stage};
use crate::attack::Accept;
use crate::esp::DEFAULT_LOADER;

/// The epochs of the two releases on the machine.
const OLD: u64 = 1;
const NEW: u64 = 2;

pub(super) fn attacks() -> Vec<ChainAttack> {
    let refused = || Accept::refused(&["epoch"]);
    let replay = |name, floor, accept| {
        ChainAttack::new(&[("A37", 1)], name, accept, move |bench, directory| {
            with_floor(bench, directory, floor, &old_image)
        })
    };
    let fallback = |name, floor, accept| {
        ChainAttack::new(&[("A34", 1)], name, accept, move |bench, directory| {
            with_floor(bench, directory, floor, &fallen_back)
        })
    };
    vec![
        replay(
            "the disks of an older release, below the floor",
            Some(NEW),
            refused(),
        ),
        replay(
            "the same disks where the floor allows them",
            Some(OLD),
            Accept::same_tree(),
        ),
        replay(
            "the same disks, and firmware and TPM cleared",
            None,
            Accept::refused(&["floor"]),
        ),
        fallback(
            "tries used up, fallback below the floor",
            Some(NEW),
            refused(),
        ),
        fallback(
            "tries used up, fallback at the floor",
            Some(OLD),
            Accept::same_tree(),
        )
        .mended(),
        fallback(
            "tries used up, and firmware and TPM cleared",
            None,
            Accept::refused(&["floor"]),
        ),
    ]
}

type Partition = dyn Fn(&Bench) -> Result<Files>;

fn with_floor(
    bench: &Bench,
    directory: &Path,
    floor: Option<u64>,
    partition: &Partition,
) -> Result<Stage> {
    let mut stage = match floor {
        Some(epoch) => bench.stage_with_floor(epoch, directory)?,
        None => bench.stage_without_floor(directory)?,
    };
    stage.esps = vec![partition(bench)?];
    Ok(stage)
}

fn old_image(bench: &Bench) -> Result<Files> {
    let old = bench.genuine(Variant::Floor(OLD))?;
    Ok(vec![(DEFAULT_LOADER.to_owned(), old.to_vec())])
}

/// The newer image has no tries left: systemd's boot loader takes the older one.
fn fallen_back(bench: &Bench) -> Result<Files> {
    let entry =
        |number: u64| format!("title {number}\nversion {number}\nsort-key os\nefi /{number}.efi\n");
    let mut files = vec![
        (DEFAULT_LOADER.to_owned(), bench.loader()?.to_vec()),
        ("loader/loader.conf".to_owned(), b"timeout 0\n".to_vec()),
        (
            format!("loader/entries/os-{NEW}+0-3.conf"),
            entry(NEW).into_bytes(),
        ),
        (
            format!("loader/entries/os-{OLD}.conf"),
            entry(OLD).into_bytes(),
        ),
    ];
    for number in [OLD, NEW] {
        let image = bench.genuine(Variant::Floor(number))?;
        files.push((format!("{number}.efi"), image.to_vec()));
    }
    Ok(files)
}
