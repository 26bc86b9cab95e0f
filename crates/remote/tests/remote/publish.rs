// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing: in order, once, and what is left of it when no channel leads there any more.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use sealroot::monitor::{Silent, Warnings};
use sealroot::store::VeritySupport;
use sealroot_format::ErrorClass;
use sealroot_remote::RemoteError;
use sealroot_remote::publish::{Destination as _, DirectoryDestination, Terms, prune};
use sha2::{Digest as _, Sha256};

use crate::support::{CHANNEL, LIFETIME, NOW, Place, fetcher, keyset};

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

/// That devices get each of these releases from nothing.
fn assert_offered(place: &Place, indices: &[u64]) {
    for index in indices {
        let mut device = place.device();
        device.pull(place.honest(), Some(*index)).expect("pulled");
        device.assert_has(&place.find(*index).0);
    }
}

// Rules: P10
#[test]
fn whatever_is_published_next_mends_what_was_lost() {
    let is_no_channel = |path: &&String| !path.starts_with("channel");
    let all = files(&Place::with_releases(3, 2));
    for (number, lost) in all.iter().filter(is_no_channel).enumerate() {
        let place = Place::with_releases(3, 2);
        place.release(4);
        let file = place.www().join(lost);
        let is_gone = number % 2 == 0 || lost.starts_with("keyset");
        if is_gone {
            fs::remove_file(&file).expect("removed");
        } else {
            fs::write(&file, "short").expect("written");
        }
        let warnings = Warnings::default();
        let other_level = Terms {
            level: 5,
            ..Place::terms(2)
        };
        let published = place.try_publish(4, &other_level, &warnings);
        published.unwrap_or_else(|error| panic!("{lost}: {error}"));
        assert!(
            lost.starts_with("keyset") || !warnings.take().is_empty(),
            "{lost}"
        );
        assert_offered(&place, &[1, 2, 3, 4]);
        let mut device = place.device_with(3);
        device.pull(place.honest(), Some(4)).expect("pulled");
    }
    let place = Place::with_releases(4, 2);

    // What the store does not have cannot be made again, but left out.
    let gone = place.find(1).0;
    let pack = place
        .path("vendor/pack")
        .join(format!("{}.pack", gone.pack_digest));
    fs::remove_file(pack).expect("removed");
    let bundle = place.channel().releases[0].bundle.head;
    fs::remove_file(place.www().join(format!("bundle/{bundle}.bundle"))).expect("removed");
    let error = place
        .try_publish(4, &Place::terms(2), &Silent)
        .expect_err("refused");
    let words = ["the store does not have release 1", "--keep"];
    assert!(
        words.iter().all(|word| error.to_string().contains(word)),
        "{error}"
    );
    let fewer = Terms {
        keep: Some(3),
        ..Place::terms(2)
    };
    place.try_publish(4, &fewer, &Silent).expect("published");
    assert_offered(&place, &[2, 3, 4]);
}

#[test]
fn what_is_damaged_in_the_store_is_not_published() {
    let place = Place::new();
    place.release(1);
    let is_large = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|file| file.len() == 300_000);
    let objects = fs::read_dir(place.path("vendor/objects")).expect("listed");
    let mut files = objects
        .flat_map(|shard| fs::read_dir(shard.expect("a shard").path()).expect("listed"))
        .map(|file| file.expect("a file"));
    let large = files.find(is_large).expect("a large object").path();
    if place.store.verity() == VeritySupport::Kernel {
        return;
    }
    let mut content = fs::read(&large).expect("read");
    content[1000] ^= 1;
    fs::write(&large, content).expect("written");
    let error = place
        .try_publish(1, &Place::terms(0), &Silent)
        .expect_err("refused");
    assert!(error.to_string().contains("fs-verity digest"), "{error}");
}

// Rules: P3, P10
#[test]
fn keysets_that_devices_would_refuse_are_not_published() {
    let mut place = Place::with_releases(1, 0);
    let next = |by: &[u8]| keyset(2, [11, 2, CHANNEL], by);
    // Signed by its own root alone, and then by the one before too.
    place.keyset = next(&[11]);
    for error in [
        place
            .try_publish(1, &Place::terms(0), &Silent)
            .expect_err("refused"),
        place.renew(&Place::terms(0)).expect_err("refused"),
    ] {
        let said = error.to_string();
        assert!(said.contains("would refuse version 2"), "{said}");
    }
    assert!(!place.www().join("keyset/2.keyset").exists());
    place.keyset = next(&[11, 1]);
    place.renew(&Place::terms(0)).expect("renewed");

    // One that was put there without a signature gets it.
    let path = place.www().join("keyset/2.keyset");
    fs::write(&path, next(&[11]).to_string()).expect("written");
    let renewed = place.renew(&Place::terms(0)).expect("renewed");
    assert!(renewed.put.iter().any(|put| put.path == "keyset/2.keyset"));
    assert_eq!(
        fs::read_to_string(&path).expect("read"),
        next(&[11, 1]).to_string()
    );
}

#[test]
fn a_keyset_that_was_damaged_where_it_lies_is_put_again() {
    let place = Place::with_releases(1, 0);
    let path = place.www().join("keyset/1.keyset");
    let whole = fs::read(&path).expect("read");
    for damaged in [&b""[..], &whole[..whole.len() / 3]] {
        fs::write(&path, damaged).expect("written");
        place.renew(&Place::terms(0)).expect("renewed");
        assert_eq!(fs::read(&path).expect("read"), whole);
    }
    // But nobody's keyset is exchanged for another one.
    let other = keyset(1, [2, 2, CHANNEL], &[2]).to_string();
    fs::write(&path, &other).expect("written");
    let error = place.renew(&Place::terms(0)).expect_err("another keyset");
    assert!(error.to_string().contains("another keyset"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("read"), other);
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
                "there is no repository in {}: nothing was published there, or it lies deeper",
                place.www().display()
            )
        )
    );
    let place = Place::with_releases(3, 2);
    fs::rename(place.channel_path(), place.www().join("other.channel")).expect("moved");
    let error = place.renew(&Place::terms(0)).expect_err("another channel");
    let words = format!(
        "there is no channel exampleos/-/stable/x86_64 in {}",
        place.www().display()
    );
    assert_eq!(error.to_string(), words);
    fs::rename(place.www().join("other.channel"), place.channel_path()).expect("moved");
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
        assert!(
            matches!(error, RemoteError::Index { newest: 3, .. }),
            "{error:?}"
        );
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
    assert_offered(&place, &[2, 3]);

    // Without a channel nothing is known of what is needed.
    fs::remove_file(place.channel_path()).expect("removed");
    let error = prune(&destination, SystemTime::now() + 2 * day, day).expect_err("refused");
    assert!(
        error.to_string().contains("there is no repository"),
        "{error}"
    );
}

#[test]
fn a_channel_that_was_lost_goes_on_where_devices_are() {
    let place = Place::with_releases(2, 1);
    let mut device = place.device();
    device.pull(place.honest(), None).expect("pulled");
    let lost = || fs::remove_file(place.channel_path()).expect("removed");
    let seen = place.channel().version;
    lost();
    assert_eq!(place.publish(2, 1).channel.version, 1);
    device.pull(place.honest(), None).expect_err("an older one");
    lost();
    let terms = Terms {
        after_version: seen,
        ..Place::terms(1)
    };
    let published = place.try_publish(2, &terms, &Silent).expect("published");
    assert_eq!(published.channel.version, seen + 1);
    device.pull(place.honest(), None).expect("pulled");
}
