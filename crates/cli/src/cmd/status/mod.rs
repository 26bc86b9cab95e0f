// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot status`

mod floor;
mod report;

use std::cmp::Reverse;

use clap::Args;
use sealroot::deploy::Record;
use sealroot::entry::{Boot, Entries, Entry, Owner};
use sealroot::machine::{self, BootChoices, Booted, Found, Scan, State};
use sealroot::release::{self, ReleaseError};
use sealroot::seal::{self, Migration};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{self, Keyset, Verified};

use crate::args::Common;
use crate::cmd::deploy::ModeChoice;
use crate::failure::{class_of, with_causes};
use crate::machine::BootArgs;
use crate::output::{Output, counted};
use crate::sealing::SealingArgs;

use floor::FloorStatus;
use report::{BootReport, DeploymentReport, LoadOptionReport, ReleaseReport, StatusReport};

/// Show releases and deployments, and whether this system is sealed.
///
/// A system is sealed when everything from the firmware to / is verified. Until it is, every
/// reason why it is not is listed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Status {
    #[command(flatten)]
    boot: BootArgs,

    #[command(flatten)]
    sealing: SealingArgs,
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
        let releases = releases(&store, keyset.as_ref())?;
        let scan = machine::scan(&store, &runtime, &choices)?;
        let further = place.found().map(|found| self.boot.further(common, found));
        let further = further.transpose()?.unwrap_or_default();
        let found = match (place.found(), &entries) {
            (Some(found), Some(entries)) => Ok((found, entries, &further[..])),
            _ => Err(place.reason().unwrap_or_default()),
        };
        let facts = self.sealing.facts(&self.boot, &store, &scan, found)?;
        let judged = seal::judge(&facts);
        output.emit(&StatusReport {
            sealed: judged.reasons.is_empty(),
            not_sealed_because: judged.reasons.into_iter().map(Into::into).collect(),
            notes: judged.notes.into_iter().map(Into::into).collect(),
            migration: judged.migration.map(Migration::as_str),
            floor: (Booted::read(&runtime).ok().flatten())
                .and_then(|booted| FloorStatus::of(&booted, &self.sealing.firmware.firmware())),
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
            deployments: deployments(&scan, &releases, entries.as_ref()),
            releases,
        })
    }
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
fn deployments(
    scan: &Scan,
    releases: &[ReleaseReport],
    entries: Option<&Entries>,
) -> Vec<DeploymentReport> {
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
        .map(|found| {
            let entry = entries.and_then(|entries| entries.of(&found.name));
            deployment(found, releases, entry)
        })
        .collect()
}

fn deployment(
    found: &Found,
    releases: &[ReleaseReport],
    entry: Option<&Entry>,
) -> DeploymentReport {
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
        load_option: (entry.and_then(|entry| entry.option)).map(LoadOptionReport::new),
        signatures: release.map(|release| release.state),
        signers: release.map_or_else(Vec::new, |release| release.signers.clone()),
        problem: record.err().map(|error| with_causes(error)),
        stream,
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
        Owner::Other | Owner::Firmware => Some("it is none of sealroot's".to_owned()),
    }
}
