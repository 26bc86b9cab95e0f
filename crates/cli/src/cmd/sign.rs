// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot sign`

use std::io::{self, Write};

use clap::Args;
use sealroot::monitor::Silent;
use sealroot::release;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{Keyset, Name, PublicKey, Role, SignatureState, Statement, Unverified};
use serde::Serialize;

use crate::args::Common;
use crate::commit::CommitPrefix;
use crate::failure::Failure;
use crate::output::{Output, Report, counted};
use crate::signers::SignerOptions;

/// Add a signature to a release.
///
/// The secret key stays where it is: a file, or whatever an external command keeps it in. Several
/// people can sign one after another; each call adds one signature. With --keyset it is also said
/// whether there are enough.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Sign {
    /// The commit, as `build` printed it; its first digits do.
    #[arg(value_name = "COMMIT")]
    commit: CommitPrefix,

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

An external signer gets the bytes to sign on its standard input and prints the signature, 64 raw
bytes or their base64.";

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
            None => Ok(()),
            Some(Wanted { threshold, signed }) if signed >= threshold => {
                writeln!(out, "enough for the keyset")
            }
            Some(Wanted { threshold, signed }) => {
                writeln!(
                    out,
                    "not enough for the keyset: {signed} of {threshold} have signed"
                )
            }
        }
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
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let commit = self.commit.find(&store)?;
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
        output.emit(&Signed {
            commit: commit.to_string(),
            stream: stream.to_string(),
            key: key.to_string(),
            signatures: signed.signatures().len(),
            is_new,
            wanted: keyset.map(|keyset| Wanted::new(&signed, &keyset)),
            statement: statement.to_string(),
        })
    }
}
