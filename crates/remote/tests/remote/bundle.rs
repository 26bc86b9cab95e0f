// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bundles: what is in them, and what of a hostile one is refused.

use std::fs;
use std::path::PathBuf;

use sealroot_format::ErrorClass;
use sealroot_format::digest::Sha256Digest;
use sealroot_remote::RemoteError;
use sha2::Digest as _;

use crate::support::Place;

fn bundle_path(place: &Place, index: u64) -> PathBuf {
    let channel = place.channel();
    let release = channel.release(index).expect("offered");
    place
        .www()
        .join(format!("bundle/{}.bundle", release.bundle.head))
}

/// Changes head and rest of the bundle of release 1, and signs that it is so.
fn forge(place: &Place, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
    let mut channel = place.channel();
    let path = bundle_path(place, 1);
    let mut head = fs::read(path).expect("read");
    let file = &mut channel.releases[0].bundle;
    let mut rest = head.split_off(usize::try_from(file.head_bytes).expect("short"));
    change(&mut head, &mut rest);
    file.head = Sha256Digest::from_bytes(sha2::Sha256::digest(&head).into());
    file.head_bytes = head.len() as u64;
    file.size_bytes = (head.len() + rest.len()) as u64;
    place.put_channel(&channel);
    fs::write(bundle_path(place, 1), [head, rest].concat()).expect("written");
}

fn refused(change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> RemoteError {
    let place = Place::with_releases(1, 0);
    let mut device = place.device();
    forge(&place, change);
    let error = device.pull(place.honest(), None).expect_err("refused");
    assert!(!device.has_pack(&place.find(1).0), "{error:?}");
    error
}

/// Where the size of the pack stands.
const PACK_SIZE: usize = 16 + 32;

/// Where the numbers of objects begin: after the fixed part, the frames of the pack and no others.
const FIXED: usize = 16 + 32 + 8 + 4 + 4 + 4;
const OBJECTS: usize = FIXED + 36;

// Rules: B1, B2
#[test]
fn places_are_those_of_all_objects() {
    let error = refused(|head, _| head[FIXED - 4] -= 1);
    assert_eq!(
        error.class(),
        ErrorClass::Corrupt,
        "one less, and its place is left: {error:?}"
    );
    let error = refused(|head, _| {
        head[FIXED - 4] += 1;
        head.extend([0, 0, 1]);
    });
    assert_eq!(error.class(), ErrorClass::Untrusted, "one more: {error:?}");
    let error = refused(|head, _| head[OBJECTS] = 1);
    assert_eq!(
        error.class(),
        ErrorClass::Corrupt,
        "no such bundle: {error:?}"
    );
    let error = refused(|head, _| drop(head.splice(OBJECTS + 1..OBJECTS + 2, [0xff, 0xff, 0x7f])));
    assert_eq!(
        error.class(),
        ErrorClass::Corrupt,
        "before the file: {error:?}"
    );
    for len in [0, 10, FIXED, OBJECTS, OBJECTS + 2] {
        let error = refused(|head, _| head.truncate(len));
        let class = error.class();
        assert!(
            matches!(class, ErrorClass::Corrupt | ErrorClass::Untrusted),
            "{len}: {error:?}"
        );
    }
    // The first object lies a byte further on.
    let error = refused(|head, _| head[OBJECTS + 1] = 2);
    assert_eq!(error.class(), ErrorClass::Untrusted, "{error:?}");
}

// Rules: B3
#[test]
fn the_pack_is_compared_before_it_is_decompressed() {
    let error = refused(|_, rest| rest[20] ^= 1);
    assert!(
        matches!(
            error,
            RemoteError::Mismatch {
                what: "SHA-256 of a piece",
                ..
            }
        ),
        "{error:?}"
    );
    let error = refused(|head, _| head[PACK_SIZE] ^= 1);
    assert_eq!(
        error.class(),
        ErrorClass::Untrusted,
        "size of the pack: {error:?}"
    );
    let error = refused(|head, _| head[PACK_SIZE + 3] ^= 1);
    assert_eq!(
        error.class(),
        ErrorClass::Corrupt,
        "number of frames: {error:?}"
    );
}

// Rules: B4, B5
#[test]
fn objects_are_what_the_pack_says() {
    let error = refused(|_, rest| *rest.last_mut().expect("objects") ^= 1);
    assert_eq!(error.class(), ErrorClass::Untrusted, "{error:?}");
    let error = refused(|_, rest| rest.truncate(rest.len() - 1));
    assert_eq!(error.class(), ErrorClass::Io, "{error:?}");
    // A window of 1 GiB, and more content than was signed.
    for (window_log, content) in [(30, vec![0_u8; 1 << 20]), (20, vec![0; 1 << 24])] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(window_log).expect("set");
        encoder.long_distance_matching(true).expect("set");
        std::io::copy(&mut &content[..], &mut encoder).expect("compressed");
        let frame = encoder.finish().expect("finished");
        let error = refused(|_, rest| {
            let start = rest.len() - 9000;
            rest[start..start + frame.len()].copy_from_slice(&frame);
        });
        assert_eq!(error.class(), ErrorClass::Untrusted, "{error:?}");
    }
    // More bytes than an object could have.
    let error = refused(|head, rest| {
        head.truncate(head.len() - 2);
        head.extend([0xff, 0xff, 0x7f]);
        rest.extend(vec![0; 0x1f_ffff]);
    });
    assert!(
        matches!(
            error,
            RemoteError::Mismatch {
                what: "length of an object",
                ..
            }
        ),
        "{error:?}"
    );
}

// Rules: B6
#[test]
fn the_pack_is_the_signed_one() {
    let error = refused(|head, _| head[16] ^= 1);
    assert!(
        matches!(
            error,
            RemoteError::Mismatch {
                what: "its pack",
                ..
            }
        ),
        "{error:?}"
    );
    // The frames of another release's pack, rightly described.
    let place = Place::with_releases(2, 0);
    let other = fs::read(bundle_path(&place, 2)).expect("read");
    let channel = place.channel();
    let behind_head = usize::try_from(channel.releases[1].bundle.head_bytes).expect("short");
    let len = |head: &[u8]| {
        let len = head[FIXED..FIXED + 4].try_into().expect("four");
        u32::from_le_bytes(len) as usize
    };
    forge(&place, |head, rest| {
        let frame = &other[behind_head..behind_head + len(&other)];
        rest.splice(..len(head), frame.iter().copied());
        head[FIXED..OBJECTS].copy_from_slice(&other[FIXED..OBJECTS]);
    });
    let mut device = place.device();
    let error = device.pull(place.honest(), Some(1)).expect_err("refused");
    assert!(
        matches!(
            error,
            RemoteError::Mismatch {
                what: "digest of its pack",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn what_was_published_before_is_left_out() {
    let place = Place::with_releases(2, 0);
    let size = |index| {
        fs::metadata(bundle_path(&place, index))
            .expect("there")
            .len()
    };
    // One large file has changed, and one is new.
    assert!(size(1) > 580_000, "{}", size(1));
    assert!(size(2) < 320_000, "{}", size(2));
}
