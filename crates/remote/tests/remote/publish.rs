// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing: in order, once, and what is left of it when no channel leads there any more.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use sealroot::monitor::{Silent, Warnings};
use sealroot_format::ErrorClass;
use sealroot_remote::RemoteError;
use sealroot_remote::publish::{Destination as _, DirectoryDestination, Terms, prune};
use sha2::{Digest as _, Sha256};

use crate::support::{LIFETIME, NOW, Place, fetcher, keyset};

fn files(place: &Place) -> BTreeSet<String> {
    let destination = DirectoryDestination::open(place.www()).expect("opened");
    let listed = destination.list().expect("listed").into_iter();
    listed.map(|file| file.path).collect()
}

// Rules: P1
#[test]
fn names_are_those_of_heads() {
    let place = Place::with_releases(2, 1);
    let channel = place.channel();
    let files = files(&place);
    let of = |directory: &str| {
        files
            .iter()
            .filter(|path| path.starts_with(directory))
            .count()
    };
    assert_eq!((of("statement/"), of("bundle/"), of("delta/")), (2, 2, 1));
    let delta = channel.deltas[0].file;
    let path = format!("delta/{}.delta", delta.head);
    let content = fs::read(place.www().join(path)).expect("read");
    assert_eq!(content.len() as u64, delta.size_bytes);
    let head = &content[..usize::try_from(delta.head_bytes).expect("short")];
    let found: [u8; 32] = Sha256::digest(head).into();
    assert_eq!(found, *delta.head.as_bytes());
}

// Rules: P2
#[test]
fn the_channel_comes_last() {
    let place = Place::new();
    place.release(1);
    place.release(2);
    let first = place.publish(1, 4);
    let second = place.publish(2, 4);
    for published in [first, second] {
        let last = published.put.last().expect("something");
        assert!(last.path.starts_with("channel/"), "{last:?}");
        assert_eq!(published.channel.expires, NOW + LIFETIME);
    }
    assert_eq!(place.channel().version, 2);

    // Somebody else is at it.
    let destination = DirectoryDestination::open(place.www()).expect("opened");
    let terms = Place::terms(0);
    let error = place.try_publish(2, &terms, &Silent).expect_err("busy");
    assert!(matches!(error, RemoteError::Conflict { .. }), "{error:?}");
    // What was read before is not what is there.
    let path = "channel/exampleos/-/stable/x86_64.channel";
    for previous in [None, Some(&b"another"[..])] {
        let error = destination
            .replace(path, previous, b"new")
            .expect_err("refused");
        assert!(matches!(error, RemoteError::Conflict { .. }), "{error:?}");
    }
    assert_eq!(place.channel().version, 2);
}

// Rules: P3
#[test]
fn publishing_again_puts_the_channel_only() {
    let place = Place::with_releases(3, 2);
    let before = files(&place);
    let again = place.publish(3, 2);
    let paths: Vec<_> = again.put.iter().map(|put| &*put.path).collect();
    assert_eq!(paths, ["channel/exampleos/-/stable/x86_64.channel"]);
    assert_eq!(files(&place), before);
    assert_eq!(place.channel().version, 4);
    // What was lost is put again, the same.
    let lost = before.iter().find(|path| path.starts_with("bundle/"));
    let lost = lost.expect("a bundle");
    fs::remove_file(place.www().join(lost)).expect("removed");
    for index in 1..=3 {
        place.publish(index, 2);
    }
    assert_eq!(files(&place), before);
}

#[test]
fn a_channel_is_renewed_without_a_release() {
    let place = Place::new();
    let error = place.renew(&Place::terms(0)).expect_err("nothing there");
    assert_eq!(
        (error.class(), error.to_string()),
        (
            ErrorClass::NotFound,
            format!(
                "there is no channel exampleos/-/stable/x86_64 in {}",
                place.www().display()
            )
        )
    );
    let place = Place::with_releases(3, 2);
    let before = place.channel();
    let there = files(&place);
    let mut device = place.device_with(3);
    let later = Terms {
        now: NOW + LIFETIME / 2,
        ..Place::terms(0)
    };
    let renewed = place.renew(&later).expect("renewed");
    assert_eq!(renewed.put.len(), 1, "{:?}", renewed.put);
    assert_eq!(files(&place), there);
    let mut expected = before;
    expected.version += 1;
    expected.created = later.now;
    expected.expires = later.now + LIFETIME;
    assert_eq!(place.channel(), expected);
    // It is believed when the one before would not be any more.
    let fetcher = fetcher(place.honest());
    device
        .refresh_at(&fetcher, NOW + LIFETIME)
        .expect("refreshed");
    let fewer = Terms {
        keep: Some(1),
        ..later
    };
    let renewed = place.renew(&fewer).expect("renewed").channel;
    let left: Vec<u64> = (renewed.releases.iter())
        .map(|release| release.index)
        .collect();
    assert_eq!((left, renewed.deltas), (vec![3], vec![]));
}

#[test]
fn what_devices_would_refuse_is_not_published() {
    let place = Place::with_releases(3, 0);
    // Another release with an index that was published; one that was left out; and a leap.
    let mut elsewhere = Place::new();
    elsewhere.publish_to(place.www());
    let root = elsewhere.path("other");
    fs::create_dir_all(root.join("etc")).expect("made");
    for index in [1, 3, 1 << 40] {
        fs::write(root.join("etc/other"), index.to_string()).expect("written");
        elsewhere.release_tree(&root, index, "stable");
        let terms = Place::terms(0);
        let error = elsewhere
            .try_publish(index, &terms, &Silent)
            .expect_err("refused");
        assert!(matches!(error, RemoteError::Publish { .. }), "{error:?}");
    }
    assert_eq!(place.channel().version, 3);
}

#[test]
fn a_signer_must_be_of_the_channel_role() {
    let mut place = Place::new();
    place.release(1);
    place.channel_key = 99;
    let error = place
        .try_publish(1, &Place::terms(0), &Silent)
        .expect_err("refused");
    assert!(error.to_string().contains("no channel key"), "{error}");
    // Another keyset of a version that devices have.
    let mut place = Place::with_releases(1, 0);
    place.keyset = keyset(1, [1, 2, 44], &[1]);
    place.channel_key = 44;
    place
        .try_publish(1, &Place::terms(0), &Silent)
        .expect_err("refused");
}

#[test]
fn a_gap_in_the_keysets_is_told() {
    let mut place = Place::new();
    place.keyset = keyset(3, [1, 2, 3], &[1]);
    place.release(1);
    let warnings = Warnings::default();
    place
        .try_publish(1, &Place::terms(0), &warnings)
        .expect("published");
    let warnings = warnings.take();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("keyset version 2")),
        "{warnings:?}"
    );
}

// Rules: P4
#[test]
fn only_what_no_channel_leads_to_is_pruned() {
    let place = Place::with_releases(3, 2);
    let terms = sealroot_remote::publish::Terms {
        keep: Some(2),
        ..Place::terms(2)
    };
    place.try_publish(3, &terms, &Silent).expect("published");
    let indices: Vec<u64> = place
        .channel()
        .releases
        .iter()
        .map(|release| release.index)
        .collect();
    assert_eq!(indices, [2, 3]);
    fs::write(place.www().join("robots.txt"), "mine").expect("written");
    fs::write(place.www().join("bundle/notes"), "mine").expect("written");

    let destination = DirectoryDestination::open(place.www()).expect("opened");
    let day = Duration::from_secs(24 * 60 * 60);
    let young = prune(&destination, SystemTime::now(), day).expect("pruned");
    assert_eq!((young.removed.len(), young.young.len()), (0, 3));
    let pruned = prune(&destination, SystemTime::now() + 2 * day, day).expect("pruned");
    let mut removed: Vec<_> = (pruned.removed.iter())
        .map(|file| file.path.split('/').next().expect("a directory"))
        .collect();
    removed.sort_unstable();
    // The bundle of release 1 has objects that releases 2 and 3 go on to name.
    assert_eq!(removed, ["delta", "delta", "statement"]);
    drop(destination);
    for index in [2, 3] {
        let mut device = place.device();
        device.pull(place.honest(), Some(index)).expect("pulled");
        device.assert_has(&place.find(index).0);
    }
}
