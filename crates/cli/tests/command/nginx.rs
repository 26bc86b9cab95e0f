// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulling from a server that was not made for tests.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sealroot_testkit::content::bytes;
use sealroot_testkit::need;
use sealroot_testkit::nginx::Nginx;

use crate::support::{Ran, STORE, Scratch, finished};

/// The length of what is new in the second release.
const NEW_BYTES: usize = 1_500_000;

/// How much of it has come when something is interrupted, at least.
const KEPT_BYTES: u64 = 300_000;

/// How fast a server is that is to be interrupted.
const SLOW_KIB: u64 = 200;

fn publish(commit: &str, to: &str) -> String {
    format!("{STORE} --json publish {commit} --to {to} --key vendor.secret")
}

fn device(name: &str) -> String {
    format!("--store {name} --keyset vendor.keyset --json")
}

/// A pull by a device, waited for until a part of a delta has come.
fn pull_a_part(scratch: &Scratch, name: &str) -> Child {
    let mut command = scratch.command(&format!("{} pull", device(name)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let started = Instant::now();
    while part_bytes(scratch, name) < KEPT_BYTES {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing comes");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

/// How much a device has of what is on its way.
fn part_bytes(scratch: &Scratch, name: &str) -> u64 {
    let entries = fs::read_dir(scratch.path(&format!("{name}/remote"))).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let mut parts = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "part"));
    // It may be done with between the two.
    let part = parts.next().and_then(|part| part.metadata().ok());
    part.map_or(0, |part| part.len())
}

fn fetched_bytes(pulled: &Ran) -> u64 {
    pulled.json()["fetched_bytes"].as_u64().expect("a number")
}

#[test]
fn nginx_serves_what_was_published() {
    let Some(program) = need::tool("nginx") else {
        return;
    };
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("keys new vendor");
    let first = scratch.release(1);
    scratch.ok(&publish(&first, "www"));
    let mut nginx = Nginx::serve(&program, &scratch.path("www"), 0).expect("a server");
    let names = ["whole", "killed", "patient"];
    for name in names {
        let url = nginx.url();
        let options = format!("--os exampleos --stream stable --arch x86_64 vendor {url}");
        scratch.ok(&format!("{} remote add {options}", device(name)));
        let pulled = scratch.ok(&format!("{} pull", device(name))).json();
        assert_eq!(pulled["steps"][0]["by"], "bundles");
        scratch.ok(&format!("{} verify {first} --full", device(name)));
    }
    scratch.write("tree/usr/bin/new", bytes(5, NEW_BYTES));
    let second = scratch.release(2);
    let published = scratch.ok(&publish(&second, "www")).json();
    let put = published["put"].as_array().expect("a list").iter();
    let is_delta = |path: Option<&str>| path.is_some_and(|path| path.starts_with("delta/"));
    let mut deltas = put.filter(|put| is_delta(put["path"].as_str()));
    let delta_bytes = deltas.next().and_then(|put| put["bytes"].as_u64());
    let delta_bytes = delta_bytes.expect("a delta");
    assert!(delta_bytes > NEW_BYTES as u64);
    // The channel, the statement and what each connection may lose that is cut.
    let most = delta_bytes + 100_000;

    let whole = scratch.ok(&format!("{} pull", device("whole")));
    assert_eq!(whole.json()["requests"], 3);
    assert!(fetched_bytes(&whole) < most, "{}", fetched_bytes(&whole));

    // The command is killed, and run again.
    nginx.restart(SLOW_KIB).expect("restarted");
    let mut child = pull_a_part(&scratch, "killed");
    child.kill().expect("killed");
    child.wait().expect("ended");
    let kept = part_bytes(&scratch, "killed");
    nginx.restart(0).expect("restarted");
    let again = scratch.ok(&format!("{} pull", device("killed")));
    assert!(fetched_bytes(&again) < most - kept, "{kept}");

    // The server is killed, and comes back.
    nginx.restart(SLOW_KIB).expect("restarted");
    let child = pull_a_part(&scratch, "patient");
    nginx.restart(0).expect("restarted");
    let pulled = finished(child.wait_with_output().expect("ended"));
    assert_eq!(pulled.code, 0, "{}", pulled.err);
    assert!(fetched_bytes(&pulled) < most, "{}", fetched_bytes(&pulled));

    for pulled in [&whole, &again, &pulled] {
        let steps = &pulled.json()["steps"];
        assert_eq!((&steps[0]["by"], &steps[1]), (&"delta".into(), &().into()));
    }
    for name in names {
        scratch.ok(&format!("{} verify {second} --full", device(name)));
    }
    // All of it came as ranges.
    let requests = nginx.requests().expect("a log");
    assert!(requests.lines().all(|line| line.starts_with("206 ")));
    let deltas = requests.lines().filter(|line| line.contains("/delta/"));
    assert!(deltas.count() >= 3, "{requests}");
}
