// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot sign`

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use sealroot::monitor::Silent;
use sealroot::ostree::Repository;
use sealroot::release;
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::sign::{Keyset, Name, PublicKey, Role, SignatureState, Statement, Unverified};
use serde::Serialize;

use crate::args::Common;
use crate::commit::CommitPrefix;
use crate::failure::Failure;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::signers::SignerOptions;

/// Add a signature to a release.
///
/// The secret key stays where it is: a file, or whatever an external command keeps it in. Several
/// people can sign one after another; each call adds one signature.
///
/// With --ostree the signed statement is also published in the repository that the commit comes
/// from: in the commit's detached metadata, which `ostree pull` carries along, and as a file in the
/// repository. Clients that pull the commit need nothing else (see `sealroot import`).
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").args(["commit", "ostree"]).required(true),
    after_long_help = EXAMPLES
)]
pub(crate) struct Sign {
    /// The commit, as `build` printed it; its first digits do.
    #[arg(value_name = "COMMIT")]
    commit: Option<CommitPrefix>,

    /// The commit that REF names in this OSTree repository, and publish the statement there.
    #[arg(long, num_args = 2, value_names = ["REPO", "REF"])]
    ostree: Option<Vec<String>>,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    #[command(flatten)]
    signer: SignerOptions,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --sysroot /mnt sign COMMIT --key vendor.secret
  sealroot --store ./store sign COMMIT --public-key hsm.public --signer 'hsm-sign --slot 3'
  sealroot --store ./store sign --ostree ./repo exampleos/x86_64/stable --key vendor.secret

An external signer gets the bytes to sign on its standard input and prints the signature, 64 raw
bytes or their base64.

Sign before `ostree static-delta generate` and `ostree summary -u`: a delta carries the detached
metadata that there was when it was made.";

#[derive(Serialize)]
struct Signed {
    commit: String,
    stream: String,
    key: String,
    signatures: usize,
    /// Whether the release had no good signature by this key.
    is_new: bool,
    /// What the keyset says of them, if one was named.
    wanted: Option<Wanted>,
    statement: String,
    /// Where it was published, if it was.
    published: Option<PublishedReport>,
}

#[derive(Serialize)]
struct PublishedReport {
    file: PathBuf,
    signatures: usize,
    is_new: bool,
    /// Whether the commit's detached metadata named another release before.
    has_replaced: bool,
}

impl PublishedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let signatures = counted(self.signatures as u64, "signature");
        let file = self.file.display();
        match (self.is_new, self.has_replaced) {
            (false, _) => writeln!(out, "it was published already: {file}"),
            (true, false) => writeln!(out, "published with {signatures}: {file}"),
            (true, true) => writeln!(
                out,
                "published with {signatures} in place of another release of this commit: {file}"
            ),
        }
    }
}

/// How far the release is for a keyset.
#[derive(Serialize)]
struct Wanted {
    threshold: usize,
    /// Release keys of the keyset that have signed.
    signed: usize,
}

impl Wanted {
    fn new(document: &Unverified<Statement>, keyset: &Keyset) -> Self {
        let states = document.inspect(keyset, Role::Release);
        Self {
            threshold: keyset.role(Role::Release).threshold(),
            signed: states
                .filter(|(_, state)| *state == SignatureState::Good)
                .count(),
        }
    }
}

impl Report for Signed {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.statement
            .lines()
            .try_for_each(|line| writeln!(out, "  {line}"))?;
        let Self {
            key, signatures, ..
        } = self;
        let signatures = counted(*signatures as u64, "signature");
        if self.is_new {
            writeln!(out, "signed by {key}; {signatures} now")?;
        } else {
            writeln!(out, "had been signed by {key} already; {signatures}")?;
        }
        match &self.wanted {
            None => {}
            Some(Wanted { threshold, signed }) if signed >= threshold => {
                writeln!(out, "enough for the keyset")?;
            }
            Some(Wanted { threshold, signed }) => {
                writeln!(
                    out,
                    "not enough for the keyset: {signed} of {threshold} have signed"
                )?;
            }
        }
        let published = self.published.as_ref();
        published.map_or(Ok(()), |published| published.write_text(out))
    }
}

/// Whether a document has a good signature by that key.
fn is_signed_by(document: &Unverified<Statement>, key: &PublicKey) -> bool {
    let mut own = document
        .signatures()
        .iter()
        .filter(|own| own.key == key.id());
    own.any(|own| key.verifies(document.message(), &own.signature))
}

impl Sign {
    /// The commit, and the repository in which to publish.
    fn find(&self, store: &Store) -> anyhow::Result<(Option<Repository>, CommitId)> {
        match (&self.commit, self.ostree.as_deref()) {
            (Some(commit), None) => Ok((None, commit.find(store)?)),
            (None, Some([path, rev])) => {
                let repository = Repository::open(path.as_ref())?;
                let commit = repository.resolve(rev)?;
                if !(store.list_statements()?.iter()).any(|(built, _)| *built == commit) {
                    let message = format!("commit {commit} was not built into the store yet");
                    return Err(Failure::new(ErrorClass::NotFound, message)
                        .hint(format!(
                            "build it with `sealroot build --ostree {path} {rev} ...`"
                        ))
                        .into());
                }
                Ok((Some(repository), commit))
            }
            _ => {
                let message = "name a commit, or one of a repository with --ostree REPO REF";
                Err(Failure::new(ErrorClass::Usage, message).into())
            }
        }
    }

    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let (repository, commit) = self.find(&store)?;
        let keyset = match common.keyset {
            Some(_) => Some(common.trusted_keyset()?),
            None => None,
        };
        let signer = self.signer.signer(output)?;
        let key = signer.public().id();
        let counts = |keyset: &Keyset| keyset.role(Role::Release).ids().contains(&key);
        if keyset.as_deref().is_some_and(|keyset| !counts(keyset)) {
            output.warn(&format!(
                "{key} is no release key of {}, for which its signature does not count",
                common.keyset_path().display()
            ));
        }
        let (stream, document) = release::read_statement(&store, commit, self.stream.as_ref())?;
        let statement = Statement::parse(document.body())?;
        if statement.commit != commit || statement.stream != stream {
            let message = format!(
                "the statement of {} in stream {stream} is of another release: {} in {}",
                commit, statement.commit, statement.stream
            );
            return Err(Failure::new(ErrorClass::Untrusted, message).into());
        }
        // A signature vouches for a pack that is whole and well-formed.
        release::check_pack(&store, &statement)?;
        let mut signed = document.clone();
        signer.sign(&mut signed)?;

        let transaction = store.begin(&Silent)?;
        // Read again under the lock: somebody else may have signed meanwhile.
        let (_, current) = release::read_statement(&store, commit, Some(&stream))?;
        signed.merge(&current)?;
        let is_new = !is_signed_by(&current, signer.public());
        transaction.write_statement(&commit, &stream, signed.to_string().as_bytes())?;
        transaction.finish()?;
        let publish = |repository: Repository| -> anyhow::Result<_> {
            let progress = Progress::new(output);
            let published = repository.publish(commit, &stream, &signed, &progress)?;
            Ok(PublishedReport {
                file: repository.statement_file(&commit, &stream),
                signatures: published.document.signatures().len(),
                is_new: published.is_new,
                has_replaced: published.has_replaced,
            })
        };
        output.emit(&Signed {
            commit: commit.to_string(),
            stream: stream.to_string(),
            key: key.to_string(),
            signatures: signed.signatures().len(),
            is_new,
            wanted: keyset.map(|keyset| Wanted::new(&signed, &keyset)),
            statement: statement.to_string(),
            published: repository.map(publish).transpose()?,
        })
    }
}
