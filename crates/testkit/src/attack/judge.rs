// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine has come to.

use crate::guest::{PROBE_MARKER, ProbeReport, VerityKeyring};
use sealroot_format::policy::Mode;

use crate::manifest::{Comparison, Manifest};
use crate::release::Release;
use crate::vm::{VmEnd, VmOutcome};

/// How the boot program's refusals begin on the console.
const REFUSED: &str = "sealroot: REFUSED ";

/// What the firmware says of an image that it does not start.
pub(super) const DENIED: &str = ": Access Denied";

/// What the stub says, and the boot loader after it, where an initramfs was registered before the image's.
pub(super) const REGISTERED: &str = "Already started";

/// How every line of the boot program begins.
pub(super) const BOOT_PROGRAM: &str = "sealroot: ";

/// Most differences that a verdict spells out.
const MAX_SHOWN: usize = 5;

/// What a machine has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It booted the very tree that was signed.
    SameTree,
    /// It booted that tree, but these paths cannot be read.
    Unreadable(Vec<String>),
    /// It booted that tree, but these paths have other attributes, and nothing else differs.
    OtherAttributes(Vec<String>),
    /// It booted that tree, but these files have since got other content, and nothing else differs.
    OtherContent(Vec<String>),
    /// The boot program refused.
    Refused {
        /// The code of the refusal.
        code: String,
        /// The whole line.
        line: String,
    },
    /// The firmware, or the stub, started nothing.
    Denied,
    /// It ended without a report: the end of its console.
    Died(String),
    /// It booted something else.
    Wrong(String),
}

/// Judges a machine whose root was to be `release`.
pub fn judge(outcome: &VmOutcome, release: &Release) -> Verdict {
    let started = outcome.console.contains(PROBE_MARKER);
    let refusal = outcome.console.lines().find_map(|line| {
        let at = line.find(REFUSED)?;
        Some(&line[at..])
    });
    match (refusal, started) {
        (Some(line), false) => {
            let code = line[REFUSED.len()..].split(':').next().unwrap_or_default();
            Verdict::Refused {
                code: code.to_owned(),
                line: line.to_owned(),
            }
        }
        (Some(line), true) => Verdict::Wrong(format!("the root was started in spite of: {line}")),
        (None, _) => match outcome.json::<ProbeReport>() {
            Ok(report) => judge_report(&report, release),
            Err(_) if is_denied(&outcome.console) => Verdict::Denied,
            Err(_) if outcome.end == VmEnd::TimedOut => Verdict::Wrong("time-out".into()),
            Err(_) => Verdict::Died(outcome.console_tail(12)),
        },
    }
}

/// Whether the firmware or the stub has refused something and no kernel has said anything.
fn is_denied(console: &str) -> bool {
    /// What the firmware says of its own shell, which comes last.
    const SHELL: &str = "Security Violation";
    /// How a kernel's line may begin.
    const KERNEL: &str = "[    ";
    let by_firmware = console.contains(DENIED) && console.contains(SHELL);
    (by_firmware || console.contains(REGISTERED))
        && !console.contains(KERNEL)
        && !console.contains(BOOT_PROGRAM)
}

fn judge_report(report: &ProbeReport, release: &Release) -> Verdict {
    let Some(root) = report.root_mount() else {
        return Verdict::Wrong("there is no root mount".into());
    };
    let enforced = match release.mode {
        Mode::Sealed | Mode::Verity => "verity=require",
        Mode::Integrity => "ro",
    };
    for option in [enforced, "ro"] {
        if !root.split([' ', ',']).any(|found| found == option) {
            return Verdict::Wrong(format!("the root is mounted without {option}: {root}"));
        }
    }
    if let Some(open) = judge_keyring(report, release.mode) {
        return Verdict::Wrong(open);
    }
    let mut unreadable = Vec::new();
    let comparison = report.manifest.compare(&release.manifest);
    if comparison.differs_only_in(&comparison.other_attributes) {
        return Verdict::OtherAttributes(comparison.other_attributes);
    }
    if let Some(after) = &report.manifest_after_job
        && comparison == Comparison::default()
        && report.tree_digest.as_ref() == Ok(&release.tree_digest)
    {
        let later = after.compare(&release.manifest);
        if later.differs_only_in(&later.other_content) {
            return Verdict::OtherContent(later.other_content);
        }
    }
    for manifest in [Some(&report.manifest), report.manifest_after_job.as_ref()]
        .into_iter()
        .flatten()
    {
        match judge_manifest(manifest, &release.manifest) {
            Ok(paths) => unreadable.extend(paths),
            Err(wrong) => return Verdict::Wrong(wrong),
        }
    }
    if !unreadable.is_empty() {
        return Verdict::Unreadable(unreadable);
    }
    match &report.tree_digest {
        Ok(digest) if *digest == release.tree_digest => Verdict::SameTree,
        other => Verdict::Wrong(format!(
            "tree digest {other:?}, not {}",
            release.tree_digest
        )),
    }
}

/// What is wrong with the kernel's keyring for fs-verity and its switch, if anything is: a sealed
/// machine's takes no more keys, and no machine wants signatures of every file.
fn judge_keyring(report: &ProbeReport, mode: Mode) -> Option<String> {
    if mode == Mode::Sealed && report.verity_keyring != Some(VerityKeyring::Closed) {
        return Some(format!(
            "the keyring for fs-verity is {:?}",
            report.verity_keyring
        ));
    }
    let wanted = report.requires_signatures.as_deref().map(str::trim);
    (wanted != Some("0")).then(|| format!("signatures are required: {wanted:?}"))
}

fn judge_manifest(found: &Manifest, expected: &Manifest) -> Result<Vec<String>, String> {
    let mut comparison = found.compare(expected);
    let paths = comparison.other_attributes.iter();
    let attributes = paths.map(|path| format!("{path} has other attributes"));
    let paths = comparison.other_content.iter();
    let content = paths.map(|path| format!("{path} has other content"));
    comparison.wrong.extend(attributes.chain(content));
    if comparison.wrong.is_empty() {
        return Ok(comparison.unreadable);
    }
    let count = comparison.wrong.len();
    let shown = comparison.wrong[..count.min(MAX_SHOWN)].join("\n  ");
    Err(format!("{count} differences:\n  {shown}"))
}
