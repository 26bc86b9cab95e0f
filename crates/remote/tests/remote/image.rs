// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images of releases: published, and fetched with what the device has of them.

use std::fs;
use std::time::{Duration, SystemTime};

use sealroot::delta::DeltaError;
use sealroot::monitor::{Silent, Warnings};
use sealroot_format::ErrorClass;
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_remote::RemoteError;
use sealroot_remote::layout::Kind;
use sealroot_remote::plan::{ImageWay, Step};
use sealroot_remote::publish::{self, DirectoryDestination, Trial};
use sealroot_remote::state::unneeded_parts;
use sealroot_testkit::http_server::{Answer, HttpServer};

use crate::support::{Device, Place, fetcher, http, keyset};

/// A vendor with releases 1 to 3 and their images.
fn place() -> Place {
    let mut place = Place::new();
    place.has_images = true;
    for index in 1..=3 {
        place.release(index);
        place.publish(index, 1);
    }
    place
}

/// A device that takes images.
fn device(place: &Place) -> Device {
    let mut device = place.device();
    device.takes_image = true;
    device
}

fn image_files(place: &Place) -> usize {
    let listed = fs::read_dir(place.www().join("image"));
    listed.map_or(0, Iterator::count)
}

// Rules: P1
#[test]
fn an_image_comes_with_its_release_and_of_what_is_there() {
    let place = place();
    let channel = place.channel();
    let sizes: Vec<_> = channel
        .images
        .iter()
        .map(|image| image.file.size_bytes)
        .collect();
    let deltas = channel.image_deltas.iter();
    let deltas: Vec<_> = deltas
        .map(|delta| (delta.from, delta.to, delta.file.size_bytes))
        .collect();
    // The kernel is the release's, the boot program nobody else's.
    assert!(
        sizes.iter().all(|size| (60_000..75_000).contains(size)),
        "{sizes:?}"
    );
    assert!(
        matches!(deltas[..], [(1, 2, to_second), (2, 3, to_third)] if to_second < 3000 && to_third < 3000),
        "{deltas:?}"
    );
    assert_eq!(image_files(&place), 5);

    let mut device = device(&place);
    let plan = device.plan(&place, Some(2));
    let step = plan.image.clone().expect("an image");
    assert_eq!(step.by, ImageWay::Release);
    let of_release: u64 = plan.steps.iter().map(Step::bytes).sum();
    assert_eq!(plan.bytes(), of_release + sizes[1]);
    let pulled = device.pull(place.honest(), Some(2)).expect("pulled");
    device.assert_has(&place.find(2).0);
    device.assert_has_image(&place.find(2).0, &place.image(2));
    let digest = compute_verity_digest(&place.image(2));
    assert_eq!(pulled.image.expect("an image").image, digest);

    // The next one comes of it, all in four requests.
    let server = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
    let fetcher = fetcher(vec![http(&server.url())]);
    let pulled = device.pull_by(&fetcher, None).expect("pulled");
    assert!(matches!(pulled.plan.steps[..], [Step::Delta(_)]));
    let step = pulled.plan.image.expect("an image");
    assert!(matches!(step.by, ImageWay::Delta(_)), "{step:?}");
    assert_eq!(fetcher.traffic().requests, 4);
    device.assert_has_image(&place.find(3).0, &place.image(3));
    // Nothing is to come any more.
    let plan = device.plan(&place, None);
    assert_eq!(plan.image.as_ref().expect("an image").by, ImageWay::Present);
    assert_eq!(plan.bytes(), 0);
    device.pull(place.honest(), None).expect("pulled");
    device.assert_clean();

    // Who takes none fetches none.
    let mut plain = place.device();
    plain.pull(place.honest(), None).expect("pulled");
    assert_eq!(plain.store.list_images().expect("listed"), []);
}

#[test]
fn an_image_may_come_later_than_its_release() {
    let place = place();
    let mut device = place.device_with(3);
    device.takes_image = true;
    let plan = device.plan(&place, None);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.bytes(), place.channel().images[2].file.size_bytes);
    device.pull(place.honest(), None).expect("pulled");
    device.assert_has_image(&place.find(3).0, &place.image(3));
    device.remote.image = Some("other".parse().expect("a name"));
    device.remote.save(&device.store, &Silent).expect("saved");
    let error = device
        .pull(place.honest(), None)
        .expect_err("no such image");
    assert_eq!(error.class(), ErrorClass::NotFound);
    let expected = "the channel offers no unified kernel image other for release 3, but default";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn where_the_old_image_does_not_do_the_release_does() {
    let place = place();
    let mut device = device(&place);
    device.pull(place.honest(), Some(2)).expect("pulled");
    let mut channel = place.channel();
    let of_first = channel.image_deltas[0].file;
    channel.image_deltas[1].file = of_first;
    channel.version += 1;
    place.put_channel(&channel);
    let fetcher = fetcher(place.honest());
    device.refresh(&fetcher).expect("refreshed");
    let puller = device.puller(&fetcher);
    let plan = puller.plan(None).expect("a plan");
    let plan = puller
        .with_image(plan, &device.remote.image_name())
        .expect("a plan");
    let monitor = Warnings::default();
    puller.pull(&plan, &monitor).expect("pulled");
    let warnings = monitor.take();
    let words = "the image is not made of the one of release 2, and more of it is fetched instead";
    assert!(
        warnings.iter().any(|warning| warning.contains(words)),
        "{warnings:?}"
    );
    device.assert_has_image(&place.find(3).0, &place.image(3));
    device.assert_clean();
}

#[test]
fn an_image_that_is_another_than_was_named_is_not_kept() {
    let place = place();
    let mut channel = place.channel();
    channel.images[2].digest = VerityDigest::from_bytes([7; 32]);
    channel.image_deltas.clear();
    channel.version += 1;
    place.put_channel(&channel);
    let mut device = device(&place);
    let error = device
        .pull(place.honest(), None)
        .expect_err("another image");
    assert!(
        matches!(error, RemoteError::Delta(DeltaError::Invalid { .. })),
        "{error}"
    );
    assert_eq!(device.store.list_images().expect("listed"), []);
    device.assert_has(&place.find(3).0);
}

// Rules: P3
#[test]
fn what_would_not_boot_the_release_is_not_published() {
    let mut place = Place::new();
    place.has_images = true;
    place.release(1);
    place.publish(1, 1);
    let before = fs::read(place.channel_path()).expect("read");
    place.release(2);
    let (statement, document) = place.find(2);
    let signer = sealroot::signer::Signer::Key(crate::support::secret(place.channel_key));
    let publish = |bytes: Vec<u8>| {
        let name = "default".parse().expect("a name");
        let images = [publish::Image { name, bytes }];
        let release = publish::Release {
            store: &place.store,
            statement: &statement,
            document: &document,
            images: &images,
        };
        let vendor = publish::Vendor {
            keyset: &place.keyset,
            signer: &signer,
        };
        let destination = DirectoryDestination::open(place.www()).expect("opened");
        publish::publish(&destination, &vendor, &release, &Place::terms(1), &Silent)
    };
    for (bytes, class) in [
        (place.image(1), ErrorClass::Untrusted),
        (b"MZ".to_vec(), ErrorClass::Corrupt),
    ] {
        let error = publish(bytes).expect_err("another image");
        assert_eq!(error.class(), class, "{error}");
        assert_eq!(error.to_string(), "cannot publish the image default");
        assert!(fs::read(place.channel_path()).expect("read") == before);
    }
    publish(place.image(2)).expect("published");
}

// Rules: P2, P3
#[test]
fn publishing_again_puts_nothing_and_another_image_replaces_the_first() {
    let mut place = place();
    let again = place.publish(3, 1);
    assert_eq!(again.put.len(), 1, "{:?}", again.put);
    let before = place.channel();
    // Without an image the one that was published stays.
    place.has_images = false;
    place.publish(3, 1);
    assert_eq!(place.channel().images, before.images);
    // With another keyset in it the image is another.
    let second = place.image(2);
    place.has_images = true;
    place.keyset = keyset(2, [1, 2, 3], &[1]);
    place.publish(3, 1);
    let after = place.channel();
    assert_eq!(after.images[..2], before.images[..2]);
    assert_eq!(
        after.images[2].digest,
        compute_verity_digest(&place.image(3))
    );
    assert_ne!(after.images[2].digest, before.images[2].digest);
    assert_eq!(after.image_deltas[0], before.image_deltas[0]);
    assert_ne!(after.image_deltas[1], before.image_deltas[1]);

    // What is lost is made again of what the vendor kept.
    let lost = &before.images[1].file;
    fs::remove_file(place.www().join(Kind::Image.path(lost))).expect("removed");
    let monitor = Warnings::default();
    let terms = Place::terms(1);
    place.try_publish(3, &terms, &monitor).expect("published");
    let words =
        "the image default of release 2 is not there as it was published, and is published again";
    let warnings = monitor.take();
    assert!(
        warnings.iter().any(|warning| warning == words),
        "{warnings:?}"
    );
    let mut device = device(&place);
    device.pull(place.honest(), Some(2)).expect("pulled");
    device.assert_has_image(&place.find(2).0, &second);
    device.assert_clean();
}

// Rules: P4
#[test]
fn pruning_keeps_what_the_channel_names() {
    let mut place = place();
    let destination = DirectoryDestination::open(place.www()).expect("opened");
    let later = SystemTime::now() + Duration::from_secs(3600 * 48);
    let day = Duration::from_secs(3600 * 24);
    let pruned = publish::prune(&destination, later, day).expect("pruned");
    assert_eq!(pruned.removed.len(), 0, "{:?}", pruned.removed);
    place.has_images = false;
    let mut terms = Place::terms(0);
    terms.keep = Some(1);
    drop(destination);
    place.try_publish(3, &terms, &Silent).expect("published");
    let open = || DirectoryDestination::open(place.www()).expect("opened");
    let trial = Trial(Box::new(open()));
    let would = publish::prune(&trial, later, day).expect("looked at");
    assert_eq!(image_files(&place), 5);
    drop(trial);
    let pruned = publish::prune(&open(), later, day).expect("pruned");
    assert_eq!(would.removed.len(), pruned.removed.len());
    assert_eq!(image_files(&place), 1);
    let mut device = device(&place);
    device.pull(place.honest(), None).expect("pulled");
    device.assert_has_image(&place.find(3).0, &place.image(3));
}

#[test]
fn what_came_of_an_image_is_gone_on_with() {
    let place = place();
    let mut device = place.device_with(3);
    device.takes_image = true;
    let cut = HttpServer::serve(place.www(), |request| {
        if request.path.starts_with("image") {
            Answer::CutAfter(40_000)
        } else {
            Answer::Honest
        }
    });
    let cut = cut.expect("a server");
    let pulled = device.pull(vec![http(&cut.url())], None);
    let parts = device.store.list_parts().expect("listed");
    let head = place.channel().images[2].file.head;
    if pulled.is_err() {
        assert_eq!(parts, [head]);
        assert_eq!(unneeded_parts(&device.store).expect("listed"), []);
    }
    let server = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
    device
        .pull(vec![http(&server.url())], None)
        .expect("pulled");
    assert!(server.sent_bytes() < 40_000, "{}", server.sent_bytes());
    device.assert_has_image(&place.find(3).0, &place.image(3));
    device.assert_clean();
}
