// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: it panics where what must hold does not.

use sealroot_format::limits::MAX_BOOTED_RECORD_BYTES;

use super::booted::Booted;

/// A `booted.json`.
pub fn booted_record(data: &[u8]) {
    let Ok(booted) = Booted::parse(data) else {
        return;
    };
    let most = usize::try_from(MAX_BOOTED_RECORD_BYTES).expect("it fits");
    let texts = [booted.event, booted.statement];
    assert!(texts.into_iter().flatten().all(|text| text.len() <= most));
}
