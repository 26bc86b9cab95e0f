// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an examination finds, as data.

use std::path::PathBuf;

use sealroot_format::digest::CommitId;
use sealroot_format::policy::DeploymentName;

use crate::entry::Room;
use crate::initramfs::CertificateName;

/// What is examined. The words never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// At least one entry boots a deployment that is whole and above all floors; the default is one of
    /// these.
    Boots,
    /// Each entry's files are whole, and its policy and keyset take the release that it names.
    Entries,
    /// All that deployments need is there and measures.
    Content,
    /// No more is left of interrupted runs than one update takes.
    Leftovers,
    /// What is staged is whole, and can be set up to boot.
    Staged,
    /// The keysets follow on one another, here and in what boots.
    Keys,
    /// The floors are not above what is kept.
    Floor,
    /// The boot partition has room for the next update.
    Room,
    /// The examination ends in time.
    Time,
}

impl Check {
    /// All of them, in the order in which they matter.
    pub const ALL: [Self; 9] = [
        Self::Boots,
        Self::Entries,
        Self::Content,
        Self::Leftovers,
        Self::Staged,
        Self::Keys,
        Self::Floor,
        Self::Room,
        Self::Time,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boots => "boots",
            Self::Entries => "entries",
            Self::Content => "content",
            Self::Leftovers => "leftovers",
            Self::Staged => "staged",
            Self::Keys => "keys",
            Self::Floor => "floor",
            Self::Room => "room",
            Self::Time => "time",
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The machine boots as it is; a way back, an update or certainty is missing.
    Warning,
    /// The machine may not boot what it is to boot, or can take no update any more.
    Failure,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: a path or a name.
    pub place: String,
    /// What should be there.
    pub expected: String,
    /// What is.
    pub found: String,
    /// What mends it.
    pub mend: Mend,
}

/// What mends something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Replacing what is damaged or missing.
    Repair,
    /// Collecting what nothing uses.
    Prune,
    /// Doing what was staged.
    Finalize,
    /// Deploying a release again, which makes a new entry.
    Deploy {
        /// The release.
        commit: CommitId,
        /// Whether it starts an image, which has to be named.
        is_image: bool,
    },
    /// Removing a deployment with its entries.
    Undeploy(DeploymentName),
    /// Deploying the release again, and then removing the damaged deployment.
    Replace(DeploymentName),
    /// Fetching and deploying a newer release.
    Upgrade,
    /// Making the floor in the firmware.
    EnrolVariable,
    /// Making the counter in the TPM, with this base.
    EnrolCounter(u64),
    /// Saying which keyset is trusted.
    Keyset,
    /// Following a remote anew.
    Remote(String),
    /// Declaring the boot that runs good, which makes what starts it anew.
    Bless,
    /// Saying where the boot entries are.
    NameBoot,
    /// Looking at what is there, and moving it away if nobody needs it.
    Look(PathBuf),
    /// Making room on the boot partition.
    MakeRoom(PathBuf),
    /// Starting it on the machine that keeps the floor.
    OnThatMachine,
}

/// Whether an entry boots what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All that was looked at says so.
    Boots,
    /// It could not be found out.
    Unknown,
    /// Something stands against it.
    Refused,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boots => "boots",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// A boot entry that names a deployment, and what is to be expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryVerdict {
    /// Its file.
    pub file_name: String,
    /// What it boots.
    pub deployment: DeploymentName,
    /// Whether it boots unless somebody chooses another.
    pub is_default: bool,
    /// Whether it boots what it names.
    pub verdict: Verdict,
    /// The certificates that it puts into the kernel's keyring for fs-verity.
    pub verity_certificates: Vec<CertificateName>,
}

/// What was looked at and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is not as it should be.
    pub findings: Vec<(Check, Severity, Finding)>,
    /// The entries of ours, the one that boots first in front.
    pub entries: Vec<EntryVerdict>,
    /// Deployments that were looked at.
    pub deployments: u64,
    /// Packs of deployments that were looked at.
    pub packs: u64,
    /// Objects of these, in all places of each.
    pub objects: u64,
    /// What is to become what boots next when the machine goes down.
    pub staged: Option<DeploymentName>,
    /// The room on the boot partition, where there is one.
    pub room: Option<Room>,
}

impl Report {
    /// Adds something that does not keep the machine from booting.
    pub fn warn(&mut self, check: Check, finding: Finding) {
        self.add(check, Severity::Warning, finding);
    }

    /// Adds something that may keep the machine from booting.
    pub fn fail(&mut self, check: Check, finding: Finding) {
        self.add(check, Severity::Failure, finding);
    }

    /// Adds a finding.
    pub fn add(&mut self, check: Check, severity: Severity, finding: Finding) {
        self.findings.push((check, severity, finding));
    }

    /// The findings of a check.
    pub fn of(&self, check: Check) -> impl Iterator<Item = (Severity, &Finding)> {
        let findings = self.findings.iter();
        let findings = findings.filter(move |(of, ..)| *of == check);
        findings.map(|(_, severity, finding)| (*severity, finding))
    }

    /// The worst there is of a check; `None` if there is nothing.
    pub fn worst_of(&self, check: Check) -> Option<Severity> {
        self.of(check).map(|(severity, _)| severity).max()
    }

    /// The worst there is; `None` if there is nothing.
    pub fn worst(&self) -> Option<Severity> {
        let severities = self.findings.iter().map(|(_, severity, _)| *severity);
        severities.max()
    }
}
