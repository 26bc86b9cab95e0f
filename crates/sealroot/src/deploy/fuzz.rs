// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: it panics where what must hold does not.

use super::record::Record;

/// A `deployment.toml`.
pub fn deployment_record(data: &[u8]) {
    if let Ok(record) = Record::parse(data) {
        assert_eq!(Record::parse(record.render().as_bytes()), Ok(record));
    }
}
