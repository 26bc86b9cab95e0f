// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is given bytes and gives a signature back.

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

use super::Error;

/// Most bytes kept of what a signer command writes to either of its outputs.
const MAX_OUTPUT_BYTES: usize = 4096;

/// How long to wait for the rest of what a command wrote to its standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often a command is asked whether it has ended, once it has closed its output.
const POLL: Duration = Duration::from_millis(2);

/// What a program answered.
pub(crate) struct Answer {
    /// The program, for people.
    pub(crate) program: String,
    /// What it wrote to its standard output, at most [`MAX_OUTPUT_BYTES`].
    pub(crate) output: Vec<u8>,
}

/// Runs a program and its arguments, without a shell, with `input` on its standard input, until it
/// succeeds.
pub(crate) fn ask(argv: &[OsString], input: &[u8], timeout: Duration) -> Result<Answer, Error> {
    let (program, arguments) = argv.split_first().ok_or(Error::NoCommand)?;
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
    child.write_input(input.to_vec());
    let Some((status, output)) = child.finish(timeout) else {
        child.stop();
        return Err(Error::TimedOut {
            program,
            seconds: timeout.as_secs(),
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
    Ok(Answer { program, output })
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
