// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several boots on one machine, one after another, each from a disk of its own.
//!
//! The machine starts a program of ours instead of the initramfs's `/init`. For each disk it
//! copies the initramfs into new namespaces and starts `/init` there as process 1. The disks are
//! hidden but for the one whose turn it is: the magic number of their filesystem is inverted.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Kind, Verdict, judge, run::Play};
use crate::binaries::Program;
use crate::cpio::Archive;
use crate::disk::Disk;
use crate::guest::{EXT4_MAGIC_AT, POLICIES_PATH, TRIES_PATH, TRIES_PROGRAM, TRY_MARKER};
use crate::release::{Release, usual_kernel};
use crate::vm::{Vm, VmOutcome};

const TIME_OUT_OF_MACHINE: Duration = Duration::from_secs(180);
const TIME_OUT_OF_TRY: Duration = Duration::from_secs(60);

/// Plays attacks of one layer on one machine.
pub(super) fn play(plays: &[Play<'_>], release: &Release) -> Result<Vec<Verdict>> {
    let kernel = usual_kernel().context("no kernel")?;
    let layer = plays.first().context("nothing to try")?.layer;
    let directory = tempfile::tempdir()?;

    let mut archive = Archive::new();
    let mut serials = Vec::new();
    let mut disks = Vec::new();
    for (index, play) in plays.iter().enumerate() {
        let Kind::Change(change) = &play.attack.kind else {
            bail!("{} has no disk of its own", play.attack.name);
        };
        let serial = format!("try{index}");
        let place = directory.path().join(&serial);
        std::fs::create_dir(&place)?;
        let (disk, job) = release.spoil(&place, change)?;
        if job.is_some() {
            bail!("{} needs a machine of its own", play.attack.name);
        }
        hide(&disk)?;
        if !play.attack.policy.is_empty() {
            let policy = release.policy_with(layer, &play.attack.policy);
            let path = format!("{}/{serial}", &POLICIES_PATH[1..]);
            archive.file(&path, 0o644, policy.as_bytes());
        }
        disks.push(disk);
        serials.push(serial);
    }

    archive.directory("mnt");
    let program = std::fs::read(Program::Guest.build()?)?;
    archive.file(&TRIES_PROGRAM[1..], 0o755, &program);
    archive.file(&TRIES_PATH[1..], 0o644, &serde_json::to_vec(&serials)?);
    let mut initramfs = std::fs::read(release.initramfs(&kernel, layer)?)?;
    // The kernel unpacks one archive after the other.
    initramfs.extend(archive.finish());
    let path = directory.path().join("initramfs");
    std::fs::write(&path, initramfs)?;

    let mut vm = Vm::new(&kernel)
        .initramfs(&path)
        .arguments(&format!("sealroot={}", release.deployment()))
        .arguments(&format!("rdinit={TRIES_PROGRAM}"));
    for (serial, disk) in serials.iter().zip(&disks) {
        vm = vm.scratch_disk(serial, disk.path());
    }
    let tries = u32::try_from(serials.len())?;
    let outcome = vm.run(TIME_OUT_OF_MACHINE + TIME_OUT_OF_TRY * tries)?;
    let verdicts = serials
        .iter()
        .map(|serial| judge(&part(&outcome, serial), release));
    Ok(verdicts.collect())
}

fn hide(disk: &Disk) -> Result<()> {
    disk.patch_block(0, |bytes| {
        for (at, byte) in (0..).zip(bytes) {
            if (EXT4_MAGIC_AT..EXT4_MAGIC_AT + 2).contains(&at) {
                *byte = !*byte;
            }
        }
    })
}

/// What one try left on console and report.
fn part(outcome: &VmOutcome, serial: &str) -> VmOutcome {
    VmOutcome {
        console: lines_after(&outcome.console, serial),
        report: lines_after(&outcome.report, serial),
        ..outcome.clone()
    }
}

fn lines_after(text: &str, serial: &str) -> String {
    let marker = format!("{TRY_MARKER}{serial}");
    let lines = text.lines().skip_while(|line| *line != marker).skip(1);
    let lines: Vec<&str> = lines
        .take_while(|line| !line.starts_with(TRY_MARKER))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_has_the_lines_between_its_marker_and_the_next() {
        let text = format!("a\n{TRY_MARKER}try1\nb\nc\n{TRY_MARKER}try11\nd\n");
        assert_eq!(lines_after(&text, "try1"), "b\nc");
        assert_eq!(lines_after(&text, "try11"), "d");
        assert_eq!(lines_after(&text, "try2"), "");
    }
}
