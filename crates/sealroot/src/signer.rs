// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who makes signatures: a secret key file, or a command that asks an HSM, a KMS or an agent.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

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

/// Most bytes kept of what a signer command writes to either of its outputs.
const MAX_OUTPUT_BYTES: usize = 4096;

/// How long to wait for the rest of what a command wrote to its standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often a command is asked whether it has ended, once it has closed its output.
const POLL: Duration = Duration::from_millis(2);

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
        let (program, arguments) = self.argv.split_first().ok_or(Error::NoCommand)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let program = program.to_string_lossy().into_owned();
        let mut child = match child {
            Ok(child) => Running::new(child),
            Err(source) => return Err(Error::Start { program, source }),
        };
        child.write_input(message.as_bytes().to_vec());
        let Some((status, output)) = child.finish(self.timeout) else {
            child.stop();
            return Err(Error::TimedOut {
                program,
                seconds: self.timeout.as_secs(),
                stderr: child.error_text(),
            });
        };
        if !status.success() {
            return Err(Error::Failed {
                program,
                status,
                stderr: child.error_text(),
            });
        }
        let text = str::from_utf8(&output).unwrap_or_default().trim_ascii_end();
        let raw = output.as_slice().try_into().ok();
        raw.or_else(|| decode_signature(text)).ok_or(Error::Output {
            program,
            found_bytes: output.len(),
        })
    }
}

/// A started command, killed when dropped before its end. Its pipes are served by threads, none
/// of which is waited for without a limit: a program it left behind may hold them open.
struct Running {
    child: Child,
    output: Written,
    errors: Written,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let output = read_aside(child.stdout.take());
        let errors = read_aside(child.stderr.take());
        Self {
            child,
            output,
            errors,
        }
    }

    fn write_input(&mut self, input: Vec<u8>) {
        if let Some(mut pipe) = self.child.stdin.take() {
            // A command that does not read all of it says so by its status or its signature.
            thread::spawn(move || drop(pipe.write_all(&input)));
        }
    }

    /// Exit status and output, or `None` if it takes too long.
    fn finish(&mut self, timeout: Duration) -> Option<(ExitStatus, Vec<u8>)> {
        let end = Instant::now() + timeout;
        self.output.end.recv_timeout(timeout).ok()?;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some((status, self.output.so_far()));
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(POLL);
        }
    }

    /// What it wrote to its standard error, for people.
    fn error_text(&self) -> String {
        // Whoever it left behind may still write.
        let _ = self.errors.end.recv_timeout(LAST_WORDS);
        let errors = self.errors.so_far();
        let text = String::from_utf8_lossy(&errors).trim().to_owned();
        if text.is_empty() {
            return "nothing on its standard error".to_owned();
        }
        text.replace(|c: char| c.is_control() && c != '\n', "?")
    }

    fn stop(&mut self) {
        // Both fail for a command that has ended, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What comes out of a pipe.
struct Written {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Hears when no more comes, or more than is kept.
    end: Receiver<()>,
}

impl Written {
    fn so_far(&self) -> Vec<u8> {
        let bytes = self.bytes.lock();
        bytes.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_aside(pipe: Option<impl Read + Send + 'static>) -> Written {
    let (sender, end) = mpsc::channel();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&bytes);
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = [0; MAX_OUTPUT_BYTES];
        let mut left = MAX_OUTPUT_BYTES;
        while left > 0 {
            // What was read before an error is judged by its length.
            let read = pipe.read(&mut buffer[..left]).unwrap_or(0);
            if read == 0 {
                break;
            }
            left -= read;
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..read]);
        }
        let _ = sender.send(());
        // What is too much is read all the same, for a closed pipe would kill the command.
        drop(io::copy(&mut pipe, &mut io::sink()));
    });
    Written { bytes, end }
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
        "the signer {program} wrote no signature: expected 64 bytes or their base64 on one line, \
         found {found_bytes} bytes of something else"
    )]
    Output {
        /// The program.
        program: String,
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
