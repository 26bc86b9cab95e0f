// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several processes at one store.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sealroot::check::{self, Depth};
use sealroot::deploy;
use sealroot::monitor::Silent;
use sealroot::store::{LOCK_NAME, Store, StoreError};
use sealroot_format::ErrorClass;
use sealroot_format::policy::Mode;

use crate::support::{Release, Scratch, content};

/// Says to this test program that it is one of the processes, and where the store is.
const STORE_VARIABLE: &str = "SEALROOT_TEST_STORE";

/// Says which of them it is.
const NUMBER_VARIABLE: &str = "SEALROOT_TEST_NUMBER";

const PROCESSES: u8 = 6;

/// Releases that share most objects.
fn release(number: u8) -> Release {
    let objects = (0..20).chain([100 + number]).map(|i| content(i, 6000));
    Release::new(1 + number, objects.collect())
}

// Rules: L1, O4
#[test]
fn processes_that_offer_the_same_objects_store_them_once() {
    if let Some(location) = env::var_os(STORE_VARIABLE) {
        let number = env::var(NUMBER_VARIABLE).expect("a number");
        return one_of_them(Path::new(&location), number.parse().expect("a number"));
    }
    let scratch = Scratch::new();
    let program = env::current_exe().expect("this program");
    let spawn = |number: u8| {
        Command::new(&program)
            .args([
                "--exact",
                "processes::processes_that_offer_the_same_objects_store_them_once",
            ])
            .env(STORE_VARIABLE, scratch.location())
            .env(NUMBER_VARIABLE, number.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawned")
    };
    let children: Vec<_> = (0..PROCESSES).map(spawn).collect();
    for child in children {
        let output = child.wait_with_output().expect("waited");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
    }
    let store = scratch.store();
    let report = check::check(&store, Depth::Full, &Silent).expect("checked");
    assert_eq!(report.findings, []);
    assert_eq!(report.objects, 20 + u64::from(PROCESSES));
    assert_eq!(report.packs, u64::from(PROCESSES));
    let deployments = deploy::deployments(&store).expect("listed");
    assert_eq!(deployments.len(), usize::from(PROCESSES));
    assert!(deployments.iter().all(|d| d.name.serial == 0));
}

fn one_of_them(location: &Path, number: u8) {
    let store = Store::open_or_create(location).expect("a store");
    let store = store.with_lock_wait(Duration::from_secs(120));
    for number in [number, (number + 1) % PROCESSES] {
        let release = release(number);
        release.build(&store).expect("built");
        release
            .deploy(&store, Mode::Integrity, &Silent)
            .expect("deployed");
    }
}

#[test]
fn who_does_not_get_the_lock_says_which_file_it_is() {
    let scratch = Scratch::new();
    let wait = Duration::from_millis(100);
    let store = scratch.store().with_lock_wait(wait);
    let other = scratch.store();
    let transaction = other.begin(&Silent).expect("a transaction");

    let since = Instant::now();
    let errors = [
        store.begin(&Silent).map(drop).expect_err("locked"),
        check::check(&store, Depth::Quick, &Silent)
            .map(drop)
            .expect_err("locked"),
    ];
    assert!(since.elapsed() >= 2 * wait);
    for error in errors {
        assert_eq!(error.class(), ErrorClass::Busy);
        let lock = scratch.location().join(LOCK_NAME);
        assert!(
            error.to_string().contains(&*lock.to_string_lossy()),
            "{error}"
        );
        assert!(matches!(
            error,
            StoreError::Busy {
                waited_ms: 100..,
                ..
            }
        ));
    }
    drop(transaction);
    store.begin(&Silent).expect("free again");
}
