// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this crate: each panics where what must hold does not.

use sealroot_format::digest::Sha256Digest;
use sealroot_format::sign::{Name, RemoteFile};

use crate::bundle::{Head, read_pack};
use crate::layout::ChannelName;
use crate::signatures;
use crate::state::Remote;

/// The head of a bundle.
pub fn bundle_head(data: &[u8]) {
    let Ok(head) = Head::parse(data) else {
        return;
    };
    let file = RemoteFile {
        head: Sha256Digest::from_bytes([7; 32]),
        head_bytes: data.len() as u64,
        size_bytes: u64::MAX,
    };
    let Ok(places) = head.places(&file) else {
        return;
    };
    for place in places {
        assert!(place.end() >= place.start);
        let is_here = place.bundle == file.head;
        assert!(is_here || head.others().contains(&place.bundle));
        assert!(!is_here || place.start >= file.head_bytes);
    }
}

/// The head of a bundle, behind two bytes that say how long it is, and the frames of its pack.
pub fn bundle_pack(data: &[u8]) {
    let Some((len_bytes, rest)) = data.split_first_chunk() else {
        return;
    };
    let len_bytes = usize::from(u16::from_le_bytes(*len_bytes));
    let Some((head, mut frames)) = rest.split_at_checked(len_bytes) else {
        return;
    };
    let Ok(head) = Head::parse(head) else {
        return;
    };
    let mut out = Vec::new();
    let read = read_pack(&head, &mut frames, &mut out);
    assert!(out.len() as u64 <= head.pack_bytes, "more than was claimed");
    assert!(read.is_err() || out.len() as u64 == head.pack_bytes);
}

/// The head of a file of signatures.
pub fn signature_head(data: &[u8]) {
    let Ok(head) = signatures::Head::parse(data) else {
        return;
    };
    let pieces = head.pieces(None);
    assert_eq!(pieces.len(), head.groups.len());
    assert!(
        pieces.iter().all(|piece| piece.is_wanted),
        "a device has nothing"
    );
}

/// A group of signatures as it is before compression.
pub fn signature_group(data: &[u8]) {
    let Ok(signatures) = signatures::parse_group(data) else {
        return;
    };
    assert!(signatures.is_sorted_by(|left, right| left.0 < right.0));
    let written = signatures::contents(&signatures);
    assert_eq!(written, [data], "another form");
}

/// What a device knows of a remote.
pub fn remote_state(data: &[u8]) {
    let name: Name = "vendor".parse().expect("a name");
    if let Ok(remote) = Remote::parse(&name, data) {
        let again = Remote::parse(&name, remote.render().as_bytes());
        let again = again.expect("what was written");
        assert_eq!(again.addresses, remote.addresses);
        assert_eq!(again.channel, remote.channel);
        assert_eq!(again.keyset(), remote.keyset());
        assert_eq!(again.last(), remote.last());
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(channel) = text.parse::<ChannelName>()
    {
        assert_eq!(channel.to_string(), text);
    }
}
