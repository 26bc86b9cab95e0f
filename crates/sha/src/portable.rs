// SPDX-License-Identifier: MIT OR Apache-2.0
//! One message after the other, by the `sha2` crate.

use sha2::{Digest as _, Sha256};

use crate::Digest;

pub(crate) fn hash_each(messages: &[u8], message_bytes: usize, out: &mut [Digest]) {
    let mut rest = messages;
    for digest in out {
        let (message, following) = rest.split_at(message_bytes);
        *digest = Sha256::digest(message).into();
        rest = following;
    }
}
