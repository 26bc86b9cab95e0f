// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask machines`: what takes too long for every change.

use anyhow::{Context, Result};

use crate::check::virtual_machines;
use crate::setup::setup_for_machines;

/// Chooses at how many moments the power fails in each operation.
const CUTS: &str = "SEALROOT_POWER_CUTS";

/// How many those are, if nothing was chosen.
const USUAL_CUTS: u32 = 10;

/// Machines that run at the same time.
const AT_ONCE: u32 = 2;

/// What a boot takes with its steps under emulation where a machine has a processor, in seconds.
const SECONDS_PER_BOOT: u32 = 45;

/// Some of the tests of the night.
struct Part {
    /// What their names begin with, behind `vm::`.
    tests: &'static str,
    shows: &'static str,
    /// How often a machine is switched on, without what follows.
    boots: u32,
    /// The same for each moment at which the power fails.
    boots_per_cut: u32,
}

const PARTS: [Part; 11] = [
    Part {
        tests: "ostree_machine::nightly_",
        shows: "machines that run OSTree alone, and power cuts while it deploys",
        boots: 5 * 3 + 3 + 2 * 6,
        boots_per_cut: 0,
    },
    Part {
        tests: "life::long::nightly_",
        shows: "whole lives of each kind of machine, and one that is upgraded over HTTP",
        boots: 5 * 8 + 5,
        boots_per_cut: 0,
    },
    Part {
        tests: "life::short::nightly_",
        shows: "short lives in which the power fails, of the kinds that not every run has",
        boots: 3 + 4 + 4,
        boots_per_cut: 0,
    },
    Part {
        tests: "sealed_life::nightly_",
        shows: "a machine with Secure Boot: installed, upgraded with its image, sealed",
        boots: 4 + 4,
        boots_per_cut: 0,
    },
    Part {
        tests: "repair_image::nightly_",
        shows: "an image for repairs mends a sealed machine that does not boot",
        boots: 6,
        boots_per_cut: 0,
    },
    Part {
        tests: "stolen_key::nightly_",
        shows: "what a stolen release key is good for, and what ends that",
        boots: 8,
        boots_per_cut: 0,
    },
    Part {
        tests: "power::nightly_",
        shows: "power cuts while sealroot adopts, deploys, blesses, prunes, reverts",
        boots: 7 + 5,
        // Five operations, two kinds of disks; the cut, the repetition, and what boots then.
        boots_per_cut: 5 * 2 * 3,
    },
    Part {
        tests: "page::nightly_",
        shows: "the page on adoption, word by word",
        boots: 6 + 2,
        boots_per_cut: 0,
    },
    Part {
        tests: "attacks::nightly_",
        shows: "kernels of later Debians, and what they refuse",
        boots: 5 * 8,
        boots_per_cut: 0,
    },
    Part {
        tests: "dracut::nightly_",
        shows: "an initramfs that dracut makes",
        boots: 2,
        boots_per_cut: 0,
    },
    Part {
        tests: "initramfs_tools::nightly_",
        shows: "an initramfs that initramfs-tools makes",
        boots: 2,
        boots_per_cut: 0,
    },
];

/// Says what is to come, sets up, and plays it.
pub(crate) fn play() -> Result<()> {
    let cuts = match std::env::var(CUTS) {
        Ok(count) => count.parse().with_context(|| format!("{CUTS}={count}"))?,
        Err(_) => USUAL_CUTS,
    };
    print!("{}", announcement(cuts));
    setup_for_machines()?;
    let filters = PARTS.map(|part| part.tests);
    virtual_machines(&filters, &[(CUTS, &cuts.to_string())])
}

fn announcement(cuts: u32) -> String {
    let boots = |part: &Part| part.boots + part.boots_per_cut * cuts;
    let line = |part: &Part| format!("{:6} boots: {} ({})\n", boots(part), part.shows, part.tests);
    let lines: String = PARTS.iter().map(line).collect();
    let all: u32 = PARTS.iter().map(boots).sum();
    let minutes = all * SECONDS_PER_BOOT / AT_ONCE / 60;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!(
        "to be played:\n{lines}{all:6} boots, {AT_ONCE} at a time: about {hours} h {minutes:02} min \
         with a processor for each\n\
         power cuts of each operation on each kind of disk: {cuts} ({CUTS}=N chooses how many)\n"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::run::repository;

    /// What stays out of it: what it takes is in no archive that setup takes packages from.
    const APART: &str = "mkinitcpio::nightly_";

    #[test]
    fn each_test_of_the_night_is_announced() {
        let tests = repository().join("crates/testkit/tests/vm");
        let mut found = Vec::new();
        collect(&tests, "", &mut found);
        for prefix in &found {
            let is_part = PARTS.iter().any(|part| part.tests == prefix);
            assert!(is_part || prefix == APART, "{prefix} is in no part");
        }
        for part in &PARTS {
            assert!(found.iter().any(|prefix| prefix == part.tests));
        }
    }

    /// The modules with such tests, as what the names of those begin with.
    fn collect(directory: &Path, modules: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).expect("tests") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let inner = match stem.expect("a name") {
                "mod" => modules.to_owned(),
                name => format!("{modules}{name}::"),
            };
            if path.is_dir() {
                collect(&path, &inner, found);
            } else if fs::read_to_string(&path)
                .expect("a test")
                .contains("fn nightly_")
            {
                found.push(format!("{inner}nightly_"));
            }
        }
    }

    #[test]
    fn more_power_cuts_are_more_boots() {
        let few = announcement(1);
        assert!(few.contains("    42 boots: power cuts while"), "{few}");
        assert!(announcement(10).contains("   312 boots: power cuts while"));
    }
}
