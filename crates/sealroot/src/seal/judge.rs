// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a machine is sealed, decided from facts alone: every reason why it is not, and what
//! mends it (docs/design/seal.md).

use std::collections::BTreeSet;

use sealroot_format::policy::DeploymentName;

use super::certificate::{Owner, Trusted};
use super::firmware::{FirmwareKeys, Keys, Verifies};
use super::ways::{SealedImage, Way, WayKind};
use crate::machine::Booted;

/// All that the judgement depends on.
#[derive(Debug)]
pub struct Facts {
    /// What the boot program says of this boot; `None` if it was not ours, the reason where the
    /// record cannot be read.
    pub booted: Result<Option<Booted>, String>,
    /// The deployments that may be what runs.
    pub runs: Vec<DeploymentName>,
    /// What the firmware says.
    pub firmware: FirmwareKeys,
    /// All that may boot by a menu, on all partitions; the reason where that is not known.
    pub ways: Result<Vec<Way>, String>,
    /// The image that the firmware names as started, where it could be looked for.
    pub started: Option<Result<SealedImage, String>>,
    /// Whose certificates were named as the owner's. The signers of what boots count besides.
    pub owner: Owner,
    /// Whether the initramfs of what runs was made on this machine.
    pub has_made_initramfs: bool,
    /// What is mounted over `/usr` of what runs, or in it.
    pub covered: Vec<String>,
}

/// What speaks against calling a machine sealed, or should be known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Of which kind.
    pub kind: ReasonKind,
    /// What it is, in a line.
    pub what: String,
    /// What mends it, in a line.
    pub mend: String,
}

/// Kinds of reasons, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReasonKind {
    /// Sealroot has not booted what runs, or it is not known what runs.
    NotBooted,
    /// The boot program itself said so.
    Boot,
    /// Secure Boot is not on.
    SecureBoot,
    /// What runs was not started from an image that seals.
    NoImage,
    /// Keys that are not the owner's let images start, or may change which do.
    FirmwareKeys,
    /// A boot entry does not seal.
    UnsealedEntry,
    /// An image that boot loaders find without an entry does not seal.
    UnsealedImage,
    /// It is not known what is in the boot menus.
    UnknownEntries,
    /// What runs was changed until it is booted again.
    Covered,
    /// Older releases boot.
    NoFloor,
    /// Too few good boots are remembered to seal.
    GoodBoots,
    /// Nobody has shown that root keys are held.
    Recovery,
}

impl ReasonKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotBooted => "not-booted",
            Self::Boot => "boot",
            Self::SecureBoot => "secure-boot",
            Self::NoImage => "no-image",
            Self::FirmwareKeys => "firmware-keys",
            Self::UnsealedEntry => "unsealed-entry",
            Self::UnsealedImage => "unsealed-image",
            Self::UnknownEntries => "unknown-entries",
            Self::Covered => "covered",
            Self::NoFloor => "no-floor",
            Self::GoodBoots => "good-boots",
            Self::Recovery => "recovery",
        }
    }
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Why the machine is not sealed; empty if it is.
    pub reasons: Vec<Reason>,
    /// What should be known of it all the same.
    pub notes: Vec<Reason>,
    /// How far it has moved over, as far as its menus are known.
    pub migration: Option<Migration>,
}

/// How far a machine has moved over, as its boot menus tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Migration {
    /// Nothing of sealroot's boots.
    Legacy,
    /// Sealroot's deployments boot, and something boots that does not seal: another's, or a kernel of
    /// ours with the initramfs beside it.
    Dual,
    /// Only images that seal boot.
    Sealed,
}

impl Migration {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Dual => "dual",
            Self::Sealed => "sealed",
        }
    }

    fn of(ways: &[Way], started: Option<&SealedImage>) -> Self {
        let is_without_menu = ways.is_empty() && started.is_some();
        if !is_without_menu && !ways.iter().any(|way| way.is_ours) {
            Self::Legacy
        } else if ways.iter().all(|way| way.image.is_ok()) {
            Self::Sealed
        } else {
            Self::Dual
        }
    }
}

const BUILD_AN_IMAGE: &str = "boot an image: `sealroot uki build`, `uki sign`, `deploy --uki`";

/// Judges the facts.
pub fn judge(facts: &Facts) -> Judgement {
    let mut found = Found::default();
    found.boot(facts);
    let owner = found.image(facts);
    found.firmware(&facts.firmware);
    found.keys(&facts.firmware, &owner);
    let migration = match &facts.ways {
        Ok(ways) => {
            found.entries(ways);
            Some(Migration::of(ways, started_image(facts)))
        }
        Err(reason) => {
            let what = format!("what boots here is not known: {reason}");
            let mend = "name the boot partition with --boot DIR --boot-loader NAME";
            found.reason(ReasonKind::UnknownEntries, what, mend);
            None
        }
    };
    for mount in &facts.covered {
        let what = format!("{mount} is mounted over what was verified");
        found.reason(ReasonKind::Covered, what, "reboot: it lasts until then");
    }
    found.floor(facts);
    Judgement {
        reasons: found.reasons,
        notes: found.notes,
        migration,
    }
}

/// The entries of what runs.
fn ways_of_running(facts: &Facts) -> impl Iterator<Item = &Way> {
    let ways = facts.ways.as_deref().unwrap_or_default().iter();
    ways.filter(|way| {
        way.deployment
            .is_some_and(|name| facts.runs.contains(&name))
    })
}

/// The image that the firmware names as started, if it seals.
fn started_image(facts: &Facts) -> Option<&SealedImage> {
    facts.started.as_ref().and_then(|image| image.as_ref().ok())
}

/// The image that what runs was started from, as far as that can be known.
pub fn running_image(facts: &Facts) -> Option<&SealedImage> {
    let booted = facts.booted.as_ref().ok().and_then(Option::as_ref)?;
    let of_entry = ways_of_running(facts).find_map(|way| way.image.as_ref().ok());
    let image = of_entry.or_else(|| started_image(facts))?;
    image
        .pack
        .is_none_or(|pack| pack == booted.pack)
        .then_some(image)
}

#[derive(Default)]
struct Found {
    reasons: Vec<Reason>,
    notes: Vec<Reason>,
}

fn reason(kind: ReasonKind, what: impl Into<String>, mend: impl Into<String>) -> Reason {
    Reason {
        kind,
        what: what.into(),
        mend: mend.into(),
    }
}

impl Found {
    fn reason(&mut self, kind: ReasonKind, what: impl Into<String>, mend: impl Into<String>) {
        self.reasons.push(reason(kind, what, mend));
    }

    fn boot(&mut self, facts: &Facts) {
        match &facts.booted {
            Err(problem) => {
                let mend = "boot a release of sealroot's; `sealroot deploy` makes it boot next";
                self.reason(ReasonKind::NotBooted, problem, mend);
            }
            Ok(None) => self.reason(
                ReasonKind::NotBooted,
                "this system was not booted by sealroot",
                "boot a release of sealroot's; `sealroot deploy` makes it boot next",
            ),
            Ok(Some(booted)) => {
                for said in &booted.insecure {
                    self.reason(ReasonKind::Boot, said, mend_of_boot(said));
                }
            }
        }
    }

    /// Looks for the image that runs; whose certificates are the owner's.
    fn image(&mut self, facts: &Facts) -> Owner {
        let mut owner = facts.owner.clone();
        let ways = facts.ways.as_deref().unwrap_or_default();
        let running = running_image(facts);
        // Where none of ours runs, what boots next says whose certificates are meant.
        let next = ways.iter().find_map(|way| way.image.as_ref().ok());
        if let Some(image) = running.or(next) {
            owner.certificates.extend(&image.signers);
        }
        let sealed = ways.iter().filter_map(|way| way.image.as_ref().ok());
        owner.images.extend(sealed.map(|image| image.digest));
        owner
            .images
            .extend(started_image(facts).map(|image| image.digest));
        if matches!(facts.booted, Ok(Some(_))) && running.is_none() {
            self.no_image(facts);
        }
        owner
    }

    fn no_image(&mut self, facts: &Facts) {
        let why = ways_of_running(facts).find_map(|way| way.image.as_ref().err());
        let why = why.or(match &facts.started {
            Some(Err(why)) => Some(why),
            _ => None,
        });
        let what = match why {
            _ if facts.has_made_initramfs => {
                "the initramfs was made on this machine, the release brings none with \
                 sealroot-boot"
                    .to_owned()
            }
            Some(why) => format!("what runs was not started from an image that seals: {why}"),
            None => "what runs is not known to have been started from an image".to_owned(),
        };
        self.reason(ReasonKind::NoImage, what, BUILD_AN_IMAGE);
    }

    fn firmware(&mut self, firmware: &FirmwareKeys) {
        let is_told = |reason: &Reason| reason.what.starts_with("Secure Boot is ");
        let state = match firmware.verifies {
            Verifies::Images => None,
            Verifies::Nothing => Some("off"),
            Verifies::InSetup => Some("in setup mode"),
            Verifies::InAudit => Some("in audit mode, where everything starts"),
            Verifies::Unknown => Some("not there"),
        };
        if let Some(state) = state.filter(|_| !self.reasons.iter().any(is_told)) {
            let what = format!("Secure Boot is {state}");
            self.reason(ReasonKind::SecureBoot, &what, mend_of_boot(&what));
        }
        if firmware.is_shim_off {
            let mend = "turn it on again: `mokutil --enable-validation`, then reboot";
            let what = "shim was told not to verify what it starts";
            self.reason(ReasonKind::SecureBoot, what, mend);
        }
    }

    fn keys(&mut self, firmware: &FirmwareKeys, owner: &Owner) {
        let from_db = "take it out of db, in the firmware's set-up or by enrolling db anew";
        let from_shim = "take it out: `mokutil --delete FILE`, then reboot; or do without shim";
        self.starting("db", &firmware.images, owner, from_db);
        self.starting("MokList", &firmware.shim, owner, from_shim);
        for (list, keys) in [("PK", &firmware.platform), ("KEK", &firmware.exchange)] {
            self.changing(list, keys, owner);
        }
    }

    /// Those by which images start.
    fn starting(&mut self, list: &str, keys: &Keys, owner: &Owner, mend: &str) {
        let Some(keys) = self.readable(list, keys) else {
            return;
        };
        let foreign = keys.iter().filter(|trusted| !owner.has(trusted));
        let foreign: BTreeSet<&Trusted> = foreign.collect();
        if owner.certificates.is_empty() && !foreign.is_empty() {
            let names: Vec<_> = foreign.iter().map(ToString::to_string).collect();
            let what = format!(
                "{list} trusts {}; which of them is the owner's is not known",
                names.join("; ")
            );
            let mend = format!("{BUILD_AN_IMAGE}; or name the owner's with --owner FILE");
            self.reason(ReasonKind::FirmwareKeys, what, mend);
            return;
        }
        let is_image = |trusted: &&&Trusted| matches!(trusted, Trusted::Image(_));
        let images = foreign.iter().filter(is_image).count();
        for trusted in foreign.iter().filter(|trusted| !is_image(trusted)) {
            let what = format!("{list} trusts {trusted}, which is not the owner's");
            self.reason(ReasonKind::FirmwareKeys, what, mend);
        }
        if images > 0 {
            let start = if images == 1 {
                "1 image start that is".to_owned()
            } else {
                format!("{images} images start that are")
            };
            let what = format!("{list} lets {start} in no boot menu as an image that seals");
            self.reason(ReasonKind::FirmwareKeys, what, mend);
        }
    }

    /// Those that may change by which images start.
    fn changing(&mut self, list: &str, keys: &Keys, owner: &Owner) {
        let Some(keys) = self.readable(list, keys) else {
            return;
        };
        let foreign: BTreeSet<_> = keys.iter().filter(|trusted| !owner.has(trusted)).collect();
        for trusted in foreign {
            let may = format!("{list} has {trusted}: whoever has its key may change db");
            if owner.is_named || trusted.is_microsofts() {
                let mend = "put the owner's keys alone there, in the firmware's set-up";
                self.reason(ReasonKind::FirmwareKeys, may, mend);
            } else {
                let mend = "if it is the owner's, name it with --owner FILE or in the release's \
                            /usr/lib/sealroot/owner.pem";
                self.notes.push(reason(ReasonKind::FirmwareKeys, may, mend));
            }
        }
    }

    fn readable<'k>(&mut self, list: &str, keys: &'k Keys) -> Option<&'k [Trusted]> {
        match keys {
            Ok(keys) => Some(keys),
            Err(problem) => {
                let what = format!("whom {list} trusts cannot be read: {problem}");
                let mend = "enrol the owner's keys anew, in the firmware's set-up";
                self.reason(ReasonKind::FirmwareKeys, what, mend);
                None
            }
        }
    }

    fn entries(&mut self, ways: &[Way]) {
        for way in ways {
            let Err(why) = &way.image else {
                continue;
            };
            let (kind, what, mend) = match way.kind {
                WayKind::Entry => (
                    ReasonKind::UnsealedEntry,
                    "boot entry",
                    "`sealroot seal` removes it when all else is done",
                ),
                WayKind::Unreadable => (
                    ReasonKind::UnknownEntries,
                    "boot entry",
                    "see what it is, and move it away if nothing boots with it",
                ),
                WayKind::Image => (
                    ReasonKind::UnsealedImage,
                    "image",
                    "remove it, if nobody needs it",
                ),
            };
            let (file, place) = (&way.file, way.place.display());
            let what = format!("the {what} {file} in {place} boots too: {why}");
            self.reason(kind, what, mend);
        }
    }

    /// What is verified is the owner's with or without a floor; without one, it may be old.
    fn floor(&mut self, facts: &Facts) {
        let Ok(Some(booted)) = &facts.booted else {
            return;
        };
        if booted.floor.is_none_or(|floor| floor.store.is_empty()) {
            self.notes.push(reason(
                ReasonKind::NoFloor,
                "no floor is kept in the firmware or the TPM: older releases of the owner's boot",
                "`sealroot floor enrol`, then images with --floor-efi or --floor-tpm",
            ));
        }
    }
}

/// The way out of what the boot program says.
fn mend_of_boot(said: &str) -> &'static str {
    let known = [
        ("the mode is ", "build the image with --mode sealed"),
        (
            "/etc is kept ",
            "build the image with --etc transient or --etc allowlist",
        ),
        (
            "Secure Boot is ",
            "enrol the owner's keys in the firmware, and turn Secure Boot on there",
        ),
        (
            "the kernel is not locked down",
            "boot with lockdown=integrity, which images of `sealroot uki build` have",
        ),
        (
            "the policy allows an insecure boot",
            "build the image without --allow-insecure-boot",
        ),
    ];
    let found = known.iter().find(|(start, _)| said.starts_with(start));
    found.map_or(BUILD_AN_IMAGE, |(_, mend)| mend)
}
