// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many attacks there are and were played, by id and layer: what `cargo xtask` sums up.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};

use crate::need::repository;

/// Where the counts of each test lie, for `cargo xtask`.
const DIRECTORY: &str = "target/attacks";

/// Counts of one id in one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attacks played, counting every change that shares a boot with others.
    pub played: usize,
    /// Attacks in the catalogue.
    pub known: usize,
    /// How often the boot program was started.
    pub boots: usize,
    /// Machines switched on.
    pub machines: usize,
    /// Boots that ended in anything but what the attack's expectation allows.
    pub wrong: usize,
    /// Damages that were to be mended, with one command or by the boot loader's fallback.
    pub repairable: usize,
    /// Those of them after which the machine booted the signed tree.
    pub mended: usize,
}

impl Counts {
    const fn add(&mut self, other: Self) {
        self.played += other.played;
        self.known += other.known;
        self.boots += other.boots;
        self.machines += other.machines;
        self.wrong += other.wrong;
        self.repairable += other.repairable;
        self.mended += other.mended;
    }
}

/// Counts by id and layer.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<(String, String), Counts>);

impl Tally {
    /// Adds to the counts of an id in a layer; `-` where there is none.
    pub fn add(&mut self, id: &str, layer: &str, counts: Counts) {
        let key = (id.to_owned(), layer.to_owned());
        self.0.entry(key).or_default().add(counts);
    }

    /// Leaves the counts of a test that is one attack on one machine.
    pub fn write_one(test: &str, id: &str, layer: &str, is_wrong: bool) -> Result<()> {
        let mut tally = Self::default();
        let counts = Counts {
            played: 1,
            known: 1,
            boots: 1,
            machines: 1,
            wrong: is_wrong.into(),
            ..Counts::default()
        };
        tally.add(id, layer, counts);
        tally.write(test)
    }

    /// All of it together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.0.values() {
            total.add(*counts);
        }
        total
    }

    /// Leaves the counts of a test where `cargo xtask` finds them.
    pub fn write(&self, test: &str) -> Result<()> {
        let directory = repository().join(DIRECTORY);
        fs::create_dir_all(&directory)?;
        let path = directory.join(test);
        fs::write(&path, self.to_string()).with_context(|| format!("writing {}", path.display()))
    }
}

/// One line for each id and layer: id, layer, played, known, boots, machines, wrong, repairable,
/// mended.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((id, layer), counts) in &self.0 {
            let Counts {
                played,
                known,
                boots,
                machines,
                wrong,
                repairable,
                mended,
            } = counts;
            writeln!(
                f,
                "{id} {layer} {played} {known} {boots} {machines} {wrong} {repairable} {mended}"
            )?;
        }
        Ok(())
    }
}
