// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lock of a repository, as OSTree takes it: on `.lock`, by open file description.
//!
//! Whoever writes objects holds it shared, `prune` exclusively. `ostree sign` and `gpg-sign` do
//! not take it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use sealroot_sys::lock::fcntl_ofd_setlk;

use super::error::OstreeError;
use super::repository::Repository;
use crate::monitor::{Monitor, WAIT_TO_TELL};

/// The file that is locked.
const LOCK_NAME: &str = ".lock";

/// How often a lock that somebody else holds is tried again.
const POLL: Duration = Duration::from_millis(20);

/// The lock of a repository, held until this is dropped.
pub struct RepositoryLock {
    /// `None` where the configuration says that there is no locking.
    _file: Option<OwnedFd>,
}

impl fmt::Debug for RepositoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryLock").finish_non_exhaustive()
    }
}

impl Repository {
    /// Takes the lock so that nobody else has it, waiting as long as the configuration says
    /// (`core.lock-timeout-secs`).
    pub fn lock_exclusively(&self, monitor: &dyn Monitor) -> Result<RepositoryLock, OstreeError> {
        self.lock(true, monitor)
    }

    /// Takes the lock together with others who take it so, waiting as long for whoever has it alone.
    pub fn lock_shared(&self, monitor: &dyn Monitor) -> Result<RepositoryLock, OstreeError> {
        self.lock(false, monitor)
    }

    fn lock(
        &self,
        is_exclusive: bool,
        monitor: &dyn Monitor,
    ) -> Result<RepositoryLock, OstreeError> {
        let Some(wait) = self.config.lock_wait else {
            return Ok(RepositoryLock { _file: None });
        };
        let lock = self.path.join(LOCK_NAME);
        let write_error = |errno: rustix::io::Errno| OstreeError::Lock {
            lock: lock.clone(),
            source: errno.into(),
        };
        let file = rustix::fs::openat2(
            &self.root,
            LOCK_NAME,
            OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .map_err(write_error)?;
        let since = Instant::now();
        let mut is_told = false;
        while !fcntl_ofd_setlk(&file, is_exclusive).map_err(write_error)? {
            let waited = since.elapsed();
            if waited >= wait {
                return Err(OstreeError::Busy {
                    lock,
                    waited_seconds: waited.as_secs(),
                });
            }
            if waited >= WAIT_TO_TELL && !is_told {
                is_told = true;
                monitor.wait(format!(
                    "somebody else, such as ostree, holds the lock {}",
                    lock.display()
                ));
            }
            std::thread::sleep(POLL.min(wait.saturating_sub(waited)));
        }
        Ok(RepositoryLock { _file: Some(file) })
    }
}
