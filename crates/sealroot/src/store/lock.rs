// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking the lock of a store: for a while, whoever holds it is waited for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::StoreError;
use super::files::{again, failed, full_path};
use super::io::{LockKind, StoreIo};
use super::path::{LOCK_NAME, known};
use crate::monitor::{Monitor, Silent, wait_for_lock};

/// How long an operation waits for the lock unless told otherwise.
const DEFAULT_LOCK_WAIT: Duration = Duration::from_secs(10);

/// How it is waited for a lock.
pub(super) struct Waiting {
    /// How long.
    pub(super) most: Duration,
    /// Who is told.
    pub(super) monitor: Arc<dyn Monitor + Send>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            most: DEFAULT_LOCK_WAIT,
            monitor: Arc::new(Silent),
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Waiting");
        fields.field("most", &self.most).finish_non_exhaustive()
    }
}

/// Takes the lock, waiting a bounded time for whoever holds it.
pub(super) fn lock_on<I: StoreIo>(
    io: &I,
    kind: LockKind,
    waiting: &Waiting,
) -> Result<I::Lock, StoreError> {
    let path = known(LOCK_NAME);
    let attempt = || again(|| io.try_lock(&path, kind)).map_err(failed(io, "lock", &path));
    let held = || {
        let holder = io.lock_holder(&path);
        let holder = holder.map_or_else(String::new, |process| format!(" (process {process})"));
        let lock = full_path(io, &path);
        format!(
            "another sealroot command{holder} holds the lock {}",
            lock.display()
        )
    };
    let taken = wait_for_lock(waiting.most, &*waiting.monitor, attempt, held)?;
    taken.map_err(|waited| StoreError::Busy {
        lock: full_path(io, &path),
        waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Who holds a lock of the file with this device and inode: what the kernel says of all locks, `/proc/locks`
/// (proc(5)), tells. Nobody, if it is not shown from here.
pub(super) fn holder_in(locks: &str, (major, minor, inode): (u32, u32, u64)) -> Option<u32> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let mut holders = locks.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_lock = fields.next()? == "FLOCK";
        let process = fields.nth(2)?.parse().ok()?;
        (is_lock && fields.next()? == file && process != 0).then_some(process)
    });
    holders.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_all_locks() {
        let locks = "1: POSIX  ADVISORY  READ 11 fd:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 22 fd:01:7 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 fd:01:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 44 fd:01:77 0 EOF\n\
                     4: -> FLOCK  ADVISORY  WRITE 55 fd:01:77 0 EOF\n\
                     5: OFDLCK\n";
        assert_eq!(holder_in(locks, (0xfd, 1, 77)), Some(44));
        assert_eq!(holder_in(locks, (0xfd, 1, 7)), Some(22));
        assert_eq!(holder_in(locks, (0xfd, 2, 77)), None);
        assert_eq!(holder_in("", (0, 0, 0)), None);
    }
}
