// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is all there that deployments need, and does it measure?

use std::collections::{BTreeMap, BTreeSet};

use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::DeploymentName;

use super::{Check, Finding, Mend, Report, Seen, Severity};
use crate::check::{Depth, explain};
use crate::entry::BootIo;
use crate::machine::{Found, State};
use crate::monitor::Monitor;
use crate::repair::{self, Chosen, Damage, Request};
use crate::store::StoreIo;

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// Looks at what all deployments need; gives those of which nothing is damaged or missing.
    pub(super) fn content(
        &self,
        report: &mut Report,
        monitor: &dyn Monitor,
    ) -> BTreeSet<DeploymentName> {
        let mut whole = BTreeSet::new();
        let mut of_pack: BTreeMap<VerityDigest, Vec<&Found>> = BTreeMap::new();
        for found in &self.scan.deployments {
            match &found.record {
                Ok(record) => of_pack.entry(record.pack).or_default().push(found),
                Err(error) => report.add(
                    Check::Content,
                    severity_of(&[found]),
                    Finding {
                        place: format!("deployment {}", found.name),
                        expected: "a record that can be read".into(),
                        found: explain(error),
                        mend: Mend::Replace(found.name),
                    },
                ),
            }
        }
        for (pack, deployments) in &of_pack {
            self.look(*pack, deployments, &mut whole, report, monitor);
        }
        let runs = |found: &Found| found.states.contains(&State::Booted);
        match &self.scan.booted {
            Ok(Some(booted)) if !self.scan.deployments.iter().any(runs) => {
                report.warn(
                    Check::Content,
                    Finding {
                        place: self.subject.runtime.booted_path().display().to_string(),
                        expected: "a deployment of this store".into(),
                        found: format!("the pack {} runs, which is none", booted.pack),
                        mend: Mend::Look(self.subject.runtime.booted_path()),
                    },
                );
            }
            Err(error) => report.warn(
                Check::Content,
                Finding {
                    place: self.subject.runtime.booted_path().display().to_string(),
                    expected: "which deployment runs".into(),
                    found: explain(error),
                    mend: Mend::Look(self.subject.runtime.booted_path()),
                },
            ),
            Ok(_) => {}
        }
        whole
    }

    /// The deployments of one pack.
    fn look(
        &self,
        pack: VerityDigest,
        deployments: &[&Found],
        whole: &mut BTreeSet<DeploymentName>,
        report: &mut Report,
        monitor: &dyn Monitor,
    ) {
        let names = || deployments.iter().map(|found| found.name);
        let request = Request {
            chosen: names().map(Chosen::Deployment).collect(),
            depth: Depth::Quick,
            keyset: None,
        };
        let text: Vec<_> = names().map(|name| name.to_string()).collect();
        let place = format!("deployment {}", text.join(" and "));
        let looked = match repair::look(self.subject.store, &request, monitor) {
            Ok(looked) => looked,
            Err(error) => {
                return report.fail(
                    Check::Content,
                    Finding {
                        place,
                        expected: "content that can be looked at".into(),
                        found: explain(&error),
                        mend: Mend::Repair,
                    },
                );
            }
        };
        report.packs += looked.packs;
        report.objects += looked.objects;
        let named = deployments
            .iter()
            .filter_map(|found| found.record.as_ref().ok());
        let named = named.map(|record| record.objects).max().unwrap_or_default();
        if looked.damage.is_empty() {
            if looked.objects == 0 && named > 0 {
                return report.add(
                    Check::Content,
                    severity_of(deployments),
                    Finding {
                        place,
                        expected: format!("a pack that names {named} objects"),
                        found: format!("the pack {pack} is not well-formed"),
                        mend: Mend::Upgrade,
                    },
                );
            }
            whole.extend(names());
            return;
        }
        whole.extend(names().filter(|name| !looked.damage.iter().any(|one| concerns(one, name))));
        let is_used = severity_of(deployments) == Severity::Failure;
        report.add(
            Check::Content,
            severity_of(deployments),
            Finding {
                place,
                expected: format!(
                    "the statement, the pack {pack} and {named} objects as they were deployed"
                ),
                found: told(&looked.damage),
                mend: if is_used { Mend::Repair } else { Mend::Prune },
            },
        );
    }
}

/// What nothing uses keeps no machine from booting.
fn severity_of(deployments: &[&Found]) -> Severity {
    if deployments.iter().any(|found| !found.states.is_empty()) {
        Severity::Failure
    } else {
        Severity::Warning
    }
}

/// Whether a deployment may be affected: what is not another's own is everybody's.
fn concerns(damage: &Damage, name: &DeploymentName) -> bool {
    let own = format!("deploy/{name}/");
    let mut paths = damage.places.iter().map(|place| place.path.as_bytes());
    paths.any(|path| !path.starts_with(b"deploy/") || path.starts_with(own.as_bytes()))
}

fn told(damage: &[Damage]) -> String {
    let Some(first) = damage.first() else {
        return String::new();
    };
    let more = match damage.len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let place = first.places.first();
    let place = place.map(|place| format!(" at {}: {}", place.path, place.detail));
    format!(
        "damaged or missing: {}{}{more}",
        first.what,
        place.unwrap_or_default()
    )
}
