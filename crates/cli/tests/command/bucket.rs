// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing to a bucket by commands.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use sealroot_format::ErrorClass;
use sealroot_testkit::content::bytes;
use sealroot_testkit::line::{Line, Verdict};
use sealroot_testkit::s3_server::S3Server;

use crate::support::{Ran, STORE, Scratch, check_refusal, finished};

fn publish(commit: &str, to: &str) -> String {
    format!("{STORE} --json publish {commit} --to {to} --key vendor.secret")
}

const DEVICE: &str = "--store device --keyset vendor.keyset --json";

/// A command that uses a bucket by way of a server.
fn command_with(scratch: &Scratch, endpoint: &str, line: &str) -> Command {
    let mut command = scratch.command(line);
    command
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT", endpoint)
        .env("AWS_ALLOW_HTTP", "true");
    command
}

fn run_with(scratch: &Scratch, server: &S3Server, line: &str) -> Ran {
    let mut command = command_with(scratch, &server.url(), line);
    finished(command.output().expect("it starts"))
}

#[test]
fn a_bucket_is_published_to_and_pruned() {
    let Some(server) = S3Server::shared() else {
        return;
    };
    server.make_bucket("updates").expect("a bucket");
    let ok = |scratch: &Scratch, line: &str| {
        let ran = run_with(scratch, &server, line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        ran.json()
    };
    let scratch = Scratch::new();
    scratch.small_tree();
    scratch.ok("keys new vendor");
    let to = "s3://updates/of/os";
    let first = scratch.release(1);
    let dry = ok(&scratch, &format!("{} --dry-run", publish(&first, to)));
    let put = ok(&scratch, &publish(&first, to));
    assert_eq!(dry["put"], put["put"]);
    let again = ok(&scratch, &publish(&first, to));
    assert_eq!(again["put"].as_array().map(Vec::len), Some(1));

    let url = format!("{}/updates/of/os", server.url());
    let options = format!("--os exampleos --stream stable --arch x86_64 vendor {url}");
    scratch.ok(&format!("{DEVICE} remote add {options}"));
    scratch.ok(&format!("{DEVICE} pull"));
    scratch.write("tree/etc/hostname", "another\n");
    let second = scratch.release(2);
    ok(&scratch, &format!("{} --keep 1", publish(&second, to)));
    let prune = format!("--json remote prune {to} --older-than 0");
    let dry = ok(&scratch, &format!("{prune} --dry-run"));
    let pruned = ok(&scratch, &prune);
    assert_eq!(dry["removed"], pruned["removed"]);
    assert_eq!(pruned["removed"].as_array().map(Vec::len), Some(1));
    let nothing = ok(&scratch, &prune);
    assert_eq!(nothing["removed"].as_array().map(Vec::len), Some(0));
    let pulled = scratch.ok(&format!("{DEVICE} pull")).json();
    assert_eq!(pulled["commit"], *second);
    scratch.ok(&format!("{DEVICE} verify {second} --full"));

    for (line, class, words) in [
        (
            publish(&second, "s3://nowhere/os"),
            ErrorClass::NotFound,
            ["cannot read", "make the bucket first"],
        ),
        (
            "remote prune s3://nowhere/os".into(),
            ErrorClass::NotFound,
            ["cannot list s3://nowhere/os", "make the bucket first"],
        ),
        (
            publish(&second, "ftp://nowhere/os"),
            ErrorClass::Usage,
            ["ftp://nowhere/os is neither", "s3://, gs://, az://"],
        ),
    ] {
        let line = line.replace("--json ", "");
        let ran = run_with(&scratch, &server, &line);
        check_refusal(&ran, class, &line, &words);
    }
}

#[test]
fn who_is_killed_goes_on() {
    let Some(server) = S3Server::shared() else {
        return;
    };
    server.make_bucket("killed").expect("a bucket");
    let scratch = Scratch::new();
    scratch.write("tree/usr/bin/large", bytes(3, 9_000_000));
    scratch.ok("keys new vendor");
    let commit = scratch.release(1);
    let line = format!("{} --level 1", publish(&commit, "s3://killed/os"));
    // All parts are there, and the upload is about to be completed.
    let (told, hear) = mpsc::channel();
    let wire = Line::open(server.address(), move |said| {
        if !said.starts_with(b"POST ") || !String::from_utf8_lossy(said).contains("uploadId=") {
            return Verdict::Pass;
        }
        // Who was told once may have gone.
        let _ = told.send(());
        Verdict::Cut
    });
    let wire = wire.expect("a line");
    let mut child = command_with(&scratch, &wire.url(), &line)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let moment = hear.recv_timeout(Duration::from_secs(60));
    child.kill().expect("killed");
    child.wait().expect("ended");
    moment.expect("an upload in parts");
    let listed = server
        .ask("GET", "/killed?list-type=2", "")
        .expect("listed");
    assert!(listed.contains("<KeyCount>0</KeyCount>"), "{listed}");
    let again = run_with(&scratch, &server, &line);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(again.json()["put"].as_array().map(Vec::len), Some(4));
    let url = format!("{}/killed/os", server.url());
    let options = format!("--os exampleos --stream stable --arch x86_64 vendor {url}");
    scratch.ok(&format!("{DEVICE} remote add {options}"));
    scratch.ok(&format!("{DEVICE} pull"));
    scratch.ok(&format!("{DEVICE} verify {commit} --full"));
}

#[test]
fn who_has_no_credentials_is_told_which() {
    let scratch = Scratch::new();
    let mut command = scratch.command("remote prune s3://updates/os");
    // One of two, so that nobody else is asked.
    command
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_ACCESS_KEY_ID", "key");
    let ran = finished(command.output().expect("it starts"));
    let words = ["cannot open s3://updates/os", "AWS_SECRET_ACCESS_KEY"];
    check_refusal(&ran, ErrorClass::Usage, "prune", &words);
}
