// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that are not there, or that nobody may go to: said soon, and what is in the way.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sealroot_format::ErrorClass;
use sealroot_remote::RemoteError;
use sealroot_remote::fetch::{Fetcher, Patience};
use sealroot_remote::source::{self, Obstacle, SourceError};
use sealroot_testkit::http_server::{Answer, HttpServer};
use sealroot_testkit::need;

use crate::support::Place;

/// What stands between a device and an address, and how many requests it took to know.
fn met(address: &str) -> (Obstacle, u64) {
    let fetcher = Fetcher::new(
        vec![source::open(address).expect("an address")],
        Patience {
            pause: Duration::from_millis(1),
            ..Patience::default()
        },
        None,
    );
    let mut device = Place::new().device();
    let since = Instant::now();
    let error = device.refresh(&fetcher).expect_err("nobody is there");
    assert!(since.elapsed() < Duration::from_secs(30), "{address}");
    assert_eq!(error.class(), ErrorClass::Io, "{address}: {error:?}");
    let RemoteError::Source { location, source } = error else {
        panic!("{error}");
    };
    assert_eq!(location, address);
    assert!(source.to_string().contains(address), "{source}");
    match source {
        SourceError::Unreachable { obstacle, .. } => (obstacle, fetcher.traffic().requests),
        other => panic!("{address}: {other:?}"),
    }
}

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// A server that answers whatever is said to it, in clear text; its address.
fn without_tls() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 2048]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    address
}

#[test]
fn what_is_in_the_way_is_known() {
    assert_eq!(met("http://nowhere.invalid/os").0, Obstacle::Name);
    assert_eq!(met(NOBODY), (Obstacle::Nobody, 4));
    let place = Place::with_releases(1, 0);
    fs::write(place.www().join("loop"), "").expect("written");
    for target in ["/loop", "ftp://127.0.0.1/"] {
        let answer = Answer::Redirect(target.into());
        let server = HttpServer::serve(place.www(), move |_| answer.clone()).expect("a server");
        assert_eq!(met(&server.url()), (Obstacle::Redirection, 1), "{target}");
    }
    let address = format!("https://{}", without_tls());
    assert_eq!(met(&address), (Obstacle::Tls, 2));
}

/// A server whose certificate nobody knows; it is killed when dropped.
struct Stranger {
    server: Child,
    address: String,
}

impl Stranger {
    fn start(openssl: &Path, directory: &Path) -> Self {
        let certificate = "req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 2 -subj /CN=localhost";
        let made = Command::new(openssl)
            .args(certificate.split(' '))
            .current_dir(directory)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl starts").success());
        let server = "s_server -key key -cert certificate -www -accept 127.0.0.1:0";
        let mut server = Command::new(openssl)
            .args(server.split(' '))
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts");
        let lines = BufReader::new(server.stdout.take().expect("piped")).lines();
        let mut lines = lines.map(|line| line.expect("text"));
        let address = lines.find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()));
        Self {
            server,
            address: address.expect("it listens"),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_certificate_that_nobody_knows_is_asked_once() {
    let Some(openssl) = need::tool("openssl") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let stranger = Stranger::start(&openssl, directory.path());
    let address = format!("https://{}", stranger.address);
    assert_eq!(met(&address), (Obstacle::Certificate, 1));
}
