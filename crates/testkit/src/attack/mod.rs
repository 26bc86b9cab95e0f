// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attacks on a deployed release, as data: a change of its disk and what may come of it.
//!
//! The ids are those of the threat model. Whatever an attack does, the machine must end in the
//! very tree that was signed, with nothing more than files that cannot be read, or in a refusal
//! with the right code. Anything else is a wrong boot.

pub mod chain;
mod content;
mod cross;
mod fickle;
pub mod hostile;
mod integrity;
pub mod judge;
mod kernels;
mod mending;
mod metadata;
mod names;
mod pairs;
mod parameters;
mod policy;
pub mod race;
mod run;
mod short;
pub mod system;
pub mod tally;
mod tries;

use std::collections::BTreeSet;

use anyhow::Result;

use crate::disk::Disk;
use crate::guest::ProbeJob;
use crate::kernel::Series;
use crate::release::{Layer, Release};
use hostile::Hostile;

pub use content::EXTENTS_ONLY;
pub use integrity::integrity_catalogue;
pub use judge::{Verdict, judge};
pub use kernels::kernel_catalogue;
pub use pairs::pairs;
pub use run::{Form, Play, Report, run};
pub use short::is_short;

/// What a change needs to know and may do.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// A copy of the release's disk, to be spoiled.
    pub disk: &'a Disk,
    /// The release on it.
    pub release: &'a Release,
}

/// A change of the disk; it gives what the probe is to do to the running machine, if anything.
pub type Change = Box<dyn Fn(Target<'_>) -> Result<Option<ProbeJob>> + Send + Sync>;

/// Blocks of a disk.
type Blocks = fn(Target<'_>) -> Result<BTreeSet<u64>>;

/// What an attack does.
#[expect(missing_debug_implementations, reason = "a change is code")]
pub enum Kind {
    /// Changes a copy of the release's disk.
    Change(Change),
    /// Boots a hostile release, signed with the genuine key.
    Hostile(Hostile),
}

/// One attack.
#[expect(missing_debug_implementations, reason = "a change is code")]
pub struct Attack {
    /// The id in the threat model.
    pub id: &'static str,
    /// The code that does it; several attacks share one.
    pub mutator: &'static str,
    /// What is done, for people.
    pub name: String,
    /// How many separate changes of the same expectation share this boot.
    pub mutants: usize,
    /// What is done.
    pub kind: Kind,
    /// What may come of it, in both layers or in either.
    pub accept: Accept,
    /// The layers it is tried in.
    pub layers: &'static [Layer],
    /// The machine it is tried on.
    pub machine: Machine,
    /// Whether it has that machine for itself.
    pub stage: Stage,
    /// What the policy says otherwise than usual, by key, on [`Stage::Shared`]; `PACK` stands for
    /// the release's pack.
    pub policy: Vec<(&'static str, &'static str)>,
    /// The blocks of the disk of which a second read gives something else.
    fickle: Option<Blocks>,
    /// The command line that the policy fixes, and what the machine has instead.
    line: Option<parameters::Line>,
    /// Whether the damage that it does is mended before the boot.
    pub is_mended: bool,
}

/// Where an attack is played. Each has a disk of its own either way, and is judged alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A machine of its own, from power-on; in the [short form](Form::Short) as the others, if that
    /// will do.
    Machine,
    /// One of several boots on one machine, one after another: the boot program as process 1 of
    /// new namespaces, from the very initramfs.
    Shared,
}

/// The machine of an attack, where it is not the usual one.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel.
    pub series: Series,
    /// Memory.
    pub memory_mib: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            series: Series::V6_12,
            memory_mib: 512,
        }
    }
}

/// What may come of an attack.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    same_tree: bool,
    unreadable: Unreadable,
    other_attributes: Vec<String>,
    other_content: Vec<String>,
    refusals: Vec<&'static str>,
    denied: bool,
}

/// Which paths may be unreadable in a machine that boots.
#[derive(Clone, Debug, Default)]
enum Unreadable {
    #[default]
    None,
    These(Vec<String>),
    Within(Vec<String>),
    Any,
}

impl Accept {
    /// The tree as signed, all of it readable.
    pub fn same_tree() -> Self {
        Self {
            same_tree: true,
            ..Self::default()
        }
    }

    /// A refusal with one of these codes.
    pub fn refused(codes: &[&'static str]) -> Self {
        Self {
            refusals: codes.to_vec(),
            ..Self::default()
        }
    }

    /// The firmware starts nothing.
    pub fn denied() -> Self {
        Self {
            denied: true,
            ..Self::default()
        }
    }

    /// The tree as signed, but for these paths, which cannot be read.
    pub fn unreadable(paths: &[&str]) -> Self {
        Self {
            unreadable: Unreadable::These(paths.iter().map(|path| format!("./{path}")).collect()),
            ..Self::default()
        }
    }

    /// The genuine tree, but for the attributes of these paths, which the hostile release has
    /// otherwise.
    pub fn other_attributes(paths: &[&str]) -> Self {
        Self {
            other_attributes: paths.iter().map(|path| format!("./{path}")).collect(),
            ..Self::default()
        }
    }

    /// The tree as signed, but for the content of these paths, which changes after it was checked:
    /// what a mode says it does not hold against.
    pub fn limit(paths: &[&str]) -> Self {
        Self {
            other_content: paths.iter().map(|path| format!("./{path}")).collect(),
            ..Self::default()
        }
    }

    /// The tree as signed, but for paths that cannot be read.
    pub fn some_unreadable() -> Self {
        Self {
            unreadable: Unreadable::Any,
            ..Self::default()
        }
    }

    /// Also a refusal with one of these codes.
    #[must_use]
    pub fn or_refused(mut self, codes: &[&'static str]) -> Self {
        self.refusals.extend(codes);
        self
    }

    /// Also the tree as signed.
    #[must_use]
    pub const fn or_same_tree(mut self) -> Self {
        self.same_tree = true;
        self
    }

    /// Whether a verdict is among what may come.
    pub fn allows(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::SameTree => self.same_tree,
            Verdict::Unreadable(paths) => match &self.unreadable {
                Unreadable::None => false,
                Unreadable::Any => true,
                Unreadable::These(allowed) => paths == allowed,
                Unreadable::Within(allowed) => paths.iter().all(|path| allowed.contains(path)),
            },
            Verdict::OtherAttributes(paths) => *paths == self.other_attributes,
            Verdict::OtherContent(paths) => *paths == self.other_content,
            Verdict::Refused { code, .. } => self.refusals.contains(&code.as_str()),
            Verdict::Denied => self.denied,
            Verdict::Died(_) | Verdict::Wrong(_) => false,
        }
    }
}

impl Attack {
    fn new(
        id: &'static str,
        mutator: &'static str,
        name: impl Into<String>,
        accept: Accept,
        change: impl Fn(Target<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id,
            mutator,
            name: name.into(),
            mutants: 1,
            kind: Kind::Change(Box::new(move |target| change(target).map(|()| None))),
            accept,
            layers: &[Layer::Erofs, Layer::Tmpfs],
            machine: Machine::default(),
            stage: Stage::Machine,
            policy: Vec::new(),
            fickle: None,
            line: None,
            is_mended: false,
        }
    }

    /// Changes a disk; for what has nothing for the probe to do.
    fn change(&self, target: Target<'_>) -> Result<()> {
        match &self.kind {
            Kind::Change(change) => change(target).map(drop),
            Kind::Hostile(_) => anyhow::bail!("{} changes no disk", self.name),
        }
    }

    /// Whether it changes a disk and nothing else, and the usual machine shows what comes of it: then
    /// [`Stage::Shared`] does for it.
    fn may_share(&self) -> bool {
        let is_change = matches!(self.kind, Kind::Change(_));
        let changes_the_disk = is_change && self.fickle.is_none() && self.line.is_none();
        let is_usual = self.machine.series == Series::V6_12;
        changes_the_disk && is_usual && self.mutator != content::RUNNING_DISK
    }

    const fn on(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    fn mutants(mut self, mutants: usize) -> Self {
        self.mutants = mutants;
        self
    }

    fn only(mut self, layers: &'static [Layer]) -> Self {
        self.layers = layers;
        self
    }
}

/// All attacks on a release's disk.
pub fn catalogue() -> Vec<Attack> {
    let mut attacks = Vec::new();
    attacks.extend(names::attacks());
    attacks.extend(metadata::attacks());
    attacks.extend(content::attacks());
    attacks.extend(policy::attacks());
    attacks.extend(hostile::attacks());
    attacks.extend(fickle::attacks());
    attacks.extend(cross::attacks());
    attacks.extend(mending::attacks());
    attacks.extend(parameters::attacks());
    attacks.push(Attack {
        machine: Machine {
            series: Series::V6_1,
            ..Machine::default()
        },
        ..Attack::new(
            "A06",
            "kernel",
            "a kernel that would merge",
            Accept::refused(&["kernel"]),
            |_| Ok(()),
        )
    });
    attacks
}
