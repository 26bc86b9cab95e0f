// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pre-flight: what an adoption would do, what it would cost and what stands against it, found
//! out without touching anything.

mod cost;
mod filesystem;
mod writers;

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sealroot_format::digest::CommitId;
use sealroot_sys::verity::{MeasureVerityError, measure_verity};

use super::AdoptError;
use super::error::failed;
use crate::monitor::{Monitor, Unit};
use crate::mountinfo::place_of;
use crate::ostree::{Mode, OstreeError, Repository};
use crate::store::{KernelIo, Store, VeritySupport};

pub use cost::Cost;
use filesystem::Filesystem;
use writers::Writers;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing can be done before this is mended.
    Blocks,
    /// It can be done, with less than was wanted or at a price.
    Warns,
}

/// What a finding is about. The words do not change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingCode {
    /// The repository has its files compressed.
    ArchiveMode,
    /// The commit is there in part only.
    PartialCommit,
    /// Files of the commit are missing.
    MissingObjects,
    /// Repository and store would be on two filesystems or mounts.
    OtherFilesystem,
    /// There is no fs-verity.
    NoVerity,
    /// The boot loader must cope with a filesystem that has fs-verity.
    GrubReads,
    /// There may not be enough space.
    NoSpace,
    /// Somebody has a file open for writing.
    OpenForWriting,
    /// A file has nearly as many links as the filesystem allows.
    ManyLinks,
    /// The store was made without fs-verity, which is there now.
    StoreWithoutVerity,
    /// There is no keyset to trust.
    Keyset,
    /// There is no statement that can be used.
    Statement,
    /// The mode needs fs-verity.
    ModeNeedsVerity,
    /// Nothing names the filesystem for the boot program.
    RootDevice,
    /// Local changes to `/etc` clash with the release's.
    Etc,
    /// No boot loader was found that reads boot entries.
    NoBootLoader,
}

impl FindingCode {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ArchiveMode => "archive-mode",
            Self::PartialCommit => "partial-commit",
            Self::MissingObjects => "missing-objects",
            Self::OtherFilesystem => "other-filesystem",
            Self::NoVerity => "no-verity",
            Self::GrubReads => "grub-reads",
            Self::NoSpace => "no-space",
            Self::OpenForWriting => "open-for-writing",
            Self::ManyLinks => "many-links",
            Self::StoreWithoutVerity => "store-without-verity",
            Self::Keyset => "keyset",
            Self::Statement => "statement",
            Self::ModeNeedsVerity => "mode-needs-verity",
            Self::RootDevice => "root-device",
            Self::Etc => "etc",
            Self::NoBootLoader => "no-boot-loader",
        }
    }
}

/// Something to know before an adoption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub code: FindingCode,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub text: String,
    /// What helps.
    pub way_out: Option<String>,
}

/// What a look before an adoption gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How the repository keeps its files.
    pub mode: Mode,
    /// The type of the filesystem, where it is a known one.
    pub filesystem: &'static str,
    /// Whether the store has fs-verity, or would have.
    pub verity: VeritySupport,
    /// What is there and what it costs.
    pub cost: Cost,
    /// What the filesystem says it has for us, bytes.
    pub available_bytes: u64,
    /// What stands against it or is to be known, the worst first.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// The findings that forbid it, as an error.
    pub fn check(&self) -> Result<(), AdoptError> {
        let reasons: Vec<String> = (self.findings.iter())
            .filter(|finding| finding.severity == Severity::Blocks)
            .map(|finding| finding.text.clone())
            .collect();
        if reasons.is_empty() {
            return Ok(());
        }
        Err(AdoptError::Blocked { reasons })
    }

    /// Adds what the caller found.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.findings.sort_by_key(|finding| finding.severity);
    }

    fn find(
        &mut self,
        code: FindingCode,
        severity: Severity,
        text: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.findings.push(Finding {
            code,
            severity,
            text: text.into(),
            way_out: Some(way_out.into()),
        });
    }
}

/// Looks at a commit and at the place for the store, changing nothing. `location` is where the
/// store is or will be; `threshold_bytes` the size up to which files go inside the pack.
pub fn survey(
    repository: &Repository,
    commit: CommitId,
    location: &Path,
    threshold_bytes: u32,
    monitor: &dyn Monitor,
) -> Result<Survey, AdoptError> {
    let home = existing(location);
    let place = File::open(&home).map_err(failed("open", &home))?;
    let filesystem = Filesystem::of(&place).map_err(failed("look at", &home))?;
    let mut survey = Survey {
        mode: repository.mode(),
        filesystem: filesystem.name,
        verity: filesystem.verity,
        cost: Cost::default(),
        available_bytes: filesystem.available_bytes,
        findings: Vec::new(),
    };
    if repository.mode() == Mode::Archive {
        let text = "the repository is of mode archive: its files are compressed and cannot be \
                    linked";
        let way_out = "`sealroot build --ostree` writes every object anew; or pull the commit \
                       into a repository of mode bare on the sysroot";
        survey.find(FindingCode::ArchiveMode, Severity::Blocks, text, way_out);
    }
    look_at_verity(&mut survey, &filesystem, location);
    look_at_places(&mut survey, repository, &home, &place)?;
    match repository.check_complete(commit) {
        Err(error @ OstreeError::Partial { .. }) => {
            let way_out = "pull it again until it is whole";
            let severity = Severity::Blocks;
            survey.find(
                FindingCode::PartialCommit,
                severity,
                error.to_string(),
                way_out,
            );
        }
        result => result?,
    }
    if survey.check().is_ok() {
        look_at_objects(&mut survey, repository, commit, threshold_bytes, monitor)?;
    }
    survey.findings.sort_by_key(|finding| finding.severity);
    Ok(survey)
}

/// The nearest directory that is there.
fn existing(location: &Path) -> PathBuf {
    let mut ancestors = location.ancestors();
    let found = ancestors.find(|path| path.is_dir());
    found.map_or_else(|| ".".into(), Path::to_owned)
}

fn look_at_verity(survey: &mut Survey, filesystem: &Filesystem, location: &Path) {
    let in_store = KernelIo::open(location)
        .ok()
        .and_then(|io| Store::open_on(io).ok());
    if let Some(store) = in_store {
        if store.verity() == VeritySupport::None && filesystem.verity == VeritySupport::Kernel {
            let text = "the store was made without fs-verity, which is there now; it stays without";
            let way_out = "`sealroot revert`, then adopt again";
            let code = FindingCode::StoreWithoutVerity;
            survey.find(code, Severity::Warns, text, way_out);
        }
        survey.verity = store.verity();
    } else if filesystem.verity == VeritySupport::None {
        let (text, way_out) = filesystem.absence();
        survey.find(FindingCode::NoVerity, Severity::Warns, text, way_out);
        if filesystem.lacks_only_the_feature() {
            let text = "a boot loader that reads kernels or its configuration from this ext4, as \
                        GRUB does without a /boot of its own, must cope with the feature verity, \
                        and tune2fs does not take the feature away again";
            let way_out = "see that the machine still boots after enabling it, before anything \
                           else; best is a /boot of its own";
            survey.find(FindingCode::GrubReads, Severity::Warns, text, way_out);
        }
    }
}

/// That files of the repository can get names in the store.
fn look_at_places(
    survey: &mut Survey,
    repository: &Repository,
    home: &Path,
    place: &File,
) -> Result<(), AdoptError> {
    let objects = repository.path().join("objects");
    let theirs = File::open(&objects).map_err(failed("open", &objects))?;
    let home_place = place_of(place).map_err(failed("look at", home))?;
    let their_place = place_of(&theirs).map_err(failed("look at", &objects))?;
    if home_place != their_place {
        let text = format!(
            "{} and {} are not on the same filesystem and mount: files cannot be linked from one \
             to the other",
            objects.display(),
            home.display()
        );
        let way_out = "use the store beside the repository: --sysroot DIR without --store";
        survey.find(
            FindingCode::OtherFilesystem,
            Severity::Blocks,
            text,
            way_out,
        );
    }
    Ok(())
}

fn look_at_objects(
    survey: &mut Survey,
    repository: &Repository,
    commit: CommitId,
    threshold_bytes: u32,
    monitor: &dyn Monitor,
) -> Result<(), AdoptError> {
    let commit = repository.commit(commit)?;
    let objects = repository.content_objects(&commit, monitor)?;
    let total = objects.checksums.len() as u64;
    monitor.start("looking at files", Unit::Items, Some(total));
    let mut writers = Writers::find();
    let (mut missing, mut linked) = (0_u64, 0_u64);
    let mut cost = Cost::of_names(&objects);
    for checksum in &objects.checksums {
        monitor.advance(1);
        let file = match repository.content_file(checksum) {
            Ok(Some(file)) => file,
            Ok(None) => continue,
            Err(error) if error.is_denied() => return Err(error.into()),
            Err(_) => {
                missing += 1;
                continue;
            }
        };
        let metadata = file.metadata();
        let metadata = metadata.map_err(failed("look at an object of", repository.path()))?;
        if metadata.len() <= u64::from(threshold_bytes) {
            cost.small(metadata.len());
            continue;
        }
        let has_verity = survey.verity == VeritySupport::None
            || !matches!(measure_verity(&file), Err(MeasureVerityError::NotEnabled));
        cost.object(metadata.len(), has_verity);
        writers.ask_about(metadata.dev(), metadata.ino());
        linked += u64::from(metadata.nlink() >= crate::store::MAX_LINKS_TO_TAKE);
    }
    cost.finish();
    survey.cost = cost;
    report(survey, missing, linked, writers);
    Ok(())
}

fn report(survey: &mut Survey, missing: u64, linked: u64, writers: Writers) {
    if missing > 0 {
        let text = format!("{missing} files of the commit are missing or cannot be read");
        let way_out = "`ostree fsck` says which; pull the commit again";
        survey.find(FindingCode::MissingObjects, Severity::Blocks, text, way_out);
    }
    if linked > 0 {
        let text = format!(
            "{linked} files have nearly as many links as the filesystem allows; they are written \
             anew"
        );
        let way_out = "remove deployments that are not needed, if the space is missed";
        survey.find(FindingCode::ManyLinks, Severity::Warns, text, way_out);
    }
    if survey.verity == VeritySupport::Kernel {
        for writer in writers.into_found() {
            let text = format!("{writer} has a file of the commit open for writing");
            let way_out = "end it, or wait until it has closed the file";
            survey.find(FindingCode::OpenForWriting, Severity::Blocks, text, way_out);
        }
    }
    let needed = survey.cost.total_bytes();
    if needed > survey.available_bytes {
        let text = format!(
            "about {needed} bytes are needed, {} are available",
            survey.available_bytes
        );
        let way_out = "make room, for example with `ostree admin cleanup` or by undeploying";
        survey.find(FindingCode::NoSpace, Severity::Blocks, text, way_out);
    }
}
