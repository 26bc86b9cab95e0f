// SPDX-License-Identifier: MIT OR Apache-2.0
//! The digest of an image of a directory, with nothing written.

use std::env;
use std::process::Command;

use anyhow::{Context as _, Result};
use sealroot_sha::Engine;

use crate::measure::{Contestant, measure};
use crate::report::{Limit, Report};
use crate::setting::Setting;

const RUST_MKCOMPOSEFS: &str = "mkcomposefs (Rust)";
const C_MKCOMPOSEFS: &str = "mkcomposefs (C)";

/// Another program, if it is there.
type Other = fn(&Setting) -> Option<Command>;

/// How often all are run.
const ROUNDS: usize = 11;

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let directory = &setting.directory;
    let mut contestants = vec![Contestant::new("sealroot image --digest-only", |_| {
        let mut command = setting.sealroot();
        command.args(["image", "--digest-only", "--devices", "keep"]);
        command.arg(directory);
        Ok(vec![command])
    })];
    let others: [(&str, Other); 2] = [
        (RUST_MKCOMPOSEFS, Setting::rust_mkcomposefs),
        (C_MKCOMPOSEFS, Setting::c_mkcomposefs),
    ];
    for (name, other) in others {
        if other(setting).is_some() {
            contestants.push(Contestant::new(name, move |_| {
                let mut command = other(setting).context("it was there")?;
                command.arg("--print-digest-only").arg(directory);
                Ok(vec![command])
            }));
        }
    }
    let engines = Engine::available().map(|engine| format!("hash {engine}"));
    let works = ["walk", "read"].map(String::from);
    for work in works.into_iter().chain(engines) {
        contestants.push(Contestant::new(format!("floor: {work}"), move |_| {
            let mut command = Command::new(env::current_exe()?);
            command.arg("floor").arg(directory).args(work.split(' '));
            Ok(vec![command])
        }));
    }
    let rounds = setting.rounds(ROUNDS);
    let scratch = setting.scratch()?;
    measure(&mut contestants, rounds, scratch.path())?;

    report.section("Digest of a directory");
    report.line(format_args!(
        "Warm; medians of {rounds} rounds. The floor walks, reads and hashes on one thread, and builds \
         nothing.\n"
    ));
    let floor = format!("floor: hash {}", Engine::best());
    let mut limits = vec![(&*floor, 1.3)];
    if Engine::available().any(|engine| engine.to_string() == "avx512") {
        limits.extend([(RUST_MKCOMPOSEFS, 0.35), (C_MKCOMPOSEFS, 0.45)]);
    }
    let limits: Vec<Limit<'_>> = limits
        .into_iter()
        .map(|(other, cpu)| Limit {
            other,
            cpu: Some(cpu),
            wall: None,
        })
        .collect();
    report.times("digest", &contestants, &limits);
    Ok(())
}
