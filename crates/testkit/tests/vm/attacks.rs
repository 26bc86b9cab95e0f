// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release boots as signed, and whatever is done to its disk, nothing else does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::chain::{self, Bench, ChainAttack};
use sealroot_testkit::attack::system;
use sealroot_testkit::attack::{self, Attack, Form, Play, Report, Verdict, is_short, judge};
use sealroot_testkit::release::{Layer, Release, usual_kernel};

/// Set to `full` to play the whole catalogue and not only its short form.
const FORM: &str = "SEALROOT_ATTACK_FORM";

/// Set to attack only with what has one of these words in its id or name, comma between them.
/// Whatever is so named is played, also where it is not in the short form.
const FILTER: &str = "SEALROOT_ATTACKS";

/// Chooses the pairs; another number, other pairs.
const SEED: &str = "SEALROOT_ATTACK_SEED";

/// How many pairs are played in the full form, unless this is set to another number.
const PAIRS: (&str, usize) = ("SEALROOT_ATTACK_PAIRS", 100);

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

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn nightly_kernels_of_later_debians_boot_it_and_refuse_the_same() -> Result<()> {
    let Some(release) = super::shared::release(Mode::Sealed)? else {
        return Ok(());
    };
    let attacks = attack::kernel_catalogue();
    let is_chosen = |play: &Play<'_>| {
        let Play { attack, layer } = play;
        is_layer(*layer) && is_named([attack.id], &attack.name).unwrap_or(true)
    };
    let report = attack::run(&Play::all(&attacks), is_chosen, &release, form())?;
    end(&report, "kernels")
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn two_attacks_together_are_no_more_than_either() -> Result<()> {
    let Some(release) = super::shared::release(Mode::Sealed)? else {
        return Ok(());
    };
    let number = |name, otherwise: usize| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(otherwise),
    };
    let (seed, count) = (number(SEED, 1)?, number(PAIRS.0, PAIRS.1)?);
    println!("{count} pairs of {SEED}={seed}");
    let attacks = attack::pairs(u64::try_from(seed)?, count);
    let known = Play::all(&attacks);
    let is_chosen = |play: &Play<'_>| {
        let Play { attack, layer } = play;
        is_layer(*layer) && is_named([attack.id], &attack.name).unwrap_or_else(is_full)
    };
    end(&attack::run(&known, is_chosen, &release, form())?, "pairs")
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn a_sealed_machine_boots_nothing_else() -> Result<()> {
    let Some(release) = super::shared::release(Mode::Sealed)? else {
        return Ok(());
    };
    let Some(bench) = Bench::new(&release)? else {
        return Ok(());
    };
    let attacks = chain::catalogue();
    let is_chosen = |attack: &ChainAttack| {
        let ids = attack.ids.iter().map(|(id, _)| *id);
        is_named(ids, &attack.name).unwrap_or(is_full() || attack.is_short)
    };
    end(&chain::run(&attacks, is_chosen, &bench)?, "chain")
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn nothing_of_root_survives_on_a_sealed_machine() -> Result<()> {
    /// What the filter names this by.
    const NAME: &str = "root on a running system";
    const IDS: [&str; 7] = ["A31", "A32", "A33", "A42", "A43", "A44", "A45"];
    if !is_named(IDS, NAME).unwrap_or_else(is_full) {
        return end(&system::unplayed(), "system");
    }
    let Some(release) = super::shared::debian()? else {
        return Ok(());
    };
    let Some(bench) = Bench::new(&release)? else {
        return Ok(());
    };
    end(&system::run(&bench), "system")
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
    let report = attack::run(&Play::all(attacks), is_chosen, release, form())?;
    end(&report, test)
}

/// Leaves the counts for the table; an error if a boot was wrong.
fn end(report: &Report, test: &str) -> Result<()> {
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
    let by_form = || is_full() || is_short(play);
    is_layer(*layer) && is_named([attack.id], &attack.name).unwrap_or_else(by_form)
}

fn form() -> Form {
    match std::env::var(FORM) {
        Ok(form) if form == "full" => Form::Full,
        _ => Form::Short,
    }
}

fn is_full() -> bool {
    form() == Form::Full
}

/// Whether one of the words is in an id or in the name; nothing if there are no words.
fn is_named<'a>(ids: impl IntoIterator<Item = &'a str>, name: &'a str) -> Option<bool> {
    let words = std::env::var(FILTER).ok()?;
    let words: Vec<&str> = words.split(',').filter(|word| !word.is_empty()).collect();
    let mut texts = ids.into_iter().chain([name]);
    Some(texts.any(|text| words.iter().any(|word| text.contains(word))))
}
