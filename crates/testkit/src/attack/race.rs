// SPDX-License-Identifier: MIT OR Apache-2.0
//! A14, A16: another pack takes the place of the genuine one between the check and the mount, or
//! the genuine one is written to.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::disk::{Disk, Filesystem};
use crate::guest::Worker;
use crate::release::{Layer, Release, usual_kernel};
use crate::vm::despite_aborts;

const TIME_OUT: Duration = Duration::from_secs(600);

/// How often a mount gave what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The genuine pack.
    pub good: u32,
    /// None: refused.
    pub refused: u32,
    /// The other pack.
    pub evil: u32,
}

/// What came of a race.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// How often the two packs were exchanged.
    pub exchanges: u64,
    /// Mounting as a boot does.
    pub as_boot: Counts,
    /// Measuring and mounting by path, which shows that there is a race to be lost.
    pub by_path: Counts,
}

/// Exchanges the packs as fast as it goes while they are mounted; on a filesystem without
/// fs-verity, writes to the genuine one.
pub fn run(release: &Release, layer: Layer, attempts: u32) -> Result<Race> {
    despite_aborts(|| run_once(release, layer, attempts))
}

fn run_once(release: &Release, layer: Layer, attempts: u32) -> Result<Race> {
    let kernel = usual_kernel().context("no kernel")?;
    let directory = tempfile::tempdir()?;
    let disk = release
        .disk()
        .copy_to(&directory.path().join("root.ext4"))?;
    let packs = directory
        .path()
        .join("source")
        .join(Release::STORE)
        .join("pack");
    fs::create_dir_all(&packs)?;
    fs::write(packs.join("evil.pack"), evil_twin(&release.read_pack()?)?)?;
    let image = directory.path().join("source.ext4");
    let from = directory.path().join("source");
    let source = Disk::create(&image, Filesystem::Ext4, 64, Some(&from))?;

    let mut worker = Worker::new(&kernel, &["erofs", "loop"])?;
    worker.processors(2);
    worker.mount("source", source.path(), "ext4");
    worker.mount(Release::DISK_SERIAL, disk.path(), "ext4");
    worker.command(release.install_command());
    let packs = format!("/mnt/root/{}/pack", Release::STORE);
    let digest = release.statement.pack_digest.to_hex();
    let mode = release.mode.to_string();
    let attempts = attempts.to_string();
    let layer = layer.to_string();
    worker.command(["/init", "race", &mode, &layer, &packs, &digest, &attempts]);
    let report = worker.run(TIME_OUT)?;
    parse(&report.commands[3].output)
}

/// The genuine pack with other content in a small file.
fn evil_twin(genuine: &[u8]) -> Result<Vec<u8>> {
    const FROM: &[u8] = b"ID=sealroot-test";
    const TO: &[u8] = b"ID=sealroot-evil";
    let mut evil = genuine.to_vec();
    let at = evil.windows(FROM.len()).position(|bytes| bytes == FROM);
    let at = at.context("os-release is not in the pack")?;
    evil[at..at + TO.len()].copy_from_slice(TO);
    Ok(evil)
}

fn parse(output: &str) -> Result<Race> {
    let numbers = |prefix: &str| -> Result<Vec<u32>> {
        let line = output.lines().find_map(|line| line.strip_prefix(prefix));
        let words = line.with_context(|| format!("no line {prefix:?} in {output:?}"))?;
        Ok(words
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect())
    };
    let counts = |prefix: &str| match numbers(prefix)?[..] {
        [good, refused, evil] => Ok(Counts {
            good,
            refused,
            evil,
        }),
        _ => bail!("{prefix:?} without three numbers in {output:?}"),
    };
    Ok(Race {
        exchanges: numbers("exchanges ")?.first().copied().unwrap_or(0).into(),
        as_boot: counts("boot ")?,
        by_path: counts("path ")?,
    })
}
