// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that do anything but serve: whatever they answer, in the place of whichever file, a device
//! ends with the signed release or with what it had, soon, and the next honest server brings the rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealroot_format::ErrorClass;
use sealroot_testkit::http_server::{Answer, HttpRequest, HttpServer};

use crate::support::{Device, Place, http, keyset};

/// The kinds of files that a device asks for.
const KINDS: [&str; 6] = ["channel", "keyset", "statement", "bundle", "delta", "image"];

/// What a server may do, and whether a device gets its release all the same.
fn misdeeds() -> Vec<Answer> {
    vec![
        Answer::Status(404),
        Answer::Status(403),
        Answer::Status(416),
        Answer::Status(429),
        Answer::Status(500),
        Answer::Status(503),
        Answer::Status(204),
        Answer::Hangup,
        Answer::Silence,
        Answer::Garbage,
        Answer::EndlessHeader,
        Answer::CutAfter(0),
        Answer::CutAfter(1),
        Answer::CutAfter(200),
        Answer::ResetAfter(0),
        Answer::ResetAfter(100),
        Answer::Short(0),
        Answer::Short(100),
        Answer::Long,
        Answer::WholeFile,
        Answer::OtherRange,
        Answer::ShiftedContent,
        Answer::Endless,
        Answer::Drip(Duration::from_millis(20)),
        Answer::Flip(0),
        Answer::Flip(90),
        Answer::Flip(1000),
        Answer::Flip(usize::MAX / 2),
        Answer::Zeros,
        Answer::Page(b"<html>Please log in</html>".to_vec()),
        Answer::Page(Vec::new()),
        Answer::Redirect("file:///etc/passwd".into()),
        Answer::Redirect("ftp://127.0.0.1/".into()),
        Answer::Redirect("/loop".into()),
        Answer::Redirect("http://127.0.0.1:9/".into()),
        Answer::OtherFile("channel/exampleos/-/stable/x86_64.channel".into()),
        Answer::BadLength,
        Answer::FalselyEncoded,
    ]
}

/// Longer than any of this may take: some attempts at six files, each as long as a server is waited for.
const SOON: Duration = Duration::from_secs(20);

/// A vendor whose second release comes with a new keyset.
fn place() -> Place {
    let mut place = Place::with_releases(1, 1);
    place.keyset = keyset(2, [1, 2, 33], &[1]);
    place.channel_key = 33;
    place.has_images = true;
    place.release(2);
    place.publish(2, 1);
    place
}

/// A device that has release 1 and knows nothing of what came after it.
fn device(place: &Place) -> Device {
    let old = Place::with_releases(1, 0);
    let mut device = Device::new(old.keyset.clone());
    device.pull(old.honest(), None).expect("pulled");
    device.assert_has(&place.find(1).0);
    device
}

/// Pulls from a server that answers to requests for one kind of file as it is told; then from an
/// honest one.
fn play(place: &Place, kind: &'static str, misdeed: &Answer, has_delta: bool) {
    let mut device = if has_delta {
        device(place)
    } else {
        Device::new(keyset(1, [1, 2, 3], &[1]))
    };
    device.takes_image = true;
    let (server, what) = server(place, kind, misdeed);
    let since = Instant::now();
    let pulled = device.pull(vec![http(&server.url())], None);
    let took = since.elapsed();
    assert!(took < SOON, "{what}: {took:?}");
    let signed = place.find(2).0;
    match pulled {
        Ok(_) => {
            device.assert_has(&signed);
            device.assert_has_image(&signed, &place.image(2));
        }
        Err(error) => {
            // The image comes last.
            assert_eq!(
                device.has_pack(&signed),
                kind == "image",
                "{what}: {error:?}"
            );
            assert_eq!(device.store.list_images().expect("listed"), [], "{what}");
            let class = error.class();
            assert_ne!(class, ErrorClass::Usage, "{what}: {error:?}");
            let text = error.to_string();
            assert!(!text.is_empty() && text.len() < 2000, "{what}: {text}");
        }
    }
    drop(server);
    let honest = HttpServer::serve(place.www(), |_| Answer::Honest).expect("a server");
    let pulled = device.pull(vec![http(&honest.url())], None);
    pulled.unwrap_or_else(|error| panic!("{what}, then honest: {error:?}"));
    device.assert_has(&signed);
    device.assert_has_image(&signed, &place.image(2));
    device.assert_clean();
}

fn server(place: &Place, kind: &'static str, misdeed: &Answer) -> (HttpServer, String) {
    let told = misdeed.clone();
    let behave = move |request: &HttpRequest| {
        if request.path.starts_with(kind) || request.path == "loop" {
            told.clone()
        } else {
            Answer::Honest
        }
    };
    let server = HttpServer::serve(place.www(), behave).expect("a server");
    (server, format!("{kind}: {misdeed:?}"))
}

// Rules: P6, P8
#[test]
fn a_server_can_only_delay() {
    let place = Arc::new(place());
    let mut cases = Vec::new();
    for kind in KINDS {
        for misdeed in misdeeds() {
            cases.push((kind, misdeed.clone(), true));
            if kind == "bundle" {
                cases.push((kind, misdeed, false));
            }
        }
    }
    assert!(misdeeds().len() >= 25);
    let count = cases.len();
    let cases = std::sync::Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().expect("not poisoned").next();
                    let Some((kind, misdeed, has_delta)) = next else {
                        break;
                    };
                    play(&place, kind, &misdeed, has_delta);
                }
            });
        }
    });
    println!("{count} pulls from hostile servers, and as many from honest ones after them");
}

/// Connections that end at any place: each byte of the way is kept.
#[test]
fn a_connection_may_be_reset_anywhere() {
    let place = place();
    for at in (0..12_000).step_by(500) {
        for kind in ["bundle", "delta", "image"] {
            play(&place, kind, &Answer::ResetAfter(at), kind != "bundle");
        }
    }
}
