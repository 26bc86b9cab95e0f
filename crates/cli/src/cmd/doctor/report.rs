// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `sealroot doctor` prints.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use sealroot::doctor::{self, Check, Finding, Mend, Severity, Verdict};
use sealroot::entry::Room;
use sealroot_format::sign::Keyset;
use serde::Serialize;

use crate::args::Common;
use crate::certificate::CertificateReport;
use crate::machine::{BootArgs, NAME_THE_BOOT_PARTITION};
use crate::output::{Report, counted, printable};

/// All that was looked at.
#[derive(Serialize)]
pub(super) struct DoctorReport {
    /// The worst there is: `ok`, `warning` or `failure`.
    outcome: &'static str,
    checks: Vec<CheckReport>,
    entries: Vec<EntryReport>,
    deployments: u64,
    packs: u64,
    objects: u64,
    /// The deployment that is staged.
    staged: Option<String>,
    /// Null where no boot partition is known.
    room: Option<RoomReport>,
    elapsed_ms: u64,
}

#[derive(Serialize)]
struct CheckReport {
    check: &'static str,
    /// `ok`, `warning` or `failure`.
    outcome: &'static str,
    findings: Vec<FindingReport>,
    #[serde(skip)]
    summary: String,
}

#[derive(Serialize)]
struct FindingReport {
    /// `warning` or `failure`.
    severity: &'static str,
    place: String,
    expected: String,
    found: String,
    /// The command that mends it, or what to do where no command does.
    mend: String,
}

#[derive(Serialize)]
struct EntryReport {
    /// Its file.
    entry: String,
    deployment: String,
    is_default: bool,
    /// `boots`, `unknown` or `refused`.
    verdict: &'static str,
    /// Those that the kernel's keyring for fs-verity gets.
    verity_certificates: Vec<CertificateReport>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit is the last word")]
struct RoomReport {
    available_bytes: u64,
    /// What the next update may free.
    freeable_bytes: u64,
    /// The largest kernel with initramfs, or image.
    largest_bytes: u64,
}

impl DoctorReport {
    pub(super) fn new(
        report: &doctor::Report,
        keyset: Option<&Keyset>,
        took: Duration,
        common: &Common,
        boot: &BootArgs,
    ) -> Self {
        let commands = Commands {
            machine: command(common),
            boot: boot.words(),
        };
        let findings = |check: Check| {
            let findings = report.of(check);
            let findings = findings
                .map(|(severity, finding)| FindingReport::new(severity, finding, &commands));
            findings.collect()
        };
        let checks = Check::ALL.map(|check| CheckReport {
            check: check.as_str(),
            outcome: word(report.worst_of(check)),
            findings: findings(check),
            summary: summary(check, report, keyset, took),
        });
        Self {
            outcome: word(report.worst()),
            checks: checks.into(),
            entries: report.entries.iter().map(EntryReport::new).collect(),
            deployments: report.deployments,
            packs: report.packs,
            objects: report.objects,
            staged: report.staged.map(|name| name.to_string()),
            room: report.room.map(RoomReport::new),
            elapsed_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl FindingReport {
    fn new(severity: Severity, finding: &Finding, commands: &Commands) -> Self {
        Self {
            severity: word(Some(severity)),
            place: finding.place.clone(),
            expected: finding.expected.clone(),
            found: finding.found.clone(),
            mend: mend(&finding.mend, commands),
        }
    }
}

impl EntryReport {
    fn new(entry: &doctor::EntryVerdict) -> Self {
        Self {
            entry: entry.file_name.clone(),
            deployment: entry.deployment.to_string(),
            is_default: entry.is_default,
            verdict: entry.verdict.as_str(),
            verity_certificates: (entry.verity_certificates.iter())
                .map(CertificateReport::new)
                .collect(),
        }
    }
}

impl RoomReport {
    const fn new(room: Room) -> Self {
        let Room {
            available_bytes,
            freeable_bytes,
            largest_bytes,
        } = room;
        Self {
            available_bytes,
            freeable_bytes,
            largest_bytes,
        }
    }
}

impl Report for DoctorReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.checks {
            let CheckReport {
                check,
                findings,
                summary,
                ..
            } = check;
            if findings.is_empty() {
                writeln!(out, "ok {check}: {}", printable(summary))?;
            }
            for finding in findings {
                let severity = match finding.severity {
                    "failure" => "FAILURE",
                    other => other,
                };
                let [place, expected, found, mend] = [
                    &finding.place,
                    &finding.expected,
                    &finding.found,
                    &finding.mend,
                ]
                .map(|text| printable(text));
                writeln!(
                    out,
                    "{severity} {check}: {place}: expected {expected}; found {found}\n  mend: {mend}"
                )?;
            }
        }
        for entry in &self.entries {
            for certificate in &entry.verity_certificates {
                let name = printable(&entry.entry);
                writeln!(out, "{name}: certificate for fs-verity: {certificate}")?;
            }
        }
        Ok(())
    }
}

const fn word(severity: Option<Severity>) -> &'static str {
    match severity {
        None => "ok",
        Some(Severity::Warning) => "warning",
        Some(Severity::Failure) => "failure",
    }
}

/// What is so where nothing was found.
fn summary(
    check: Check,
    report: &doctor::Report,
    keyset: Option<&Keyset>,
    took: Duration,
) -> String {
    let entries = counted_entries(report.entries.len() as u64);
    match check {
        Check::Boots => {
            let boots = report.entries.iter();
            let boots = boots
                .filter(|entry| entry.verdict == Verdict::Boots)
                .count();
            let default = report.entries.iter().find(|entry| entry.is_default);
            let default = default.map_or_else(String::new, |entry| {
                format!("; by default {}", entry.deployment)
            });
            format!("{boots} of {entries} known to boot{default}")
        }
        Check::Entries => {
            format!("{entries}: files, policy, keyset and kernel fit what each boots")
        }
        Check::Content => format!(
            "{}, {}, {}: all is there and measures",
            counted(report.deployments, "deployment"),
            counted(report.packs, "pack"),
            counted(report.objects, "object")
        ),
        Check::Leftovers => "nothing is left of interrupted runs".into(),
        Check::Staged => match report.staged {
            Some(name) => format!("{name} can be made what boots next"),
            None => "nothing is staged".into(),
        },
        Check::Keys => keyset.map_or_else(String::new, |keyset| {
            format!("version {} fits what is deployed", keyset.version())
        }),
        Check::Floor => "none is above what is kept".into(),
        Check::Room => report.room.map_or_else(
            || "no boot partition was looked at".into(),
            |room| {
                format!(
                    "{} free, {} taken by the largest that boots",
                    counted(room.available_bytes, "byte"),
                    counted(room.largest_bytes, "byte")
                )
            },
        ),
        Check::Time => format!("looked at in {} ms", took.as_millis()),
    }
}

fn counted_entries(number: u64) -> String {
    counted(number, "entry")
}

/// What commands that mend begin and end with.
struct Commands {
    /// This command, for the same machine.
    machine: String,
    /// Its boot partition, if it was named, for those that change what boots.
    boot: String,
}

/// This command, for the same machine.
fn command(common: &Common) -> String {
    let is_usual = common.sysroot == Path::new("/");
    let options = [
        ("--sysroot", Some(&common.sysroot).filter(|_| !is_usual)),
        ("--store", common.store.as_ref()),
        ("--keyset", common.keyset.as_ref()),
    ];
    let mut words = vec!["sealroot".to_owned()];
    for (option, path) in options {
        words.extend(path.map(|path| format!("{option} {}", path.display())));
    }
    words.join(" ")
}

/// How it is mended, in terms of this command.
fn mend(mend: &Mend, commands: &Commands) -> String {
    let Commands {
        machine: command,
        boot,
    } = commands;
    match mend {
        Mend::Repair => format!("{command} repair"),
        Mend::Prune => format!("{command} prune{boot}"),
        Mend::Finalize => format!("{command} finalize{boot}"),
        Mend::Deploy { commit, is_image } => {
            let image = if *is_image { " --uki FILE" } else { "" };
            format!("{command} deploy {commit}{image}{boot}")
        }
        Mend::Undeploy(name) => format!("{command} undeploy {name}{boot}"),
        Mend::Replace(name) => format!(
            "{command} deploy {}{boot}, then {command} undeploy {name}{boot}",
            name.commit
        ),
        Mend::Upgrade => format!(
            "{command} upgrade{boot}, or {command} deploy COMMIT{boot} of a release that `{command} status` lists"
        ),
        Mend::EnrolVariable => format!("{command} floor enrol --update FILE"),
        Mend::EnrolCounter(base) => format!("{command} floor enrol --tpm-base {base}"),
        Mend::Keyset => {
            "put the vendor's newest keyset into /etc/sealroot/keyset, or name it with \
                         --keyset FILE; `sealroot keys show` says which it is"
                .into()
        }
        Mend::Remote(name) => {
            format!("{command} remote remove {name}, then {command} remote add {name} ADDRESS")
        }
        Mend::Bless => format!("{command} bless{boot}, while what is good runs"),
        Mend::NameBoot => NAME_THE_BOOT_PARTITION.into(),
        Mend::Look(path) => format!(
            "see what {} is; move it away if nobody needs it",
            path.display()
        ),
        Mend::MakeRoom(path) => format!(
            "make room in {}; {command} undeploy NAME{boot} frees the kernel of a deployment that is not \
             needed",
            path.display()
        ),
        Mend::OnThatMachine => "run it there".into(),
    }
}
