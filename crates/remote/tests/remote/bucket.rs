// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing to buckets, on a server that speaks as S3 does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use sealroot::monitor::Silent;
use sealroot_format::ErrorClass;
use sealroot_remote::fetch::Patience;
use sealroot_remote::publish::{
    BucketDestination, Destination, DirectoryDestination, Terms, Trial, prune,
};
use sealroot_remote::source::{HttpSource, Source, Timeouts};
use sealroot_remote::{Fault, RemoteError};
use sealroot_testkit::content::bytes;
use sealroot_testkit::line::{Line, Verdict};
use sealroot_testkit::s3_server::S3Server;

use crate::support::{Place, channel_name};

/// What is asked for in vain is given up soon.
const PATIENCE: Patience = Patience {
    attempts: 2,
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
};

/// The length of a file that takes several parts, all of it on its own.
const LARGE_BYTES: usize = 12 << 20;

/// A bucket on the server.
struct Bucket {
    server: Arc<S3Server>,
    name: &'static str,
}

impl Bucket {
    /// A new bucket; `None` after it was said that the server is missing.
    fn new(name: &'static str) -> Option<Self> {
        let server = S3Server::shared()?;
        server.make_bucket(name).expect("a bucket");
        Some(Self { server, name })
    }

    fn open(&self) -> BucketDestination {
        self.try_open(&self.server.url(), &[]).expect("opened")
    }

    /// Opens what is below `os` by way of a server.
    fn try_open(
        &self,
        endpoint: &str,
        more: &[(&str, &str)],
    ) -> Result<BucketDestination, RemoteError> {
        let settings = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ENDPOINT", endpoint),
        ];
        let address = format!("s3://{}/os", self.name);
        BucketDestination::open(&address, &[&settings, more].concat(), PATIENCE)
    }

    /// What a device fetches from.
    fn source(&self) -> Box<dyn Source> {
        let url = format!("{}/{}/os", self.server.url(), self.name);
        Box::new(HttpSource::new(&url, Timeouts::default()))
    }

    /// The head of the answer to whoever asks for an object.
    fn head(&self, path: &str) -> String {
        let path = format!("/{}/os/{path}", self.name);
        let answer = self.server.ask("HEAD", &path, "").expect("an answer");
        answer.to_ascii_lowercase()
    }

    /// Uploads that have begun, and were neither completed nor given up.
    fn unfinished_uploads(&self) -> usize {
        let path = format!("/{}?uploads", self.name);
        let answer = self.server.ask("GET", &path, "").expect("an answer");
        assert!(answer.contains("ListMultipartUploadsResult"), "{answer}");
        answer.matches("<UploadId>").count()
    }
}

fn has(said: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(said).contains(text)
}

/// All that is there.
fn content(destination: &dyn Destination) -> BTreeMap<String, Vec<u8>> {
    let listed = destination.list().expect("listed").into_iter();
    let read = |path: &str, size| destination.read(path, size).expect("read").expect("there");
    listed
        .map(|file| {
            let content = read(&file.path, file.size_bytes + 1);
            assert_eq!(content.len() as u64, file.size_bytes, "{}", file.path);
            (file.path, content)
        })
        .collect()
}

/// A vendor with two releases that have a large file each, nothing published.
fn large_releases() -> Place {
    let place = Place::new();
    let root = tempfile::tempdir().expect("a directory");
    let mut large = bytes(7, LARGE_BYTES);
    for index in [1, 2] {
        large[LARGE_BYTES / 2] ^= 1;
        fs::write(root.path().join("large"), &large).expect("written");
        place.release_tree(root.path(), index, "stable");
    }
    place
}

// Rules: P9
#[test]
fn a_bucket_gets_what_a_directory_gets() {
    let Some(bucket) = Bucket::new("same") else {
        return;
    };
    let place = large_releases();
    let destination = bucket.open();
    let trial = Trial(Box::new(bucket.open()));
    let tried = place.publish_by(&trial, 1, &Place::terms(1), &Silent);
    assert_eq!(destination.list().expect("listed"), []);
    let mut put = Vec::new();
    for index in [1, 2] {
        let published = place.publish_by(&destination, index, &Place::terms(1), &Silent);
        put.push(published.expect("published").put);
        assert_eq!(put.last(), Some(&place.publish(index, 1).put));
    }
    assert_eq!(put.first(), Some(&tried.expect("tried").put));
    let directory = DirectoryDestination::open(place.www()).expect("opened");
    let there = content(&destination);
    assert_eq!(there, content(&directory));
    assert_eq!(bucket.unfinished_uploads(), 0);
    for path in there.keys() {
        let head = bucket.head(path);
        let lifetime = if path.starts_with("channel/") {
            "cache-control: public, max-age=60\r\n"
        } else {
            "cache-control: public, max-age=31536000, immutable\r\n"
        };
        assert!(head.contains(lifetime), "{path}: {head}");
        assert!(head.contains("content-type: application/octet-stream\r\n"));
    }

    let again = place.publish_by(&destination, 2, &Place::terms(1), &Silent);
    let again = again.expect("published").put;
    assert_eq!(again.len(), 1, "{again:?}");
    // Devices get it by HTTP: whole, and then by a delta.
    let mut device = place.device();
    for index in [1, 2] {
        device
            .pull(vec![bucket.source()], Some(index))
            .expect("pulled");
        device.assert_has(&place.find(index).0);
        device.assert_clean();
    }
}

#[test]
fn what_was_broken_off_is_not_seen_and_is_finished_by_the_next_run() {
    let Some(bucket) = Bucket::new("broken") else {
        return;
    };
    let place = large_releases();
    place.publish(1, 0);
    let whole = content(&DirectoryDestination::open(place.www()).expect("opened"));
    // In the first request, in parts, before the upload is completed, and before the channel.
    let moments: [fn(usize, &[u8]) -> bool; 5] = [
        |sent_bytes, _| sent_bytes > 100,
        |sent_bytes, _| sent_bytes > 4 << 20,
        |sent_bytes, _| sent_bytes > 10 << 20,
        |_, said| said.starts_with(b"POST ") && has(said, "uploadId="),
        |_, said| said.starts_with(b"PUT ") && has(said, ".channel"),
    ];
    for (number, is_over) in moments.into_iter().enumerate() {
        let sent = AtomicUsize::new(0);
        let line = Line::open(bucket.server.address(), move |said| {
            let before = sent.fetch_add(said.len(), Ordering::Relaxed);
            if is_over(before + said.len(), said) {
                Verdict::Cut
            } else {
                Verdict::Pass
            }
        });
        let line = line.expect("a line");
        let broken = bucket.try_open(&line.url(), &[]).expect("opened");
        let error = place
            .publish_by(&broken, 1, &Place::terms(0), &Silent)
            .expect_err("broken off");
        assert_eq!(error.class(), ErrorClass::Io, "{error:?}");
        let there = content(&bucket.open());
        for (path, content) in &there {
            assert!(!path.starts_with("channel/"), "{number}: {path}");
            assert_eq!(Some(content), whole.get(path), "{number}: {path}");
        }
    }
    let there = content(&bucket.open());
    assert!(there.keys().any(|path| path.starts_with("bundle/")));
    let finished = place.publish_by(&bucket.open(), 1, &Place::terms(0), &Silent);
    let put = finished.expect("published").put;
    assert_eq!(put.len(), whole.len() - there.len());
    assert_eq!(content(&bucket.open()), whole);
}

#[test]
fn what_cannot_be_read_is_not_put() {
    /// Some bytes, and then an error.
    struct Failing(io::Take<io::Repeat>);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("a bad disk")),
                len => Ok(len),
            }
        }
    }

    let Some(bucket) = Bucket::new("unreadable") else {
        return;
    };
    let destination = bucket.open();
    for len in [0, 100, LARGE_BYTES as u64] {
        let mut content = Failing(io::repeat(7).take(len));
        let error = destination
            .put("bundle/some", &mut content)
            .expect_err("unreadable");
        assert!(matches!(error, RemoteError::Io { .. }), "{error:?}");
        assert_eq!(destination.list().expect("listed"), []);
        assert_eq!(bucket.unfinished_uploads(), 0);
    }
    // Nothing, and whole numbers of parts.
    for len in [0, 8 << 20, 64 << 20] {
        let mut content = io::repeat(7).take(len);
        destination.put("bundle/some", &mut content).expect("put");
        assert_eq!(
            destination.size_of("bundle/some").expect("asked"),
            Some(len)
        );
    }
}

#[test]
fn of_two_who_publish_at_once_one_is_told() {
    let Some(bucket) = Bucket::new("race") else {
        return;
    };
    let path = channel_name().path();
    let (destination, theirs) = (bucket.open(), Arc::new(bucket.name));
    for previous in [None, Some(&b"before"[..])] {
        if let Some(previous) = previous {
            destination.remove(&path).expect("removed");
            destination.replace(&path, None, previous).expect("put");
        }
        // Theirs is put when ours is on its way, after all that was looked at before.
        let (server, name) = (bucket.server.clone(), theirs.clone());
        let (is_done, at) = (AtomicBool::new(false), path.clone());
        let line = Line::open(bucket.server.address(), move |said| {
            if said.starts_with(b"PUT ") && !is_done.swap(true, Ordering::Relaxed) {
                let server = server.clone();
                let other = Bucket {
                    server,
                    name: *name,
                }
                .open();
                other.replace(&at, previous, b"theirs").expect("put");
            }
            Verdict::Pass
        });
        let line = line.expect("a line");
        let ours = bucket.try_open(&line.url(), &[]).expect("opened");
        let error = ours.replace(&path, previous, b"ours").expect_err("late");
        assert!(matches!(error, RemoteError::Conflict { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Busy);
        let there = destination.read(&path, 100).expect("read");
        assert_eq!(there.as_deref(), Some(&b"theirs"[..]));
    }
    // Where theirs is the same as ours, it was ours.
    let server = bucket.server.clone();
    let (is_done, at) = (AtomicBool::new(false), path.clone());
    let line = Line::open(bucket.server.address(), move |said| {
        if said.starts_with(b"PUT ") && !is_done.swap(true, Ordering::Relaxed) {
            let server = server.clone();
            let twin = Bucket {
                server,
                name: "race",
            }
            .open();
            twin.replace(&at, Some(b"theirs"), b"ours").expect("put");
        }
        Verdict::Pass
    });
    let line = line.expect("a line");
    let ours = bucket.try_open(&line.url(), &[]).expect("opened");
    ours.replace(&path, Some(b"theirs"), b"ours").expect("put");
}

#[test]
fn a_store_without_conditions_is_asked_for_none() {
    let Some(bucket) = Bucket::new("unconditional") else {
        return;
    };
    let line = Line::open(bucket.server.address(), |said| {
        let said = String::from_utf8_lossy(said).to_ascii_lowercase();
        if said.contains("\nif-match:") || said.contains("\nif-none-match:") {
            Verdict::Answer(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n".into())
        } else {
            Verdict::Pass
        }
    });
    let line = line.expect("a line");
    let path = channel_name().path();
    let destination = bucket.try_open(&line.url(), &[]).expect("opened");
    let error = destination
        .replace(&path, None, b"one")
        .expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Unsupported, "{error:?}");
    let settings = [("AWS_CONDITIONAL_PUT", "disabled")];
    let destination = bucket.try_open(&line.url(), &settings).expect("opened");
    destination.replace(&path, None, b"one").expect("put");
    destination
        .replace(&path, Some(b"one"), b"two")
        .expect("put");
    for previous in [None, Some(&b"one"[..])] {
        let late = destination.replace(&path, previous, b"three");
        assert!(
            matches!(late, Err(RemoteError::Conflict { .. })),
            "{late:?}"
        );
    }
    let there = destination.read(&path, 100).expect("read");
    assert_eq!(there.as_deref(), Some(&b"two"[..]));
}

#[test]
fn only_what_no_channel_leads_to_is_pruned() {
    let Some(bucket) = Bucket::new("prune") else {
        return;
    };
    let place = Place::with_releases(3, 2);
    let destination = bucket.open();
    for index in 1..=3 {
        let terms = Place::terms(2);
        let published = place.publish_by(&destination, index, &terms, &Silent);
        published.expect("published");
    }
    let terms = Terms {
        keep: Some(2),
        ..Place::terms(2)
    };
    place.try_publish(3, &terms, &Silent).expect("published");
    let kept = place.publish_by(&destination, 3, &terms, &Silent);
    kept.expect("published");
    let directory = DirectoryDestination::open(place.www()).expect("opened");
    let day = Duration::from_secs(24 * 60 * 60);
    for (later, removed) in [(Duration::ZERO, 0), (2 * day, 3)] {
        let now = SystemTime::now() + later;
        for destination in [&destination as &dyn Destination, &directory] {
            let pruned = prune(destination, now, day).expect("pruned");
            assert_eq!(pruned.removed.len(), removed, "{pruned:?}");
        }
        assert_eq!(content(&destination), content(&directory));
    }
}

#[test]
fn a_bucket_that_does_not_do_is_told_at_once() {
    let Some(mut bucket) = Bucket::new("closed") else {
        return;
    };
    let check = |destination: &dyn Destination, found: (Fault, ErrorClass)| {
        let read = destination.read("channel/some", 100).map(drop);
        let looked_at = destination.size_of("bundle/some").map(drop);
        let put = destination.put("bundle/some", &mut &b"content"[..]);
        let listed = destination.list().map(drop);
        for (what, result) in [("read", read), ("put", put), ("list", listed)] {
            let error = result.expect_err(what);
            let RemoteError::Bucket { fault, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!((fault, error.class()), found, "{what}: {error:?}");
        }
        looked_at
    };
    for (status, found) in [
        ("403 Forbidden", (Fault::Denied, ErrorClass::Io)),
        ("401 Unauthorized", (Fault::Denied, ErrorClass::Io)),
        ("503 Slow Down", (Fault::Other, ErrorClass::Io)),
    ] {
        let line = Line::open(bucket.server.address(), move |_| {
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            Verdict::Answer(answer.into_bytes())
        });
        let line = line.expect("a line");
        let destination = bucket.try_open(&line.url(), &[]).expect("opened");
        check(&destination, found).expect_err("nor looked at");
    }
    bucket.name = "never-made";
    let not_there = (Fault::NotThere, ErrorClass::NotFound);
    // An answer without a body does not say what it is that is not there.
    check(&bucket.open(), not_there).expect("nothing seen");
}
