// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options that say who signs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, value_parser};
use sealroot::keys;
use sealroot::signer::{DEFAULT_TIMEOUT, Signer, SignerCommand};
use sealroot_format::ErrorClass;

use crate::failure::Failure;
use crate::output::Output;

/// A secret key file, or an external command and its public key.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("who").args(["key", "signer"]).required(true))]
pub(crate) struct SignerOptions {
    /// Sign with this secret key file.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Sign with this command: it gets the bytes on its standard input. Split at spaces.
    #[arg(long, value_name = "COMMAND", requires = "public_key")]
    signer: Option<String>,

    /// The public key that the command signs for.
    #[arg(long, value_name = "FILE", requires = "signer")]
    public_key: Option<PathBuf>,

    /// How long the command may take before it is stopped; somebody may have to touch a token.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = DEFAULT_TIMEOUT.as_secs(),
        value_parser = value_parser!(u64).range(1..=MAX_TIMEOUT_SECONDS)
    )]
    signer_timeout: u64,
}

/// The longest time that a command may be given, seconds.
const MAX_TIMEOUT_SECONDS: u64 = 24 * 60 * 60;

impl SignerOptions {
    /// Who signs. Tells a person who it is that has to be waited for.
    pub(crate) fn signer(&self, output: Output) -> anyhow::Result<Signer> {
        match (&self.key, &self.signer, &self.public_key) {
            (Some(path), None, None) => Ok(Signer::Key(keys::read_secret_key(path)?)),
            (None, Some(command), Some(public)) => {
                let signer = SignerCommand {
                    argv: command
                        .split_ascii_whitespace()
                        .map(OsString::from)
                        .collect(),
                    public: keys::read_public_key(public)?,
                    timeout: Duration::from_secs(self.signer_timeout),
                };
                if let Some(program) = signer.argv.first() {
                    output.note(&format!(
                        "waiting up to {} s for {} to sign",
                        self.signer_timeout,
                        program.display()
                    ));
                }
                Ok(Signer::Command(signer))
            }
            _ => {
                let message = "name a secret key with --key, or --signer with --public-key";
                Err(Failure::new(ErrorClass::Usage, message).into())
            }
        }
    }
}
