// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: it panics where what must hold does not.

use sealroot_format::digest::CommitId;
use sealroot_format::policy::DeploymentName;

use super::staged::Staged;

/// The note that a deployment is to boot next.
pub fn staged_flag(data: &[u8]) {
    let name = DeploymentName {
        commit: CommitId::from_bytes([7; 32]),
        serial: 0,
    };
    if let Ok(staged) = Staged::parse(name, data) {
        let text = toml::to_string(&staged).expect("words and numbers");
        let again = Staged::parse(name, text.as_bytes());
        assert_eq!(again.expect("what was written"), staged);
    }
}
