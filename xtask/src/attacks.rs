// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask attack`, and the table of the attacks that were played.
//!
//! Each test that attacks leaves its counts in `target/attacks`, a line for each id and layer: id,
//! layer, attacks played, attacks known, boots, machines, wrong boots, damages to be mended, damages
//! mended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::check::virtual_machines;
use crate::run::repository;

/// The tests that attack.
const TESTS: [&str; 4] = ["attacks::", "floor::", "race::", "verity::"];

/// The column of what does not depend on the layer.
const NO_LAYER: &str = "-";

/// What no design of this kind stops.
const NOT_STOPPED: &str = "\
\nNot stopped here, and what to do about it:\n\
- A24: a defect of the kernel in reading the disk's own filesystem, which nobody signs: encrypt the \
partition, or dm-integrity, with a key that the TPM gives to a sealed boot alone\n\
- A26: state (/var) that somebody else wrote or took back to an earlier day: the same\n\
- A44: an interpreter that the release has, and that is given a script from /var: have the release start \
none from there; IPE, or fapolicyd\n";

type Numbers = [u64; 7];

/// Counts by id and layer.
type Counts = BTreeMap<(String, String), Numbers>;

fn directory() -> PathBuf {
    repository().join("target/attacks")
}

/// Plays the whole catalogue, or what has one of `words` in its id or name, and gives the table.
pub(crate) fn play(words: &[&str]) -> Result<()> {
    forget()?;
    let result = if words.is_empty() {
        virtual_machines(&TESTS, &[("SEALROOT_ATTACK_FORM", "full")])
    } else {
        let words = words.join(",");
        virtual_machines(&TESTS[..1], &[("SEALROOT_ATTACKS", &words)])
    };
    println!();
    report()?;
    result
}

/// Removes the counts of earlier runs.
pub(crate) fn forget() -> Result<()> {
    if directory().exists() {
        fs::remove_dir_all(directory()).context("removing the counts of earlier attacks")?;
    }
    // What runs with root's rights writes there; the directory stays the caller's.
    fs::create_dir_all(directory()).context("making a place for the counts of attacks")
}

/// Prints the table of what was played since [`forget`], and writes it to a file.
pub(crate) fn report() -> Result<()> {
    let mut counts = Counts::new();
    for entry in fs::read_dir(directory())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        read(&text, &mut counts).with_context(|| format!("reading {}", path.display()))?;
    }
    if counts.is_empty() {
        bail!("no attack was played");
    }
    let table = table(&counts)?;
    print!("{table}");
    let path = repository().join("target/attacks.md");
    fs::write(&path, table).with_context(|| format!("writing {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

fn read(text: &str, counts: &mut Counts) -> Result<()> {
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, layer, numbers @ ..] = words.as_slice() else {
            bail!("the line {line:?}");
        };
        let sum = counts
            .entry(((*id).to_owned(), (*layer).to_owned()))
            .or_default();
        anyhow::ensure!(numbers.len() == sum.len(), "the line {line:?}");
        for (sum, number) in sum.iter_mut().zip(numbers) {
            *sum += number.parse::<u64>().with_context(|| format!("{line:?}"))?;
        }
    }
    Ok(())
}

fn table(counts: &Counts) -> Result<String> {
    let mut text = String::from(
        "| id | erofs: played | boots | tmpfs: played | boots | either: played | boots | wrong |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let ids: BTreeSet<&str> = counts.keys().map(|(id, _)| id.as_str()).collect();
    let mut all = Numbers::default();
    for id in ids {
        write!(text, "| {id} |")?;
        let mut all_wrong = 0;
        for layer in ["erofs", "tmpfs", NO_LAYER] {
            let numbers = counts.get(&(id.to_owned(), layer.to_owned()));
            let Some([played, known, boots, _, wrong, ..]) = numbers else {
                write!(text, " | |")?;
                continue;
            };
            write!(text, " {} | {boots} |", of(*played, *known))?;
            all_wrong += wrong;
        }
        writeln!(text, " {all_wrong} |")?;
    }
    for numbers in counts.values() {
        for (sum, number) in all.iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    let [played, known, boots, machines, wrong, repairable, mended] = all;
    writeln!(
        text,
        "\nplayed {} attacks in {boots} boots on {machines} machines; wrong boots: {wrong}",
        of(played, known)
    )?;
    writeln!(
        text,
        "damages that one command or the boot loader's fallback mends: {mended} of {repairable}; left \
         unbootable: {}",
        repairable - mended
    )?;
    write!(text, "{NOT_STOPPED}")?;
    if played < known {
        writeln!(text, "`cargo xtask attack` plays all of them")?;
    }
    Ok(text)
}

fn of(played: u64, known: u64) -> String {
    if played == known {
        grouped(played)
    } else {
        format!("{} of {}", grouped(played), grouped(known))
    }
}

/// A number with commas.
fn grouped(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", grouped(number / 1000), number % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_tests_are_added_up() {
        let mut counts = Counts::new();
        read(
            "A01 erofs 240 240 1 1 0 0 0\nA12 tmpfs 3 9 2 1 0 2 1\n",
            &mut counts,
        )
        .expect("counts");
        read("A12 tmpfs 1000 1000 1 1 1 0 0\n", &mut counts).expect("counts");
        let text = table(&counts).expect("a table");
        assert!(text.contains("| A01 | 240 | 1 | | | | | 0 |"), "{text}");
        assert!(
            text.contains("| A12 | | | 1,003 of 1,009 | 3 | | | 1 |"),
            "{text}"
        );
        let total = "played 1,243 of 1,249 attacks in 4 boots on 3 machines; wrong boots: 1\n";
        assert!(text.contains(total), "{text}");
        assert!(
            text.contains("mends: 1 of 2; left unbootable: 1\n"),
            "{text}"
        );
        assert!(read("A01 erofs 1\n", &mut counts).is_err());
    }
}
