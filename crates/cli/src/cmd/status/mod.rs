// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot status`

mod floor;
mod report;

use std::cmp::Reverse;
use std::error::Error;

use clap::Args;
use sealroot::deploy::{self, Flag, Record};
use sealroot::entry::{Boot, Entries, Entry, Owner};
use sealroot::machine::{self, BootChoices, Booted, Found, Scan, State};
use sealroot::release::{self, ReleaseError};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{self, Keyset, Verified};

use crate::args::Common;
use crate::cmd::deploy::ModeChoice;
use crate::failure::class_of;
use crate::machine::BootArgs;
use crate::output::{Output, counted};

use floor::FloorStatus;
use report::{BootReport, DeploymentReport, ReleaseReport, StatusReport};

/// Secure Boot proves nothing as long as the firmware trusts others' keys too.
const FIRMWARE_KEYS: &str = "whose keys the firmware trusts is not looked at yet";

/// Nobody but this machine vouches for what decides at boot.
const MADE_INITRAMFS: &str = "the initramfs was made on this machine, the release brings none with \
                              sealroot-boot";

/// Show releases and deployments, and whether this system is sealed.
///
/// A system is sealed when everything from the firmware to / is verified. Until it is, every
/// reason why it is not is listed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Status {
    #[command(flatten)]
    boot: BootArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot status
  sealroot --sysroot /mnt --keyset vendor.keyset --json status";

impl Status {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let keyset = match common.trusted_keyset() {
            Err(error) if common.keyset.is_none() && class_of(&error) == ErrorClass::NotFound => {
                None
            }
            keyset => Some(keyset?),
        };
        let runtime = self.boot.runtime();
        let place = self.boot.find(common)?;
        let entries = place.found().map(Boot::entries).transpose()?;
        let choices = (entries.as_ref().map(BootChoices::of_entries)).unwrap_or_default();
        let text = Booted::read_text(&runtime).ok().flatten();
        let booted = text.and_then(|text| serde_json::from_slice(&text).ok());
        let mut not_sealed_because = reasons(booted.as_ref());
        let releases = releases(&store, keyset.as_ref())?;
        let scan = machine::scan(&store, &runtime, &choices)?;
        not_sealed_because.extend(scan.booted.as_ref().err().map(|error| explain(error)));
        for found in &scan.deployments {
            if found.states.contains(&State::Booted)
                && deploy::has_flag(&store, &found.name, Flag::MadeInitramfs)?
            {
                not_sealed_because.push(MADE_INITRAMFS.to_owned());
            }
        }
        output.emit(&StatusReport {
            sealed: not_sealed_because.is_empty(),
            not_sealed_because,
            migration: entries.as_ref().map(migration),
            floor: (Booted::read(&runtime).ok().flatten())
                .and_then(|booted| FloorStatus::of(&booted)),
            booted,
            boot_entries: BootReport {
                location: place
                    .found()
                    .map(|boot| boot.location().display().to_string()),
                loader: place.found().map(|boot| boot.loader().name()),
                problem: place.reason().map(str::to_owned),
                default: (entries.as_ref().and_then(Entries::default_entry))
                    .map(|entry| entry.file_name.clone()),
                default_is_not_ours_because: entries.as_ref().and_then(foreign_default),
                none_is_ours: (entries.as_ref()).is_some_and(|entries| !has_ours(entries)),
            },
            keyset: keyset.map(|_| common.keyset_path().display().to_string()),
            deployments: deployments(&scan, &releases),
            releases,
        })
    }
}

/// Why this system is not sealed, from the boot program's own record.
fn reasons(booted: Option<&serde_json::Value>) -> Vec<String> {
    let Some(booted) = booted else {
        return vec!["this system was not booted by sealroot".to_owned()];
    };
    let Some(listed) = booted.get("insecure").and_then(serde_json::Value::as_array) else {
        return vec!["the record of this boot does not say that it is".to_owned()];
    };
    let text = |reason: &serde_json::Value| {
        reason
            .as_str()
            .map_or_else(|| reason.to_string(), str::to_owned)
    };
    listed
        .iter()
        .map(text)
        .chain([FIRMWARE_KEYS.to_owned()])
        .collect()
}

fn releases(
    store: &Store,
    keyset: Option<&Verified<Keyset>>,
) -> anyhow::Result<Vec<ReleaseReport>> {
    let mut releases = Vec::new();
    for (commit, stream) in store.list_statements()? {
        let mut signers = Vec::new();
        let (state, signatures) = match keyset {
            None => (
                "unknown",
                "no keyset to verify it with (--keyset FILE)".to_owned(),
            ),
            Some(keyset) => match release::verify_statement(store, keyset, commit, Some(&stream)) {
                Ok(statement) => {
                    let keys = counted(statement.signers().len() as u64, "key");
                    signers = statement
                        .signers()
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                    ("signed", format!("signed by {keys}"))
                }
                Err(error) => {
                    let lacks_signatures = matches!(
                        error,
                        ReleaseError::Statement {
                            source: sign::Error::TooFewSignatures { .. },
                            ..
                        }
                    );
                    let (state, verdict) = if lacks_signatures {
                        ("unsigned", "NOT SIGNED")
                    } else {
                        ("refused", "REFUSED")
                    };
                    let reason = anyhow::Error::new(error);
                    (state, format!("{verdict}: {reason:#}"))
                }
            },
        };
        releases.push(ReleaseReport {
            commit: commit.to_string(),
            stream: stream.to_string(),
            state,
            signatures,
            signers,
        });
    }
    Ok(releases)
}

/// What there is, in the order in which it matters: what boots first, then the newest.
fn deployments(scan: &Scan, releases: &[ReleaseReport]) -> Vec<DeploymentReport> {
    let mut found: Vec<&Found> = scan.deployments.iter().collect();
    let deployed = |found: &Found| found.record.as_ref().map_or(0, |record| record.deployed);
    let rank = |found: &Found| {
        found
            .states
            .first()
            .copied()
            .map_or(u8::MAX, |state| state as u8)
    };
    found.sort_by_key(|found| (rank(found), Reverse(deployed(found)), Reverse(found.name)));
    found
        .into_iter()
        .map(|found| deployment(found, releases))
        .collect()
}

fn deployment(found: &Found, releases: &[ReleaseReport]) -> DeploymentReport {
    let record = found.record.as_ref();
    let of = |value: fn(&Record) -> String| record.ok().map(value);
    let maybe = |value: fn(&Record) -> Option<String>| record.ok().and_then(value);
    let stream = of(|record| record.stream.to_string());
    let release = releases.iter().find(|release| {
        release.commit == found.name.commit.to_hex() && Some(&release.stream) == stream.as_ref()
    });
    DeploymentReport {
        name: found.name.to_string(),
        os: of(|record| record.os.to_string()),
        version: maybe(|record| record.release.as_ref().map(ToString::to_string)),
        index: record.ok().map(|record| record.index),
        mode: of(|record| ModeChoice::from(record.mode).to_string()),
        etc: record.ok().and_then(|record| Some(record.etc?.as_str())),
        stateroot: maybe(|record| record.stateroot.as_ref().map(ToString::to_string)),
        origin: maybe(|record| record.origin.as_ref().map(ToString::to_string)),
        pack: of(|record| record.pack.to_string()),
        deployed: record.ok().map(|record| record.deployed),
        is_booted: found.states.contains(&State::Booted),
        states: found.states.iter().map(|state| state.as_str()).collect(),
        kernel_arguments: found.arguments.clone(),
        signatures: release.map(|release| release.state),
        signers: release.map_or_else(Vec::new, |release| release.signers.clone()),
        problem: record.err().map(|error| explain(error)),
        stream,
    }
}

/// An error and its causes.
fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// How far the machine has moved over from OSTree, as its boot entries tell.
fn migration(all: &Entries) -> &'static str {
    let entries = all.in_boot_order();
    let is_ostree = |entry: &Entry| entry.owner == Owner::Ostree;
    match (has_ours(all), entries.iter().any(is_ostree)) {
        (false, _) => "legacy",
        (true, true) => "dual",
        (true, false) => "sealed-only",
    }
}

fn has_ours(entries: &Entries) -> bool {
    let mut entries = entries.in_boot_order().iter();
    entries.any(|entry| entry.ours().is_some())
}

/// Why what boots by default is none of ours, where there are entries of ours.
fn foreign_default(entries: &Entries) -> Option<String> {
    let is_ours = |entry: &Entry| matches!(entry.owner, Owner::Sealroot(_) | Owner::Changed { .. });
    entries
        .in_boot_order()
        .iter()
        .find(|entry| is_ours(entry))?;
    match &entries.default_entry()?.owner {
        Owner::Sealroot(_) => None,
        Owner::Changed { reason, .. } => Some(format!("it was changed by hand: {reason}")),
        Owner::Ostree => Some("it is OSTree's".to_owned()),
        Owner::Other => Some("it is none of sealroot's".to_owned()),
    }
}
