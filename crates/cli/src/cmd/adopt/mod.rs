// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot adopt`

mod obstacles;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use sealroot::adopt::{
    self, Adopted, Finding, FindingCode, Footprint, Request, Severity, Survey, Theirs,
    deployments_of_ostree,
};
use sealroot::entry::Places;
use sealroot::import::{self, FoundStatement, ImportError};
use sealroot::ostree::{self, Repository};
use sealroot::release::{self, ReleaseError};
use sealroot::store::{KernelIo, Transaction, VeritySupport};
use sealroot_format::digest::CommitId;
use sealroot_format::sign::{Keyset, Name, Statement, Unverified, Verified};
use sealroot_format::{ErrorClass, limits};
use serde::Serialize;

use crate::args::Common;
use crate::boot_entry::{AimArgs, DeployedReport, Deploying, EntryArgs, as_with_ostree};
use crate::cmd::build::threshold_parser;
use crate::failure::Failure;
use crate::files;
use crate::hint;
use crate::machine::NAME_THE_BOOT_PARTITION;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

use obstacles::code_of_refusal;

/// Take over a commit that OSTree has on this machine, without storing its content twice.
///
/// The files of the repository get fs-verity and one more name each; OSTree goes on working with
/// them. The pack is made here and must be the one that the vendor has signed; then the release is
/// deployed. First of all it is looked at what stands against it and what it costs: see --dry-run.
///
/// A ref in the repository keeps the commit from OSTree's prune. `sealroot revert` is the way back.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub(crate) struct Adopt {
    /// The commit: a checksum, a ref or remote:ref [default: what OSTree boots].
    #[arg(value_name = "REV")]
    rev: Option<String>,

    /// First have `ostree pull` fetch REV, which is then REMOTE:REF. It checks GPG signatures too, where
    /// the remote demands them.
    #[arg(long, requires = "rev", conflicts_with = "dry_run")]
    pull: bool,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    /// The vendor's statement [default: looked for in the repository, then in the store].
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,

    /// Do without a statement: pack and objects are made, nothing is deployed.
    #[arg(long, conflicts_with_all = ["statement", "stream", "mode", "etc", "initramfs", "kargs", "tries"])]
    unsigned: bool,

    /// With --unsigned: files up to this many bytes go inside the pack (0 to 65536).
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = limits::DEFAULT_THRESHOLD_BYTES,
        value_parser = threshold_parser(),
        requires = "unsigned"
    )]
    threshold: u32,

    /// Make the change of what boots only when the machine goes down, with /etc as it is then.
    #[arg(long, conflicts_with_all = ["unsigned", "initramfs", "no_entry", "root"])]
    stage: bool,

    #[command(flatten)]
    aim: AimArgs,

    #[command(flatten)]
    entry: EntryArgs,

    /// Only look: what would be done, what it costs, what stands against it.
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --sysroot /sysroot adopt --dry-run
  sealroot --sysroot /sysroot --keyset vendor.keyset adopt
  sealroot adopt --pull vendor:exampleos/x86_64/stable --stage       # an update
  sealroot --sysroot /sysroot adopt --unsigned vendor:exampleos/x86_64/stable

Without a statement there is no release. Make one of your own from the same commit, which writes
nothing twice: `sealroot build --ostree /sysroot/ostree/repo COMMIT`, then `sealroot sign`.";

#[derive(Serialize)]
struct FindingReport {
    code: &'static str,
    blocks: bool,
    text: String,
    way_out: Option<String>,
}

#[derive(Serialize)]
struct SurveyReport {
    commit: String,
    stateroot: String,
    repository: PathBuf,
    filesystem: &'static str,
    has_verity: bool,
    objects: u64,
    object_bytes: u64,
    pack_bytes: u64,
    verity_bytes: u64,
    own_bytes: u64,
    available_bytes: u64,
    findings: Vec<FindingReport>,
    /// What was done; `null` if it was only looked.
    done: Option<DoneReport>,
}

#[derive(Serialize)]
struct DoneReport {
    pack: String,
    linked_objects: u64,
    linked_bytes: u64,
    present_objects: u64,
    /// Objects that had to be written, and why.
    copied: Vec<(String, String)>,
    added_bytes: u64,
    is_new: bool,
    /// The deployment; `null` for an unsigned adoption.
    deployment: Option<String>,
    /// What it boots with.
    deployed: Option<DeployedReport>,
    extra_pack_bytes: u64,
    extra_verity_bytes: u64,
    extra_own_bytes: u64,
}

impl SurveyReport {
    fn new(target: &Target, repository: &Path, survey: &Survey) -> Self {
        let cost = survey.cost;
        Self {
            commit: target.commit.to_string(),
            stateroot: target.stateroot.to_string(),
            repository: repository.to_owned(),
            filesystem: survey.filesystem,
            has_verity: survey.verity == VeritySupport::Kernel,
            objects: cost.objects,
            object_bytes: cost.object_bytes,
            pack_bytes: cost.pack_bytes,
            verity_bytes: cost.verity_bytes,
            own_bytes: cost.own_bytes,
            available_bytes: survey.available_bytes,
            findings: (survey.findings.iter())
                .map(|finding| FindingReport {
                    code: finding.code.as_str(),
                    blocks: finding.severity == Severity::Blocks,
                    text: finding.text.clone(),
                    way_out: finding.way_out.clone(),
                })
                .collect(),
            done: None,
        }
    }
}

impl Report for SurveyReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(done) = &self.done {
            done.write_text(out)?;
            return self.write_findings(out);
        }
        writeln!(out, "commit {} of {}", self.commit, self.stateroot)?;
        let objects = counted(self.objects, "file");
        let bytes = counted(self.object_bytes, "byte");
        let what = if self.has_verity {
            "would get fs-verity and a further name"
        } else {
            "would get a further name"
        };
        writeln!(out, "{objects} of {bytes} {what}")?;
        writeln!(out, "it would take at most about")?;
        let costs = [
            ("the pack", self.pack_bytes),
            ("fs-verity of the files", self.verity_bytes),
            ("directories and records", self.own_bytes),
        ];
        for (what, bytes) in costs {
            writeln!(out, "  {bytes:>12} bytes for {what}")?;
        }
        writeln!(out, "  {:>12} bytes are available", self.available_bytes)?;
        self.write_findings(out)
    }
}

impl SurveyReport {
    fn write_findings(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            let word = if finding.blocks { "against it" } else { "note" };
            writeln!(out, "{word}: {}", finding.text)?;
            if let Some(way_out) = &finding.way_out {
                writeln!(out, "  way out: {way_out}")?;
            }
        }
        Ok(())
    }
}

impl DoneReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let linked = counted(self.linked_objects, "file");
        let bytes = counted(self.linked_bytes, "byte");
        writeln!(out, "took over {linked} of {bytes} as they are")?;
        if self.present_objects > 0 {
            let present = counted(self.present_objects, "object");
            writeln!(out, "{present} more were in the store already")?;
        }
        for (digest, reason) in &self.copied {
            writeln!(out, "wrote {digest} anew: {reason}")?;
        }
        let extra = self.extra_pack_bytes + self.extra_verity_bytes + self.extra_own_bytes;
        writeln!(
            out,
            "the store takes {} more than OSTree had: {} of packs, {} of fs-verity, {} of \
             directories and records",
            counted(extra, "byte"),
            self.extra_pack_bytes,
            self.extra_verity_bytes,
            self.extra_own_bytes
        )?;
        match &self.deployed {
            Some(deployed) => deployed.write_text(out),
            None => writeln!(
                out,
                "not signed: pack {} is there, and nothing is deployed",
                self.pack
            ),
        }
    }
}

/// What is to be adopted, and for whom.
struct Target {
    commit: CommitId,
    stateroot: Name,
}

impl Adopt {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let sysroot = common.physical_root();
        let path = sysroot.join("ostree/repo");
        if let (Some(rev), true) = (&self.rev, self.pull) {
            common.make_writable()?;
            pull(&path, rev)?;
        }
        let repository = Repository::open(&path)?;
        let target = self.target(&repository, &sysroot)?;
        // Whatever else is missing, that is told first.
        repository.commit(target.commit)?;
        let statement = || self.statement(common, &repository, target.commit);
        let (found, refusal) = match (!self.unsigned).then(statement).transpose() {
            Ok(found) => (found, None),
            Err(error) if self.dry_run => (None, Some(error)),
            Err(error) => return Err(error),
        };
        let threshold_bytes = match &found {
            Some(found) => found.statement.threshold_bytes,
            None => self.threshold,
        };
        let location = match &common.store {
            Some(location) => location.clone(),
            None => sysroot.join(KernelIo::STORE_IN_SYSROOT),
        };
        let mut survey = {
            let progress = Progress::new(output);
            let commit = target.commit;
            adopt::survey(&repository, commit, &location, threshold_bytes, &progress)?
        };
        if self.dry_run {
            let refusal = refusal.map(|error| (code_of_refusal(common), error));
            let obstacles = self.obstacles(common, &repository, &target, &survey);
            for (code, error) in refusal.into_iter().chain(obstacles) {
                survey.add(Finding {
                    code,
                    severity: Severity::Blocks,
                    text: format!("{error:#}"),
                    way_out: hint::of(&error),
                });
            }
            if let Some(reason) = self.no_entry_because(common)? {
                survey.add(Finding {
                    code: FindingCode::NoBootLoader,
                    severity: Severity::Warns,
                    text: format!("no boot entry would be made: {reason}"),
                    way_out: Some(NAME_THE_BOOT_PARTITION.into()),
                });
            }
            output.emit(&SurveyReport::new(&target, &path, &survey))?;
            return survey.check().map_err(Into::into);
        }
        survey.check().map_err(|error| blocked(error, &survey))?;
        let obstacles = self.obstacles(common, &repository, &target, &survey);
        if let Some((_, error)) = obstacles.into_iter().next() {
            return Err(error);
        }
        drop(repository);
        let mut report = SurveyReport::new(&target, &path, &survey);
        report.done =
            Some(self.adopt(common, &sysroot, &location, &target, found.as_ref(), output)?);
        output.emit(&report)
    }

    /// The commit that is meant.
    fn target(&self, repository: &Repository, sysroot: &Path) -> anyhow::Result<Target> {
        let theirs = deployments_of_ostree(sysroot, &Places::of(sysroot).directories)?;
        let commit = match (&self.rev, theirs.first()) {
            (Some(rev), _) => repository.resolve(rev)?,
            (None, Some(default)) => default.name.commit,
            (None, None) => {
                let message = "OSTree boots nothing here, so the commit must be named";
                return Err(Failure::new(ErrorClass::Usage, message)
                    .hint("`ostree refs` lists those that have names")
                    .into());
            }
        };
        let of_commit = |theirs: &&Theirs| theirs.name.commit == commit;
        let deployed = theirs.iter().find(of_commit).or(theirs.first());
        let named = self.aim.stateroot.clone();
        let stateroot = match (named, deployed) {
            (Some(stateroot), _) => stateroot,
            (None, Some(theirs)) => theirs.stateroot.parse()?,
            (None, None) if repository.mode() == ostree::Mode::Archive => {
                let repository = repository.path().to_owned();
                return Err(adopt::AdoptError::Compressed { repository }.into());
            }
            (None, None) => {
                let message = "OSTree has no deployment that says whose /var this is for";
                let failure = Failure::new(ErrorClass::Usage, message);
                return Err(failure.hint("name it with --stateroot NAME").into());
            }
        };
        Ok(Target { commit, stateroot })
    }

    /// The vendor's statement, verified.
    fn statement(
        &self,
        common: &Common,
        repository: &Repository,
        commit: CommitId,
    ) -> anyhow::Result<FoundStatement> {
        let keyset = common.trusted_keyset()?;
        let Some(path) = &self.statement else {
            let stream = self.stream.as_ref();
            let missing = match import::find_statement(repository, commit, stream, &keyset) {
                Err(missing @ ImportError::NoStatement { .. }) => missing,
                found => return Ok(found?),
            };
            if let Some(found) = kept_statement(common, &keyset, commit, stream)? {
                return Ok(found);
            }
            let way_out = "--statement FILE if it came another way; or --unsigned, which deploys \
                           nothing";
            let failure = Failure::new(missing.class(), missing.to_string());
            return Err(failure.hint(way_out).into());
        };
        let bytes = files::read(path, limits::MAX_SIGN_FILE_BYTES)?;
        let cannot_use = || format!("the statement {} cannot be used", path.display());
        let document = Unverified::<Statement>::parse(&bytes).with_context(cannot_use)?;
        let statement = document.verify(&keyset).with_context(cannot_use)?;
        Ok(FoundStatement {
            statement,
            document,
        })
    }

    /// Why nothing of it would be in the boot menu, though it should.
    fn no_entry_because(&self, common: &Common) -> anyhow::Result<Option<String>> {
        if self.unsigned {
            return Ok(None);
        }
        self.entry.no_entry_because(common)
    }

    /// What the deployment will be for.
    fn aim(&self, target: &Target) -> AimArgs {
        AimArgs {
            stateroot: Some(target.stateroot.clone()),
            ..self.aim.clone()
        }
    }

    fn adopt(
        &self,
        common: &Common,
        sysroot: &Path,
        location: &Path,
        target: &Target,
        found: Option<&FoundStatement>,
        output: Output,
    ) -> anyhow::Result<DoneReport> {
        let store = common.open_or_create_store(output)?;
        // Opened when it can be written to: files are linked within one mount only.
        let repository = Repository::open(&sysroot.join("ostree/repo"))?;
        let progress = Progress::new(output);
        keep(&repository, target, &progress)?;
        let request = Request {
            repository: &repository,
            commit: target.commit,
            release: found,
            threshold_bytes: self.threshold,
        };
        let adopted = adopt::adopt(&store, &request, &progress)?;
        let transaction = store.begin(&progress)?;
        // Before there was anything of it, a `prune` may have taken the ref away.
        keep(&repository, target, &progress)?;
        let deployment = match found {
            Some(found) => Some(self.deploy(common, &transaction, target, found)?),
            None => None,
        };
        transaction.finish()?;
        drop(progress);
        Ok(DoneReport::new(
            &adopted,
            deployment,
            Footprint::of(location)?,
        ))
    }

    /// Deploys what is in the store.
    fn deploy(
        &self,
        common: &Common,
        transaction: &Transaction<'_>,
        target: &Target,
        found: &FoundStatement,
    ) -> anyhow::Result<DeployedReport> {
        let aim = self.aim(target);
        let what = Deploying {
            statement: &found.statement,
            origin: None,
            aim: &aim,
            usual_etc: as_with_ostree,
            is_staged: self.stage,
            image: None,
        };
        self.entry.deploy(common, transaction, &what)
    }
}

/// The statement that came into the store some other way before, if one did.
fn kept_statement(
    common: &Common,
    keyset: &Verified<Keyset>,
    commit: CommitId,
    stream: Option<&Name>,
) -> anyhow::Result<Option<FoundStatement>> {
    if common.store_path().symlink_metadata().is_err() {
        return Ok(None);
    }
    let store = common.open_store()?;
    match release::verify_document(&store, keyset, commit, stream) {
        Ok((statement, document)) => Ok(Some(FoundStatement {
            statement,
            document,
        })),
        Err(ReleaseError::NoStatement { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Has OSTree keep the commit.
fn keep(repository: &Repository, target: &Target, progress: &Progress) -> anyhow::Result<()> {
    let _lock = repository.lock_exclusively(progress)?;
    let io = KernelIo::open(repository.path())?;
    adopt::keep_on(&io, &target.stateroot, &target.commit)?;
    Ok(())
}

/// Has OSTree pull a ref of a remote into the repository.
fn pull(repository: &Path, rev: &str) -> anyhow::Result<()> {
    let Some((remote, branch)) = rev.split_once(':') else {
        let message = format!("{rev} names no remote to pull from: expected REMOTE:REF");
        return Err(Failure::new(ErrorClass::Usage, message).into());
    };
    let mut ostree = Command::new("ostree");
    ostree.arg(format!("--repo={}", repository.display()));
    ostree.args(["pull", "--", remote, branch]);
    // What it tells of its progress is for people, as ours is.
    ostree.stdin(Stdio::null()).stdout(io::stderr());
    let status = ostree.status().context("cannot start `ostree pull`")?;
    if status.success() {
        return Ok(());
    }
    let message = format!("`ostree pull {remote} {branch}` ended with {status}");
    Err(Failure::new(ErrorClass::Io, message).into())
}

impl DoneReport {
    fn new(adopted: &Adopted, deployed: Option<DeployedReport>, footprint: Footprint) -> Self {
        let objects = &adopted.objects;
        Self {
            pack: adopted.pack.digest.to_string(),
            linked_objects: objects.linked_objects,
            linked_bytes: objects.linked_bytes,
            present_objects: objects.present_objects,
            copied: (adopted.copied.iter())
                .map(|copied| (copied.digest.to_string(), copied.reason.to_string()))
                .collect(),
            added_bytes: objects.added_bytes,
            is_new: adopted.is_new,
            deployment: deployed
                .as_ref()
                .map(|deployed| deployed.deployment.clone()),
            deployed,
            extra_pack_bytes: footprint.pack_bytes,
            extra_verity_bytes: footprint.verity_bytes,
            extra_own_bytes: footprint.own_bytes,
        }
    }
}

/// The error with the way out of the first thing that stands against it.
fn blocked(error: adopt::AdoptError, survey: &Survey) -> anyhow::Error {
    let mut blocking = survey.findings.iter();
    let first = blocking.find(|finding| finding.severity == Severity::Blocks);
    match first.and_then(|finding| finding.way_out.clone()) {
        Some(way_out) => Failure::new(error.class(), error.to_string())
            .hint(way_out)
            .into(),
        None => error.into(),
    }
}
