// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulling from honest servers: what comes, in how many requests, and that nothing comes twice.

use std::fs;

use sealroot::monitor::Silent;
use sealroot_remote::plan::Step;
use sealroot_testkit::content::bytes;
use sealroot_testkit::http_server::{Answer, HttpRequest, HttpServer};

use crate::support::{CHANNEL, Place, ROOT, fetcher, http, keyset};

/// The requests for content, in the order in which they came.
fn asked(server: &HttpServer) -> Vec<HttpRequest> {
    let requests = server.requests().into_iter();
    let is_content = |request: &HttpRequest| {
        request.path.starts_with("bundle") || request.path.starts_with("delta")
    };
    requests.filter(is_content).collect()
}

#[test]
fn a_new_device_gets_the_newest_release() {
    let place = Place::with_releases(3, 2);
    let mut device = place.device();
    let server = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
    let pulled = device
        .pull(vec![http(&server.url())], None)
        .expect("pulled");
    assert_eq!(pulled.statement.index, 3);
    device.assert_has(&place.find(3).0);
    device.assert_clean();
    let again = device
        .pull(vec![http(&server.url())], None)
        .expect("pulled");
    assert_eq!(again.plan.steps, []);
    assert_eq!(again.statement.index, 3);
}

// Rules: P5
#[test]
fn a_delta_comes_in_three_requests_of_single_ranges() {
    let place = Place::with_releases(2, 1);
    let mut device = place.device_with(1);
    for answer in [Answer::Honest, Answer::WholeFile] {
        let mut device = if answer == Answer::Honest {
            place.device_with(1)
        } else {
            std::mem::replace(&mut device, place.device())
        };
        let told = answer.clone();
        let server = HttpServer::serve(place.www(), move |_| told.clone()).expect("a server");
        let fetcher = fetcher(vec![http(&server.url())]);
        let pulled = device.pull_by(&fetcher, None).expect("pulled");
        assert!(matches!(pulled.plan.steps[..], [Step::Delta(_)]));
        device.assert_has(&place.find(2).0);
        device.assert_clean();
        let requests = server.requests();
        assert_eq!(requests.len(), 3, "{requests:?}");
        assert!(requests.iter().all(|request| request.range.is_some()));
        let delta = place.channel().deltas[0].file.size_bytes;
        assert!(fetcher.traffic().bytes < delta + 4096);
    }
}

#[test]
fn releases_are_skipped_by_chains_and_by_bundles() {
    let place = Place::with_releases(4, 1);
    let mut device = place.device_with(1);
    let plan = device.plan(&place, None);
    let ends: Vec<u64> = plan.steps.iter().map(Step::to).collect();
    assert_eq!(ends, [2, 3, 4]);
    device.pull(place.honest(), None).expect("pulled");
    device.assert_has(&place.find(4).0);
    device.assert_clean();

    let place = Place::with_releases(4, 0);
    let mut device = place.device_with(1);
    let pulled = device.pull(place.honest(), None).expect("pulled");
    assert!(matches!(pulled.plan.steps[..], [Step::Bundle { .. }]));
    // The large file, and three that are new; all else was here.
    assert_eq!(pulled.objects.added_objects, 4);
    device.assert_has(&place.find(4).0);
    device.assert_clean();
}

/// A vendor whose releases 1 to 3 each have a kernel that has nothing of the one before it.
fn with_kernels() -> Place {
    let place = Place::new();
    for index in 1..=3 {
        let tree = tempfile::tempdir().expect("a directory");
        let write = |name: &str, content: Vec<u8>| {
            fs::write(tree.path().join(name), content).expect("written");
        };
        write("vmlinuz", bytes(index, KERNEL_BYTES));
        write("same", bytes(10, 20_000));
        let mut other = bytes(11, 200_000);
        other[0] = u8::try_from(index).expect("small");
        write("other", other);
        place.release_tree(tree.path(), index, "stable");
        place.publish(index, 1);
    }
    place
}

const KERNEL_BYTES: usize = 1_500_000;

// Rules: P5, P7
#[test]
fn of_a_chain_comes_what_the_last_release_needs() {
    let place = with_kernels();
    for kept_bytes in [0, 150, 1000, 4000] {
        let mut device = place.device_with(1);
        if kept_bytes > 0 {
            let server = HttpServer::serve(place.www(), move |request| {
                if request.path.starts_with("delta") {
                    Answer::CutAfter(kept_bytes)
                } else {
                    Answer::Honest
                }
            });
            let server = server.expect("a server");
            let pulled = device.pull(vec![http(&server.url())], None);
            pulled.expect_err("interrupted");
        }
        let server = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
        let fetcher = fetcher(vec![http(&server.url())]);
        let pulled = device.pull_by(&fetcher, None).expect("pulled");
        assert_eq!(pulled.plan.steps.len(), 2);
        assert!(fetcher.traffic().bytes < KERNEL_BYTES as u64 + 20_000);
        let requests = server.requests();
        assert!(requests.len() <= 8, "{requests:?}");
        let is_single = |request: &HttpRequest| request.range.is_some();
        assert!(requests.iter().all(is_single));
        device.assert_has(&place.find(3).0);
        assert!(!device.has_pack(&place.find(2).0));
        device.assert_clean();
    }
}

#[test]
fn a_chain_that_does_not_do_is_replaced_by_bundles() {
    let place = with_kernels();
    for delta in place.channel().deltas {
        let head = delta.file.head;
        let path = place.www().join(format!("delta/{head}.delta"));
        let right = fs::read(&path).expect("read");
        for wrong in [Vec::new(), vec![0; right.len()], right[..100].to_vec()] {
            fs::write(&path, wrong).expect("written");
            let mut device = place.device_with(1);
            let pulled = device.pull(place.honest(), None).expect("pulled");
            assert!(matches!(pulled.plan.steps[..], [Step::Bundle { .. }]));
            device.assert_has(&place.find(3).0);
            assert_eq!(device.store.list_parts().expect("listed"), []);
        }
        fs::write(&path, right).expect("written");
    }
}

#[test]
fn an_older_release_is_fetched_if_it_is_asked_for() {
    let place = Place::with_releases(3, 1);
    let mut device = place.device_with(3);
    let pulled = device.pull(place.honest(), Some(2)).expect("pulled");
    assert_eq!(pulled.statement.index, 2);
    device.assert_has(&place.find(2).0);
    let error = device.pull(place.honest(), Some(9)).expect_err("none");
    assert_eq!(
        error.to_string(),
        "the channel offers no release with index 9"
    );
}

// Rules: P7
#[test]
fn what_was_interrupted_goes_on_where_it_was() {
    let place = Place::with_releases(2, 1);
    for cut in [1, 100, 1000, 9000] {
        let mut device = place.device_with(1);
        let is_first = |request: &HttpRequest| request.range.is_some_and(|(first, _)| first == 0);
        let server = HttpServer::serve(place.www(), move |request| {
            match (request.path.starts_with("delta"), is_first(request)) {
                (true, true) => Answer::CutAfter(cut),
                (true, false) => Answer::Status(503),
                _ => Answer::Honest,
            }
        });
        let server = server.expect("a server");
        device
            .pull(vec![http(&server.url())], None)
            .expect_err("interrupted");
        assert_eq!(device.store.list_parts().expect("listed").len(), 1);
        let size = place.channel().deltas[0].file.size_bytes;
        let server = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
        device
            .pull(vec![http(&server.url())], None)
            .expect("pulled");
        let ranges = asked(&server).into_iter().map(|request| request.range);
        assert_eq!(ranges.collect::<Vec<_>>(), [Some((cut as u64, size - 1))]);
        device.assert_has(&place.find(2).0);
        device.assert_clean();
    }
}

#[test]
fn what_was_kept_is_checked_before_it_is_gone_on_with() {
    let place = Place::with_releases(2, 1);
    let delta = place.channel().deltas[0].file;
    let whole = fs::read(place.www().join(format!("delta/{}.delta", delta.head))).expect("read");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for kept in [
        flipped(3),
        flipped(whole.len() - 1),
        [whole.clone(), b"more".to_vec()].concat(),
        vec![0; whole.len()],
        vec![0; whole.len() * 3],
        whole[..whole.len() / 2].to_vec(),
    ] {
        let mut device = place.device_with(1);
        let part = device
            .path()
            .join(format!("store/remote/{}.part", delta.head));
        fs::write(part, kept).expect("written");
        device.pull(place.honest(), None).expect("pulled");
        device.assert_has(&place.find(2).0);
        device.assert_clean();
    }
}

#[test]
fn a_delta_that_does_not_do_is_replaced_by_bundles() {
    let place = Place::with_releases(2, 1);
    let delta = place.channel().deltas[0].file;
    let path = place.www().join(format!("delta/{}.delta", delta.head));
    for damage in [None, Some(vec![0; 100]), Some(Vec::new())] {
        match &damage {
            None => fs::remove_file(&path).expect("removed"),
            Some(bytes) => fs::write(&path, bytes).expect("written"),
        }
        let mut device = place.device_with(1);
        let pulled = device.pull(place.honest(), None).expect("pulled");
        assert!(matches!(pulled.plan.steps[..], [Step::Bundle { .. }]));
        device.assert_has(&place.find(2).0);
        device.assert_clean();
    }
}

#[test]
fn mirrors_stand_in() {
    let place = Place::with_releases(2, 1);
    let bad = HttpServer::serve(place.www(), |request| {
        match request.path.split('/').next() {
            Some("delta") => Answer::ResetAfter(700),
            _ => Answer::Status(500),
        }
    });
    let bad = bad.expect("a server");
    let good = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
    let mut device = place.device_with(1);
    let mirrors = vec![
        http(&bad.url()),
        http("http://127.0.0.1:9"),
        http(&good.url()),
    ];
    let pulled = device.pull(mirrors, None).expect("pulled");
    assert!(matches!(pulled.plan.steps[..], [Step::Delta(_)]));
    device.assert_has(&place.find(2).0);
}

#[test]
fn a_mirror_that_lies_is_left() {
    let place = Place::with_releases(2, 1);
    for (kind, at) in [
        ("channel", 100),
        ("statement", 100),
        ("bundle", 10_000),
        ("delta", 10_000),
    ] {
        let lies = HttpServer::serve(place.www(), move |request| {
            if request.path.starts_with(kind) {
                Answer::Flip(at)
            } else {
                Answer::Honest
            }
        });
        let lies = lies.expect("a server");
        let good = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
        let mut device = match kind {
            "delta" => place.device_with(1),
            _ => place.device(),
        };
        let mirrors = vec![http(&lies.url()), http(&good.url())];
        device.pull(mirrors, None).expect("pulled");
        device.assert_has(&place.find(2).0);
        device.assert_clean();
        let mut requests = good.requests().into_iter();
        assert!(requests.any(|request| request.path.starts_with(kind)));
    }
}

#[test]
fn a_release_with_missing_objects_is_made_whole_again() {
    let place = Place::with_releases(1, 0);
    let mut device = place.device_with(1);
    let objects = device.path().join("store/objects");
    let first = fs::read_dir(&objects).expect("listed").next().expect("one");
    fs::remove_dir_all(first.expect("one").path()).expect("removed");
    let pulled = device.pull(place.honest(), None).expect("pulled");
    assert_eq!(pulled.plan.steps.len(), 1);
    device.assert_has(&place.find(1).0);
    assert!(pulled.objects.added_objects >= 1);
}

#[test]
fn a_release_that_keys_of_before_signed_is_still_a_base() {
    let mut place = Place::with_releases(1, 0);
    let mut device = place.device_with(1);
    place.keyset = keyset(2, [ROOT, 22, CHANNEL], &[ROOT]);
    place.release_key = 22;
    place.release(2);
    place.publish(2, 1);
    let pulled = device.pull(place.honest(), None).expect("pulled");
    assert!(matches!(pulled.plan.steps[..], [Step::Delta(_)]));
    device.assert_has(&place.find(2).0);
    device.assert_clean();
}

#[test]
fn signatures_by_new_keys_come_without_the_release() {
    let mut place = Place::with_releases(1, 0);
    let mut device = place.device_with(1);
    place.keyset = keyset(2, [ROOT, 22, CHANNEL], &[ROOT]);
    place.release_key = 22;
    place.sign_again(1);
    place.publish(1, 0);
    let server = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
    let pulled = device.pull(vec![http(&server.url())], None);
    let pulled = pulled.expect("pulled");
    assert_eq!(pulled.plan.steps, []);
    assert_eq!(asked(&server), []);
    let commit = pulled.statement.commit;
    let new = place.keyset.verify_first().expect("a keyset");
    sealroot::release::verify_statement(&device.store, &new, commit, None).expect("verified");
    device.assert_clean();
}

#[test]
fn what_bundles_bring_at_most_is_told_before() {
    let place = Place::with_releases(4, 0);
    for (has, index) in [(None, 4), (Some(1), 4), (Some(3), 4), (None, 1)] {
        let mut device = match has {
            Some(has) => place.device_with(has),
            None => place.device(),
        };
        let plan = device.plan(&place, Some(index));
        let fetcher = fetcher(place.honest());
        let foreseen = device.puller(&fetcher).foresee(&plan, &Silent);
        let most_bytes = foreseen.expect("foreseen").bytes();
        let told = fetcher.traffic().bytes;
        let pulled = device.pull_by(&fetcher, Some(index)).expect("pulled");
        let statement_bytes = pulled.plan.release.statement.size_bytes;
        let channel_bytes = fs::read(place.channel_path()).expect("read").len() as u64;
        // The head came before, and is kept.
        let came = fetcher.traffic().bytes - channel_bytes - statement_bytes;
        assert!(told < 10_000, "{told}");
        assert_eq!(came, most_bytes, "{has:?} to {index}");
        device.assert_clean();
    }
}
