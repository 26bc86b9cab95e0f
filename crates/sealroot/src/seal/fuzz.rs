// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: it panics where what must hold does not.

use sealroot_format::limits::MAX_EFI_KEYS;

use super::certificate::Trusted;
use super::lists;

/// A variable of the firmware that says whom it trusts: what is taken is written again to the byte.
pub fn signature_lists(data: &[u8]) {
    let Ok(lists) = lists::parse(data) else {
        return;
    };
    let len = |bytes: usize| u32::try_from(bytes).expect("bounded").to_le_bytes();
    let mut again = Vec::new();
    let mut count = 0;
    for list in &lists {
        let signatures = list.signatures.iter();
        let signatures: Vec<u8> = signatures
            .flat_map(|(owner, content)| [&owner[..], content].concat())
            .collect();
        count += list.signatures.len();
        again.extend(list.kind);
        again.extend(len(28 + list.header.len() + signatures.len()));
        again.extend(len(list.header.len()));
        again.extend(list.signature_bytes.to_le_bytes());
        again.extend(list.header);
        again.extend(signatures);
    }
    assert_eq!(again, data, "another form");
    let trusted = Trusted::of_lists(&lists);
    assert!(trusted.len() == count && count <= MAX_EFI_KEYS);
    for one in trusted {
        assert!(!one.to_string().is_empty());
    }
}
