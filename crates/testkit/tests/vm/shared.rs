// SPDX-License-Identifier: MIT OR Apache-2.0
//! The release of the test OS, made once for all tests that run at the same time.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::system;
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
    share(of_mode, || Release::create(&kernel, mode).map(Some))
}

/// A sealed release of a Debian; `None` where what it takes is missing, which has been said then.
pub(crate) fn debian() -> Result<Option<Arc<Release>>> {
    static DEBIAN: Mutex<Weak<Release>> = Mutex::new(Weak::new());
    share(&DEBIAN, system::release)
}

fn share(
    shared: &Mutex<Weak<Release>>,
    make: impl FnOnce() -> Result<Option<Release>>,
) -> Result<Option<Arc<Release>>> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(release) = shared.upgrade() {
        return Ok(Some(release));
    }
    let release = make()?.map(Arc::new);
    *shared = release.as_ref().map(Arc::downgrade).unwrap_or_default();
    Ok(release)
}
