// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long work tells its progress, without printing.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a lock that somebody else holds is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Who waits longer for somebody says so.
const WAIT_TO_TELL: Duration = Duration::from_secs(1);

/// Receives progress. Always the last argument of a function that may take longer than a second;
/// called from many threads.
pub trait Monitor: Sync {
    /// A phase begins, with the number of units it will take where that is known.
    fn start(&self, phase: &'static str, unit: Unit, total: Option<u64>);

    /// That many more units of the current phase are done.
    fn advance(&self, units: u64);

    /// Something worth a person's attention that does not stop the work.
    fn warn(&self, message: String);

    /// Something of what was done that its result does not tell.
    fn note(&self, message: String);

    /// Nothing goes on before this has come to pass.
    fn wait(&self, what: String);
}

/// What a phase counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files, objects or entries.
    Items,
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn start(&self, _phase: &'static str, _unit: Unit, _total: Option<u64>) {}
    fn advance(&self, _units: u64) {}
    fn warn(&self, _message: String) {}
    fn note(&self, _message: String) {}
    fn wait(&self, _what: String) {}
}

/// Tries to take a lock until it is there, or `most` has passed: then how long that was. Whoever waits long is
/// told what `held` says.
pub(crate) fn wait_for_lock<L, E>(
    most: Duration,
    monitor: &dyn Monitor,
    mut attempt: impl FnMut() -> Result<Option<L>, E>,
    held: impl Fn() -> String,
) -> Result<Result<L, Duration>, E> {
    let since = Instant::now();
    let mut is_told = false;
    loop {
        if let Some(lock) = attempt()? {
            return Ok(Ok(lock));
        }
        let waited = since.elapsed();
        if waited >= most {
            return Ok(Err(waited));
        }
        if waited >= WAIT_TO_TELL && !is_told {
            is_told = true;
            monitor.wait(held());
        }
        std::thread::sleep(LOCK_POLL.min(most.saturating_sub(waited)));
    }
}

/// Keeps warnings, for tests and for callers that print them later.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// The warnings so far, in order of arrival.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(
            &mut *self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

impl Monitor for Warnings {
    fn start(&self, _phase: &'static str, _unit: Unit, _total: Option<u64>) {}
    fn advance(&self, _units: u64) {}
    fn warn(&self, message: String) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(message);
    }

    fn note(&self, _message: String) {}
    fn wait(&self, _what: String) {}
}
