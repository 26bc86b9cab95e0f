// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release boots as signed, and whatever is done to its disk, nothing else does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::{self, Attack, Play, Verdict, is_short, judge};
use sealroot_testkit::release::{Layer, Release, usual_kernel};

/// Set to `full` to play the whole catalogue and not only its short form.
const FORM: &str = "SEALROOT_ATTACK_FORM";

/// Set to attack only with what has one of these words in its id or name, comma between them.
/// Whatever is so named is played, also where it is not in the short form.
const FILTER: &str = "SEALROOT_ATTACKS";

/// Set to `erofs` or `tmpfs` to boot that layer only.
const LAYER: &str = "SEALROOT_LAYER";

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn only_the_signed_tree_ever_boots() -> Result<()> {
    let Some(release) = super::shared::release(Mode::Sealed)? else {
        return Ok(());
    };
    boot_and_attack(&release, &attack::catalogue(), "sealed")
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn in_the_mode_integrity_only_what_was_hashed_boots() -> Result<()> {
    let Some(release) = super::shared::release(Mode::Integrity)? else {
        return Ok(());
    };
    boot_and_attack(&release, &attack::integrity_catalogue(), "integrity")
}

/// Boots the release unharmed, then plays attacks on it: no boot may be wrong.
fn boot_and_attack(release: &Release, attacks: &[Attack], test: &str) -> Result<()> {
    let kernel = usual_kernel().context("no kernel")?;
    for layer in Layer::ALL.into_iter().filter(|layer| is_layer(*layer)) {
        let vm = release.machine(&kernel, layer, release.disk(), &release.deployment())?;
        let outcome = vm.run(Duration::from_secs(180))?;
        let verdict = judge(&outcome, release);
        let console = outcome.console_tail(30);
        ensure!(
            verdict == Verdict::SameTree,
            "{layer:?}, unharmed: {verdict:?}\n{console}"
        );
    }
    let report = attack::run(&Play::all(attacks), is_chosen, release)?;
    println!("\n{report}");
    report.tally.write(test)?;
    ensure!(
        report.failures.is_empty(),
        "{} wrong boots",
        report.failures.len()
    );
    Ok(())
}

fn is_layer(layer: Layer) -> bool {
    std::env::var(LAYER).map_or(true, |only| layer.to_string() == only)
}

fn is_chosen(play: &Play<'_>) -> bool {
    let Play { attack, layer } = play;
    if !is_layer(*layer) {
        return false;
    }
    if let Ok(words) = std::env::var(FILTER) {
        let mut words = words.split(',').filter(|word| !word.is_empty());
        return words.any(|word| attack.id.contains(word) || attack.name.contains(word));
    }
    std::env::var(FORM).is_ok_and(|form| form == "full") || is_short(play)
}
