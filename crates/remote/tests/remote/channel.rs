// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device believes of a channel, and what it remembers.

use std::fs;

use sealroot_format::ErrorClass;
use sealroot_format::sign::Channel;
use sealroot_remote::RemoteError;
use sealroot_remote::state::Remote;
use sealroot_remote::trust::Distrust;

use crate::support::{
    CHANNEL, Device, LIFETIME, NOW, Place, RELEASE, ROOT, fetcher, keyset, signed,
};

/// What the device remembers, from its file.
fn remembered(device: &Device) -> (u64, Option<u64>) {
    let remote = Remote::load(&device.store, &device.remote.name).expect("loaded");
    let version = remote.last().map(|channel| channel.version);
    (remote.keyset().version(), version)
}

fn distrust(error: RemoteError) -> Distrust {
    match error {
        RemoteError::Distrusted { source, .. } => source,
        error => panic!("{error:?}"),
    }
}

// Rules: H12
#[test]
fn only_what_is_believed_is_remembered() {
    let place = Place::with_releases(1, 0);
    let mut device = place.device();
    let fetcher = fetcher(place.honest());
    device.refresh(&fetcher).expect("refreshed");
    assert_eq!(remembered(&device), (1, Some(1)));
    let old = fs::read(place.channel_path()).expect("read");
    place.release(2);
    place.publish(2, 0);
    device.refresh(&fetcher).expect("refreshed");
    assert_eq!(remembered(&device), (1, Some(2)));

    // Replayed.
    let new = fs::read(place.channel_path()).expect("read");
    fs::write(place.channel_path(), &old).expect("written");
    let error = distrust(device.refresh(&fetcher).expect_err("old"));
    assert!(
        matches!(
            error,
            Distrust::Older {
                what: "version",
                ..
            }
        ),
        "{error:?}"
    );
    // Frozen.
    fs::write(place.channel_path(), &new).expect("written");
    let error = device
        .refresh_at(&fetcher, NOW + LIFETIME)
        .expect_err("expired");
    assert!(matches!(distrust(error), Distrust::Expired { .. }));
    // Fast-forwarded.
    let mut channel = place.channel();
    channel.version = u64::MAX;
    place.put_channel(&channel);
    let error = distrust(device.refresh(&fetcher).expect_err("a leap"));
    assert!(matches!(error, Distrust::Leap { .. }), "{error:?}");
    assert_eq!(remembered(&device), (1, Some(2)));
}

// Rules: H10
#[test]
fn new_keysets_are_followed_one_by_one() {
    let mut place = Place::with_releases(1, 0);
    let mut device = place.device();
    let mut away = place.device();
    let fetcher = fetcher(place.honest());
    device.refresh(&fetcher).expect("refreshed");
    away.refresh(&fetcher).expect("refreshed");
    // New channel keys, then new release keys; the release is signed again by those.
    place.keyset = keyset(2, [ROOT, RELEASE, 33], &[ROOT]);
    place.channel_key = 33;
    place.publish(1, 0);
    device.refresh(&fetcher).expect("refreshed");
    assert_eq!(remembered(&device), (2, Some(2)));
    place.keyset = keyset(3, [11, RELEASE, 34], &[ROOT, 11]);
    place.channel_key = 34;
    place.publish(1, 0);
    // A stolen key of old used up the numbers; the new keys begin anew.
    let mut channel = place.channel();
    channel.version = 1;
    place.put_channel(&channel);
    for device in [&mut device, &mut away] {
        device.refresh(&fetcher).expect("refreshed");
        assert_eq!(remembered(device), (3, Some(1)));
        device.pull(place.honest(), None).expect("pulled");
    }

    // A gap, and one that the trusted root keys did not sign.
    let place = Place::with_releases(1, 0);
    for (name, bad) in [
        ("2", keyset(3, [ROOT, RELEASE, 33], &[ROOT])),
        ("2", keyset(2, [11, RELEASE, 33], &[11])),
    ] {
        let mut device = place.device();
        let mut channel = place.channel();
        channel.keyset = 2;
        fs::write(place.channel_path(), signed(&channel, &[33]).to_string()).expect("written");
        let path = place.www().join(format!("keyset/{name}.keyset"));
        fs::write(path, bad.to_string()).expect("written");
        let error = device.pull(place.honest(), None).expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Untrusted, "{error:?}");
        assert_eq!(remembered(&device), (1, None));
    }
}

#[test]
fn only_so_many_keysets_are_followed_at_once() {
    const MOST: u64 = 1024;
    let mut place = Place::with_releases(1, 0);
    for version in 2..=MOST + 2 {
        let next = keyset(version, [ROOT, RELEASE, 33], &[ROOT]);
        let path = place.www().join(format!("keyset/{version}.keyset"));
        fs::write(path, next.to_string()).expect("written");
    }
    place.channel_key = 33;
    for (last, is_followed) in [(MOST + 1, true), (MOST + 2, false)] {
        let mut channel = place.channel();
        channel.keyset = last;
        place.put_channel(&channel);
        let mut device = place.device();
        let refreshed = device.refresh(&fetcher(place.honest()));
        match refreshed {
            Ok(()) => assert!(is_followed),
            Err(error) => {
                assert!(!is_followed, "{error:?}");
                assert!(
                    matches!(error, RemoteError::TooManyKeysets { .. }),
                    "{error:?}"
                );
                assert_eq!(error.class(), ErrorClass::Untrusted);
                assert_eq!(remembered(&device), (1, None));
            }
        }
    }
}

#[test]
fn a_channel_that_names_a_keyset_that_is_not_there_is_refused() {
    let place = Place::with_releases(1, 0);
    let mut device = place.device();
    let mut channel = place.channel();
    channel.keyset = 2;
    place.put_channel(&channel);
    let error = device.pull(place.honest(), None).expect_err("refused");
    assert_eq!(error.class(), ErrorClass::NotFound, "{error:?}");
    assert_eq!(remembered(&device), (1, None));
}

// Rules: H11
#[test]
fn a_release_is_what_the_channel_says() {
    let place = Place::with_releases(2, 0);
    let original = place.channel();
    let change = |change: &dyn Fn(&mut Channel)| {
        let mut channel = original.clone();
        channel.version += 1;
        change(&mut channel);
        place.put_channel(&channel);
    };
    let other_index = |channel: &mut Channel| channel.releases[1].index = 3;
    let other_epoch = |channel: &mut Channel| channel.releases[1].epoch = 1;
    let other_pack = |channel: &mut Channel| channel.releases[1].pack = original.releases[0].pack;
    let other_statement = |channel: &mut Channel| {
        channel.releases[1].statement = original.releases[0].statement;
    };
    let changes: [&dyn Fn(&mut Channel); 4] =
        [&other_index, &other_epoch, &other_pack, &other_statement];
    for mix in changes {
        change(mix);
        let mut device = place.device();
        let error = device.pull(place.honest(), None).expect_err("refused");
        assert!(
            matches!(error, RemoteError::OtherRelease { .. }),
            "{error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Untrusted);
        assert!(!device.has_pack(&place.find(2).0));
    }
    // A bundle of another release.
    change(&|channel| channel.releases[1].bundle = original.releases[0].bundle);
    let mut device = place.device();
    let error = device.pull(place.honest(), None).expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Untrusted, "{error:?}");
    // Signed by a key of the channel, not of releases.
    let (statement, _) = place.find(2);
    let forged = signed(&*statement, &[CHANNEL]).to_string();
    let path = format!("statement/{}.sign", original.releases[1].statement.head);
    fs::write(place.www().join(path), forged).expect("written");
    change(&|_| {});
    let error = device.pull(place.honest(), None).expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Untrusted, "{error:?}");
    assert!(!device.has_pack(&statement));
}

#[test]
fn what_is_remembered_is_verified_when_it_is_read() {
    let place = Place::with_releases(1, 0);
    let mut device = place.device();
    device.pull(place.honest(), None).expect("pulled");
    let path = device.path().join("store/remote/vendor.toml");
    let text = fs::read_to_string(&path).expect("read");
    for (from, to) in [
        ("version 1\\n", "version 2\\n"),
        ("\nversion 1\n", "\nversion 2\n"),
        ("version = 1", "version = 2"),
        ("stream = ", "river = "),
        ("sig ", "sig 0"),
        ("created ", "created 1"),
    ] {
        if !text.contains(from) {
            continue;
        }
        fs::write(&path, text.replacen(from, to, 1)).expect("written");
        let loaded = Remote::load(&device.store, &device.remote.name);
        let error = loaded.expect_err("damaged");
        assert_eq!(error.class(), ErrorClass::Corrupt, "{from:?}: {error}");
    }
    fs::write(&path, b"\xff").expect("written");
    Remote::load(&device.store, &device.remote.name).expect_err("damaged");
}
