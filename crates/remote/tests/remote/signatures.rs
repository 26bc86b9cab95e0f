// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures of objects for the kernel's keyring: published with their release, and fetched before it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use sealroot::monitor::Silent;
use sealroot::release;
use sealroot::store::{SignatureKeyring, Store, object_path};
use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_remote::layout::Kind;
use sealroot_remote::publish::{self, DirectoryDestination};

use crate::support::{Device, Place};

/// What stands for a signature: the device does not look into one.
fn signature(digest: &VerityDigest) -> Vec<u8> {
    [b"signature of ".as_slice(), digest.as_bytes()].concat()
}

fn objects(place: &Place, index: u64) -> BTreeSet<VerityDigest> {
    let (statement, _) = place.find(index);
    let pack = release::read_pack(&place.store, &statement).expect("a pack");
    release::objects(&pack.tree).into_keys().collect()
}

/// What `sign-objects` does.
fn sign(place: &Place, index: u64) {
    let objects = objects(place, index).into_iter();
    let signatures: Vec<_> = objects.map(|digest| (digest, signature(&digest))).collect();
    let transaction = place.store.begin(&Silent).expect("begun");
    transaction
        .write_object_signatures(&signatures)
        .expect("kept");
    transaction.finish().expect("finished");
}

/// A vendor with releases 1 to 3, whose objects are signed.
fn place() -> Place {
    let place = Place::new();
    for index in 1..=3 {
        place.release(index);
        sign(&place, index);
        place.publish(index, 1);
    }
    place
}

fn device(place: &Place, keyring: SignatureKeyring) -> Device {
    let mut device = place.device();
    device.keyring = Some(keyring);
    device
}

fn signed(store: &Store, objects: &BTreeSet<VerityDigest>) -> BTreeSet<VerityDigest> {
    let is_signed = |digest: &&VerityDigest| {
        let found = store.read_object_signature(digest).expect("read");
        assert!(found.is_none() || found == Some(signature(digest)));
        found.is_some()
    };
    objects.iter().filter(is_signed).copied().collect()
}

// Rules: J6
#[test]
fn a_machine_with_certificates_has_them_before_the_objects() {
    let place = place();
    let mut device = device(&place, SignatureKeyring::Filled);
    device.pull(place.honest(), Some(1)).expect("pulled");
    let first = objects(&place, 1);
    assert_eq!(signed(&device.store, &first), first);
    // By a delta, and of those only what is new.
    let (second, third) = (objects(&place, 2), objects(&place, 3));
    device.pull(place.honest(), Some(2)).expect("pulled");
    assert_eq!(signed(&device.store, &second), second);
    assert!(signed(&device.store, &third).len() < third.len());
    device.assert_clean();
}

// Rules: J6
#[test]
fn others_do_not_fetch_them() {
    let place = place();
    for keyring in [SignatureKeyring::Absent, SignatureKeyring::Empty] {
        let mut device = device(&place, keyring);
        // Not there, and not missed.
        let path = Kind::Signatures.path(&place.channel().signatures[2].file);
        drop(fs::remove_file(place.www().join(path)));
        device.pull(place.honest(), Some(3)).expect("pulled");
        assert!(signed(&device.store, &objects(&place, 3)).is_empty());
    }
}

// Rules: J6
#[test]
fn a_machine_with_certificates_takes_no_release_without_what_is_offered() {
    let place = place();
    let file = place.channel().signatures[2].file;
    let path = place.www().join(Kind::Signatures.path(&file));
    let whole = fs::read(&path).expect("read");
    let mut broken = whole.clone();
    *broken.last_mut().expect("not empty") ^= 1;
    for content in [Some(broken), Some(whole[..whole.len() - 1].to_vec()), None] {
        match content {
            Some(content) => fs::write(&path, content).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
        let mut device = device(&place, SignatureKeyring::Filled);
        device.pull(place.honest(), Some(3)).expect_err("refused");
        assert!(device.store.list_packs().expect("listed").is_empty());
        fs::write(&path, &whole).expect("written");
        device.pull(place.honest(), Some(3)).expect("pulled");
    }
}

// Rules: J3
#[test]
fn what_a_vendor_signed_and_is_none_is_an_error() {
    let place = place();
    let mut channel = place.channel();
    // Another file, named as it should be.
    channel.signatures[2].file = channel.releases[2].bundle;
    let file = channel.signatures[2].file;
    let bundle = place.www().join(Kind::Bundle.path(&file));
    let path = place.www().join(Kind::Signatures.path(&file));
    fs::copy(bundle, path).expect("copied");
    channel.version += 1;
    place.put_channel(&channel);
    let mut device = device(&place, SignatureKeyring::Filled);
    let error = device.pull(place.honest(), Some(3)).expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
}

// Rules: J4
#[test]
fn publishing_again_puts_nothing_and_pruning_keeps_them() {
    let place = place();
    let before = place.channel();
    assert_eq!(before.signatures.len(), 3);
    let published = place.publish(3, 1);
    assert_eq!(published.put.len(), 1, "{:?}", published.put);
    assert_eq!(place.channel().signatures, before.signatures);

    let destination = DirectoryDestination::open(place.www()).expect("opened");
    let later = SystemTime::now() + Duration::from_secs(60);
    let pruned = publish::prune(&destination, later, Duration::ZERO).expect("pruned");
    assert!(pruned.removed.is_empty(), "{:?}", pruned.removed);
    // It locks the place.
    drop(destination);
    // What is lost is offered no more, and then again.
    let path = Kind::Signatures.path(&before.signatures[2].file);
    fs::remove_file(place.www().join(path)).expect("removed");
    place.publish(3, 1);
    assert_eq!(place.channel().signatures, before.signatures);
    let path = Kind::Signatures.path(&before.signatures[0].file);
    fs::remove_file(place.www().join(path)).expect("removed");
    place.publish(3, 1);
    assert_eq!(place.channel().signatures, before.signatures[1..]);
}

#[test]
fn a_release_without_signatures_has_no_line() {
    let place = Place::with_releases(1, 0);
    assert_eq!(place.channel().signatures, []);
    assert!(!place.www().join("signatures").exists());
    // They may come later, and then stay.
    sign(&place, 1);
    place.publish(1, 0);
    assert_eq!(place.channel().signatures.len(), 1);
}

#[test]
fn an_image_without_their_certificate_is_not_published() {
    let mut place = Place::new();
    place.has_images = true;
    place.release(1);
    sign(&place, 1);
    let refused = |place: &Place, index: u64, words: &str| {
        let error = place.try_publish(index, &Place::terms(1), &Silent);
        let error = error.expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(&place, 1, "no certificate is there by which it would open");
    assert!(!place.channel_path().exists(), "nothing is half done");
    // What stands for a signature names none: one is enough.
    place.certificates = vec![0x30, 1, 7];
    place.publish(1, 1);
    // The next has some of its objects; and machines have them where the store has forgotten.
    place.release(2);
    place.certificates.clear();
    refused(&place, 2, "is signed");
    for object in objects(&place, 1) {
        let object = place
            .store
            .location()
            .join(object_path(&object).to_string());
        fs::remove_file(object.with_extension("sign")).expect("removed");
    }
    refused(&place, 2, "signed objects of release 1");
    place.has_images = false;
    place.publish(2, 1);
}
