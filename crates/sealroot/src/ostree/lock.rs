// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lock of a repository, as OSTree takes it: on `.lock`, by open file description.
//!
//! Whoever writes objects holds it shared, `prune` exclusively. `ostree sign` and `gpg-sign` do
//! not take it.

use std::fmt;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use sealroot_sys::lock::fcntl_ofd_setlk;

use super::error::OstreeError;
use super::repository::Repository;
use crate::monitor::{Monitor, wait_for_lock};

/// The file that is locked.
const LOCK_NAME: &str = ".lock";

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
        let attempt = || {
            let is_taken = fcntl_ofd_setlk(&file, is_exclusive).map_err(write_error);
            is_taken.map(|is_taken| is_taken.then_some(()))
        };
        let held = || {
            format!(
                "somebody else, such as ostree, holds the lock {}",
                lock.display()
            )
        };
        if let Err(waited) = wait_for_lock(wait, monitor, attempt, held)? {
            return Err(OstreeError::Busy {
                lock,
                waited_seconds: waited.as_secs(),
            });
        }
        Ok(RepositoryLock { _file: Some(file) })
    }
}
