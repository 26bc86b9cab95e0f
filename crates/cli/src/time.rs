// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time, for records and statements.

use std::time::{SystemTime, UNIX_EPOCH};

use sealroot_format::ErrorClass;

use crate::failure::Failure;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// What the environment says is the time, for reproducible builds
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
pub(crate) fn source_date_epoch() -> anyhow::Result<Option<u64>> {
    const VARIABLE: &str = "SOURCE_DATE_EPOCH";
    let Ok(text) = std::env::var(VARIABLE) else {
        return Ok(None);
    };
    let seconds = text.parse().map_err(|_| {
        let message = format!("{VARIABLE}: expected seconds since 1970, found {text:?}");
        Failure::new(ErrorClass::Usage, message)
    })?;
    Ok(Some(seconds))
}
