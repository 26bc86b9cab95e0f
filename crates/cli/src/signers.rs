// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options that say who signs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use sealroot::keys;
use sealroot::signer::{DEFAULT_TIMEOUT, Signer, SignerCommand};
use sealroot_format::ErrorClass;

use crate::failure::Failure;

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
}

impl SignerOptions {
    /// Who signs.
    pub(crate) fn signer(&self) -> anyhow::Result<Signer> {
        match (&self.key, &self.signer, &self.public_key) {
            (Some(path), None, None) => Ok(Signer::Key(keys::read_secret_key(path)?)),
            (None, Some(command), Some(public)) => Ok(Signer::Command(SignerCommand {
                argv: command
                    .split_ascii_whitespace()
                    .map(OsString::from)
                    .collect(),
                public: keys::read_public_key(public)?,
                timeout: DEFAULT_TIMEOUT,
            })),
            _ => {
                let message = "name a secret key with --key, or --signer with --public-key";
                Err(Failure::new(ErrorClass::Usage, message).into())
            }
        }
    }
}
