// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot status`

use std::fs;
use std::io::{self, Write};

use clap::Args;
use sealroot::deploy;
use sealroot::release::{self, ReleaseError};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{self, Keyset, Verified};
use serde::Serialize;

use crate::args::Common;
use crate::cmd::deploy::ModeChoice;
use crate::failure::class_of;
use crate::output::{Output, Report, counted};

/// Where the boot program leaves its record of this boot.
const BOOTED_RECORD: &str = "/run/sealroot/booted.json";

/// Secure Boot proves nothing as long as the firmware trusts others' keys too.
const FIRMWARE_KEYS: &str = "whose keys the firmware trusts is not looked at yet";

/// Show releases and deployments, and whether this system is sealed.
///
/// A system is sealed when everything from the firmware to / is verified. Until it is, every
/// reason why it is not is listed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Status {}

const EXAMPLES: &str = "\
Examples:
  sealroot status
  sealroot --sysroot /mnt --keyset vendor.keyset --json status";

#[derive(Serialize)]
struct StatusReport {
    sealed: bool,
    not_sealed_because: Vec<String>,
    booted: Option<serde_json::Value>,
    releases: Vec<ReleaseReport>,
    deployments: Vec<DeploymentReport>,
}

#[derive(Serialize)]
struct ReleaseReport {
    commit: String,
    stream: String,
    /// `signed`, `unsigned`, `refused` or, without a keyset, `unknown`.
    state: &'static str,
    /// The same in words.
    signatures: String,
}

#[derive(Serialize)]
struct DeploymentReport {
    name: String,
    os: Option<String>,
    version: Option<String>,
    index: Option<u64>,
    mode: Option<String>,
    is_booted: bool,
    /// Why the record cannot be read.
    problem: Option<String>,
}

impl Report for StatusReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.sealed {
            writeln!(out, "SEALED")?;
        } else {
            writeln!(out, "NOT SEALED: {}", self.not_sealed_because.join("; "))?;
        }
        writeln!(
            out,
            "\ndeployments:{}",
            none_if(self.deployments.is_empty())
        )?;
        for deployment in &self.deployments {
            let DeploymentReport {
                name,
                os,
                version,
                index,
                mode,
                problem,
                ..
            } = deployment;
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
            let mark = if deployment.is_booted { '*' } else { ' ' };
            let index = index.map(|index| index.to_string());
            write!(
                out,
                "{mark} {name} {} {} index {} mode {}",
                text(os),
                text(version),
                text(&index),
                text(mode)
            )?;
            match problem {
                Some(problem) => writeln!(out, " DAMAGED: {problem}")?,
                None => writeln!(out)?,
            }
        }
        writeln!(out, "\nreleases:{}", none_if(self.releases.is_empty()))?;
        for ReleaseReport {
            commit,
            stream,
            signatures,
            ..
        } in &self.releases
        {
            writeln!(out, "  {commit} {stream}: {signatures}")?;
        }
        Ok(())
    }
}

const fn none_if(is_empty: bool) -> &'static str {
    if is_empty { " none" } else { "" }
}

impl Status {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let keyset = match common.trusted_keyset() {
            Err(error) if common.keyset.is_none() && class_of(&error) == ErrorClass::NotFound => {
                None
            }
            keyset => Some(keyset?),
        };
        let booted = fs::read(BOOTED_RECORD)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let not_sealed_because = reasons(booted.as_ref());
        output.emit(&StatusReport {
            sealed: not_sealed_because.is_empty(),
            not_sealed_because,
            releases: releases(&store, keyset.as_ref())?,
            deployments: deployments(&store, booted.as_ref())?,
            booted,
        })
    }
}

/// Why this system is not sealed, from the boot program's own record.
fn reasons(booted: Option<&serde_json::Value>) -> Vec<String> {
    let Some(booted) = booted else {
        return vec!["this system was not booted by sealroot".to_owned()];
    };
    let Some(listed) = booted.get("insecure").and_then(serde_json::Value::as_array) else {
        return vec![format!("{BOOTED_RECORD} does not say that it is")];
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
        let (state, signatures) = match keyset {
            None => (
                "unknown",
                "no keyset to verify it with (--keyset FILE)".to_owned(),
            ),
            Some(keyset) => match release::verify_statement(store, keyset, commit, Some(&stream)) {
                Ok(statement) => {
                    let keys = counted(statement.signers().len() as u64, "key");
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
        });
    }
    Ok(releases)
}

fn deployments(
    store: &Store,
    booted: Option<&serde_json::Value>,
) -> anyhow::Result<Vec<DeploymentReport>> {
    let booted = booted.and_then(|booted| {
        let (commit, serial) = (
            booted.get("commit")?.as_str()?,
            booted.get("serial")?.as_u64()?,
        );
        Some(format!("{commit}.{serial}"))
    });
    let report = |deployment: deploy::Deployment| {
        let name = deployment.name.to_string();
        let is_booted = booted.as_ref() == Some(&name);
        match deployment.record {
            Ok(record) => DeploymentReport {
                name,
                os: Some(record.os.to_string()),
                version: record.release.map(|version| version.to_string()),
                index: Some(record.index),
                mode: Some(ModeChoice::from(record.mode).to_string()),
                is_booted,
                problem: None,
            },
            Err(error) => DeploymentReport {
                name,
                os: None,
                version: None,
                index: None,
                mode: None,
                is_booted,
                problem: Some(format!("{:#}", anyhow::Error::new(error))),
            },
        }
    };
    Ok(deploy::deployments(store)?
        .into_iter()
        .map(report)
        .collect())
}
