// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who makes signatures: a secret key file, or a command that asks an HSM, a KMS or an agent.

pub(crate) mod command;

use std::{ffi::OsString, io, process::ExitStatus, time::Duration};

use sealroot_format::{
    ErrorClass,
    sign::{
        self, Document, Message, PublicKey, SIGNATURE_BYTES, Unverified, decode_signature,
        secret::SecretKey,
    },
};

/// How long a signer command may take if nothing else is said: somebody may have to touch a
/// token.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// Makes signatures by one key.
#[derive(Debug)]
pub enum Signer {
    /// With a secret key in memory.
    Key(SecretKey),
    /// With a program.
    Command(SignerCommand),
}

/// A program that signs: it gets the bytes to be signed on its standard input, and writes the
/// signature (64 bytes, or their base64 on one line) to its standard output.
#[derive(Clone, Debug)]
pub struct SignerCommand {
    /// The program and its arguments. No shell is involved.
    pub argv: Vec<OsString>,
    /// The key it signs with.
    pub public: PublicKey,
    /// How long it may take.
    pub timeout: Duration,
}

impl Signer {
    /// The public key that its signatures verify by.
    pub const fn public(&self) -> &PublicKey {
        match self {
            Self::Key(key) => key.public(),
            Self::Command(command) => &command.public,
        }
    }

    /// Signs `document`: a signature by the same key is replaced, all others stay. The new
    /// signature is verified before it is added.
    pub fn sign<T: Document>(&self, document: &mut Unverified<T>) -> Result<(), Error> {
        let signature = match self {
            Self::Key(key) => key.sign(document.message()),
            Self::Command(command) => command.sign(document.message())?,
        };
        document.add(self.public(), signature).map_err(Error::Sign)
    }
}

impl SignerCommand {
    fn sign(&self, message: &Message) -> Result<[u8; SIGNATURE_BYTES], Error> {
        let command::Answer { program, output } =
            command::ask(&self.argv, message.as_bytes(), self.timeout)?;
        let text = str::from_utf8(&output).unwrap_or_default().trim_ascii_end();
        let raw = output.as_slice().try_into().ok();
        raw.or_else(|| decode_signature(text)).ok_or(Error::Output {
            program,
            expected_bytes: SIGNATURE_BYTES,
            found_bytes: output.len(),
        })
    }
}

/// Why a document was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command has no words.
    #[error("the signer command is empty")]
    NoCommand,
    /// The program could not be started.
    #[error("cannot start the signer {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The program did not end in time and was killed.
    #[error(
        "the signer {program} was stopped: expected a signature within {seconds} s; it wrote: \
         {stderr}"
    )]
    TimedOut {
        /// The program.
        program: String,
        /// The time it had.
        seconds: u64,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The program said that it failed.
    #[error("the signer {program} failed ({status}); it wrote: {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// What the program wrote is no signature.
    #[error(
        "the signer {program} wrote no signature: expected {expected_bytes} bytes or their base64 \
         on one line, found {found_bytes} bytes of something else"
    )]
    Output {
        /// The program.
        program: String,
        /// How long a signature is.
        expected_bytes: usize,
        /// How much it wrote, or the first 4096 bytes of that.
        found_bytes: usize,
    },
    /// The signature does not fit, or there is no room for it.
    #[error(transparent)]
    Sign(sign::Error),
}

impl Error {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoCommand => ErrorClass::Usage,
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Start { .. } | Self::TimedOut { .. } | Self::Failed { .. } => ErrorClass::Io,
            Self::Output { .. } => ErrorClass::Corrupt,
            Self::Sign(error) => error.class(),
        }
    }
}
