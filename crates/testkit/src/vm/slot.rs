// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many machines run at the same time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Machines of one process that run at the same time; the others wait.
const MAX_RUNNING: usize = 2;

/// The right to run one of [`MAX_RUNNING`] machines.
pub(super) struct Slot;

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Slot {
    pub(super) fn take() -> Self {
        let running = Self::lock();
        let mut running = FREED
            .wait_while(running, |running| *running >= MAX_RUNNING)
            .unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Self
    }

    fn lock() -> MutexGuard<'static, usize> {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *Self::lock() -= 1;
        FREED.notify_one();
    }
}
