// SPDX-License-Identifier: MIT OR Apache-2.0
//! The release of the test OS, made once for all tests that run at the same time.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;
use sealroot_format::policy::Mode;
use sealroot_testkit::need;
use sealroot_testkit::release::{Release, usual_kernel};

/// The release for the mode `sealed` or `integrity`; `None` where what it takes is missing, which
/// has been said then.
pub(crate) fn release(mode: Mode) -> Result<Option<Arc<Release>>> {
    static SEALED: Mutex<Weak<Release>> = Mutex::new(Weak::new());
    static INTEGRITY: Mutex<Weak<Release>> = Mutex::new(Weak::new());
    let (Some(kernel), true) = (usual_kernel(), need::root()) else {
        return Ok(None);
    };
    let of_mode = match mode {
        Mode::Sealed | Mode::Verity => &SEALED,
        Mode::Integrity => &INTEGRITY,
    };
    let mut shared = of_mode.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(release) = shared.upgrade() {
        return Ok(Some(release));
    }
    let release = Arc::new(Release::create(&kernel, mode)?);
    *shared = Arc::downgrade(&release);
    Ok(Some(release))
}
