// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `ls`, `cat`, `dump`, `unpack` and `mount` look at: a release, a deployment or a pack file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use sealroot::object::Discard;
use sealroot::source::{self, Devices, DirectoryOptions};
use sealroot::spool::Spool;
use sealroot::store::Store;
use sealroot::{deploy, input, release};
use sealroot_format::ErrorClass;
use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::erofs::ReadAt;
use sealroot_format::pack::Pack;
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Name, Statement, Verified};
use sealroot_format::tree::Tree;

use crate::args::Common;
use crate::commit::CommitPrefix;
use crate::failure::Failure;
use crate::files;
use crate::output::Output;
use crate::progress::Progress;

/// A pack to look at, on the command line.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// A commit, a deployment (<commit>.<serial>), or the file of a pack. The first digits of a
    /// commit do.
    #[arg(value_name = "TARGET")]
    target: OsString,

    /// The stream a commit was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,
}

/// What the words of a target mean.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A release of the store, and its stream if named; its signatures are verified first.
    Commit(CommitId, Option<Name>),
    /// A deployment of the store; its signatures are verified first.
    Deployment(DeploymentName),
    /// A file, which nobody vouches for.
    File(PathBuf),
}

impl TargetArgs {
    /// What is meant.
    pub(crate) fn find(&self, common: &Common) -> anyhow::Result<Target> {
        let text = self.target.to_str().unwrap_or_default();
        if let Some(commit) = CommitId::from_hex(text) {
            return Ok(Target::Commit(commit, self.stream.clone()));
        }
        if let Ok(name) = text.parse() {
            return Ok(Target::Deployment(name));
        }
        match self.find_short(text, common)? {
            Some(target) => Ok(target),
            None => Ok(Target::File(PathBuf::from(&self.target))),
        }
    }

    /// The tree of what is meant, which may be a directory too.
    pub(crate) fn tree_or_directory(
        &self,
        common: &Common,
        output: Output,
    ) -> anyhow::Result<Tree> {
        match self.find(common)? {
            Target::File(path) if path.is_dir() => read_directory(&path, output),
            target => target.tree(common),
        }
    }

    /// What is meant, if some first digits are. A file that is called so is refused then: it would
    /// not be verified.
    fn find_short(&self, text: &str, common: &Common) -> anyhow::Result<Option<Target>> {
        let (digits, serial) = match text.split_once('.') {
            None => (text, None),
            Some((digits, serial)) => (digits, Some(serial)),
        };
        let serial = serial.map(str::parse).transpose();
        let (Ok(prefix), Ok(serial)) = (digits.parse::<CommitPrefix>(), serial) else {
            return Ok(None);
        };
        let store = match common.open_store() {
            Ok(store) => store,
            Err(error) if error.class() == ErrorClass::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(commit) = prefix.find_any(&store)? else {
            return Ok(None);
        };
        if Path::new(text).symlink_metadata().is_ok() {
            let message = format!("{text} may be the file or the commit {commit}");
            return Err(Failure::new(ErrorClass::Usage, message)
                .hint(format!("./{text} is the file; all digits are the commit"))
                .into());
        }
        Ok(Some(match serial {
            None => Target::Commit(commit, self.stream.clone()),
            Some(serial) => Target::Deployment(DeploymentName { commit, serial }),
        }))
    }
}

/// A pack whose bytes come from wherever the target is.
pub(crate) type AnyPack<'b> = Pack<&'b dyn ReadAt>;

impl Target {
    /// Opens the pack and hands it to `look`.
    pub(crate) fn with_pack<T>(
        &self,
        common: &Common,
        look: impl FnOnce(&AnyPack<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if let Self::File(path) = self {
            let file = open_file(path)?;
            let pack = Pack::open(&file as &dyn ReadAt);
            return look(&pack.with_context(|| not_a_pack(path))?);
        }
        let store = common.open_store()?;
        let digest = self.verified_statement(&store, common)?.pack_digest;
        let bytes = release::open_pack_bytes(&store, &digest)?;
        look(&Pack::open(&bytes as &dyn ReadAt)?)
    }

    /// Reads all of the pack, and compares that of a release with its statement.
    pub(crate) fn tree(&self, common: &Common) -> anyhow::Result<Tree> {
        if let Self::File(path) = self {
            let file = open_file(path)?;
            let tree = Pack::open(&file).and_then(|pack| pack.tree());
            return tree.with_context(|| not_a_pack(path));
        }
        let store = common.open_store()?;
        let statement = self.verified_statement(&store, common)?;
        Ok(release::check_pack(&store, &statement)?)
    }

    /// Opens the file of a pack for the kernel, which must never see one that is not well-formed.
    /// Its digest as well, if it is one of the store's.
    pub(crate) fn open(
        &self,
        common: &Common,
        store: &Store,
    ) -> anyhow::Result<(OwnedFd, Option<VerityDigest>)> {
        if let Self::File(path) = self {
            let file = open_file(path)?;
            let tree = Pack::open(&file).and_then(|pack| pack.tree());
            tree.with_context(|| not_a_pack(path))?;
            return Ok((file.into(), None));
        }
        let statement = self.verified_statement(store, common)?;
        release::check_pack(store, &statement)?;
        let digest = statement.pack_digest;
        let file = release::open_verified_pack(store, &digest)?;
        Ok((file.into_file().into(), Some(digest)))
    }

    /// The deployment that is named.
    pub(crate) const fn deployment(&self) -> Option<DeploymentName> {
        match self {
            Self::Deployment(name) => Some(*name),
            _ => None,
        }
    }

    /// The statement of the release that a commit or deployment names, signed by enough keys.
    fn verified_statement(
        &self,
        store: &Store,
        common: &Common,
    ) -> anyhow::Result<Verified<Statement>> {
        let (commit, stream) = match self {
            Self::Commit(commit, stream) => (*commit, stream.clone()),
            Self::Deployment(name) => {
                let record = deploy::read_record(store, *name)?;
                (name.commit, Some(record.stream))
            }
            Self::File(_) => {
                let message = "a file is no release: name a commit or a deployment";
                return Err(Failure::new(ErrorClass::Usage, message).into());
            }
        };
        let keyset = common.trusted_keyset()?;
        let statement = release::verify_statement(store, &keyset, commit, stream.as_ref())?;
        Ok(statement)
    }
}

fn open_file(path: &Path) -> anyhow::Result<File> {
    let name = path.display();
    if path.is_dir() {
        let message = format!("{name} is a directory, expected a commit, a deployment or a pack");
        return Err(Failure::new(ErrorClass::Usage, message)
            .hint("only `sealroot dump` and `sealroot advise` take a directory")
            .into());
    }
    input::open_regular(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("{name} is no commit, no deployment and no file");
            Failure::new(ErrorClass::NotFound, message)
                .hint(
                    "a commit is the 64 digits that `build` and `status` print; a deployment has \
                     a dot and a number behind them",
                )
                .into()
        }
        _ => files::cannot("open", path, error),
    })
}

fn read_directory(directory: &Path, output: Output) -> anyhow::Result<Tree> {
    let options = DirectoryOptions {
        devices: Devices::Keep,
        ..DirectoryOptions::default()
    };
    let progress = Progress::new(output);
    Ok(source::read_directory(
        directory,
        &options,
        &Spool::in_temporary_directory(),
        &Discard,
        &progress,
    )?)
}

fn not_a_pack(path: &Path) -> String {
    format!("{} is not a pack", path.display())
}

/// The components of a path inside a pack.
pub(crate) fn components(path: &OsStr) -> impl Iterator<Item = &[u8]> {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}
