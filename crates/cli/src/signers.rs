// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options that say who signs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, value_parser};
use sealroot::keys;
use sealroot::signer::{DEFAULT_TIMEOUT, Signer, SignerCommand};
use sealroot::uki::ImageSigner;
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

    #[command(flatten)]
    patience: SignerPatience,
}

/// The longest time that a command may be given, seconds.
const MAX_TIMEOUT_SECONDS: u64 = 24 * 60 * 60;

/// How a command that signs is waited for.
#[derive(Debug, Args)]
#[group(skip)]
struct SignerPatience {
    /// How long the command may take before it is stopped; somebody may have to touch a token.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = DEFAULT_TIMEOUT.as_secs(),
        value_parser = value_parser!(u64).range(1..=MAX_TIMEOUT_SECONDS)
    )]
    signer_timeout: u64,
}

impl SignerPatience {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.signer_timeout)
    }

    /// The words of a command, which a person is told to wait for.
    fn announced(&self, command: &str, output: Output) -> Vec<OsString> {
        let argv = words(command);
        announce(&argv, self.signer_timeout, output);
        argv
    }
}

impl SignerOptions {
    /// Who signs. Tells a person who it is that has to be waited for.
    pub(crate) fn signer(&self, output: Output) -> anyhow::Result<Signer> {
        match (&self.key, &self.signer, &self.public_key) {
            (Some(path), None, None) => Ok(Signer::Key(keys::read_secret_key(path)?)),
            (None, Some(command), Some(public)) => {
                let signer = SignerCommand {
                    argv: self.patience.announced(command, output),
                    public: keys::read_public_key(public)?,
                    timeout: self.patience.timeout(),
                };
                Ok(Signer::Command(signer))
            }
            _ => {
                let message = "name a secret key with --key, or --signer with --public-key";
                Err(Failure::new(ErrorClass::Usage, message).into())
            }
        }
    }
}

/// A private key for Secure Boot, or an external command, and the certificate that firmware knows.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ImageSignerOptions {
    #[command(flatten)]
    signer: CertifiedSignerOptions,

    /// Sign an image that does not seal: whoever trusts the key lets it boot.
    #[arg(long)]
    pub(crate) sign_unsealed: bool,
}

impl ImageSignerOptions {
    /// See [`CertifiedSignerOptions::signer`].
    pub(crate) fn signer(&self, output: Output) -> anyhow::Result<Option<ImageSigner>> {
        self.signer.signer(output)
    }
}

/// A private key, or an external command, and the certificate by which others verify.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct CertifiedSignerOptions {
    /// Sign with this private RSA key, in PEM and without a passphrase.
    #[arg(
        long,
        value_name = "FILE",
        requires = "certificate",
        conflicts_with = "signer"
    )]
    key: Option<PathBuf>,

    /// The certificate in PEM by which it is verified.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Sign with this command. Split at spaces.
    ///
    /// It gets the bytes on its standard input, and writes their signature (RSA, PKCS #1 v1.5,
    /// SHA-256) to its standard output, as `openssl dgst -sha256 -sign db.key` does.
    #[arg(long, value_name = "COMMAND", requires = "certificate")]
    signer: Option<String>,

    #[command(flatten)]
    patience: SignerPatience,
}

impl CertifiedSignerOptions {
    /// Who signs, if somebody was named. Tells a person who it is that has to be waited for.
    pub(crate) fn signer(&self, output: Output) -> anyhow::Result<Option<ImageSigner>> {
        let certificate: Option<&Path> = self.certificate.as_deref();
        match (certificate, &self.key, &self.signer) {
            (Some(certificate), Some(key), _) => Ok(Some(ImageSigner::with_key(certificate, key)?)),
            (Some(certificate), None, Some(command)) => {
                let argv = self.patience.announced(command, output);
                let timeout = self.patience.timeout();
                Ok(Some(ImageSigner::with_command(certificate, argv, timeout)?))
            }
            (Some(_), None, None) => {
                let message = "a certificate does not sign: name its key with --key, or --signer";
                Err(Failure::new(ErrorClass::Usage, message).into())
            }
            (None, ..) => Ok(None),
        }
    }
}

fn words(command: &str) -> Vec<OsString> {
    command
        .split_ascii_whitespace()
        .map(OsString::from)
        .collect()
}

fn announce(argv: &[OsString], timeout_seconds: u64, output: Output) {
    if let Some(program) = argv.first() {
        output.note(&format!(
            "waiting up to {timeout_seconds} s for {} to sign",
            program.display()
        ));
    }
}
